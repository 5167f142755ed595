# SPDX-License-Identifier: Apache-2.0
"""Loading on Windows (Wine): from the library's own folder alone, and an error names the DLL that is to blame."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wine
from tiny_model import write_tiny_package

NEEDED = [  # without one of these nothing is detected; the words that name it
    ("yoloq_cpu.dll", "there is no"),
    ("openvino_c.dll", "openvino_c.dll is missing: yoloq_cpu.dll needs it"),
    ("openvino.dll", "openvino.dll is missing: openvino_c.dll needs it"),
    ("tbb12.dll", "tbb12.dll is missing: openvino.dll needs it"),
    ("openvino_intel_cpu_plugin.dll", "openvino_intel_cpu_plugin does not load"),
    ("openvino_onnx_frontend.dll", "openvino_onnx_frontend is missing or damaged"),
]
LINKED = ["yoloq_cpu.dll", "openvino_c.dll", "openvino.dll", "tbb12.dll", "MSVCP140.dll", "VCRUNTIME140_1.dll"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DLLs alone; their folder is not the program's."""
    return wine.lay_out(tmp_path_factory.mktemp("loading") / "安装 目录")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(wine.PROGRAMS / "yoloq_load.exe", tmp_path_factory.mktemp("host")))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_package(tmp_path_factory.mktemp("tiny") / "tiny.yoloq")


def load(
    program: Path, folder: Path, package: Path, *earlier: Path, **options: object
) -> subprocess.CompletedProcess[str]:
    return wine.run(program, folder / "yoloq.dll", package, "cpu", "-", *earlier, **options)


@contextmanager
def replaced(path: Path, content: bytes | None) -> Iterator[None]:
    """The file with another content, or away."""
    aside = path.with_name("aside")
    path.rename(aside)
    if content is not None:
        path.write_bytes(content)
    yield
    path.unlink(missing_ok=True)
    aside.rename(path)


def test_a_host_elsewhere_loads_it_by_its_path(program: Path, folder: Path, package: Path) -> None:
    done = load(program, folder, package)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cpu\t1\tOpenVINO ") and lines[1].startswith("dummy\t1\t")
    assert lines[2] == "10 detections, first class bolt"


@pytest.mark.parametrize(("name", "words"), NEEDED, ids=[name for name, _ in NEEDED])
def test_a_missing_dll_is_named(program: Path, folder: Path, package: Path, name: str, words: str) -> None:
    with replaced(folder / name, None):
        done = load(program, folder, package)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert words in done.stderr and Path(name).stem in done.stderr, done.stderr


@pytest.mark.parametrize("name", LINKED)
def test_a_damaged_dll_is_named(program: Path, folder: Path, package: Path, name: str) -> None:
    path = next(path for path in folder.iterdir() if path.name.lower() == name.lower())
    for content in (b"", b"MZ" + bytes(300), path.read_bytes()[:5000]):
        with replaced(path, content):
            done = load(program, folder, package)
        assert done.returncode == 1 and f"{name} is damaged" in done.stderr, done.stderr


def test_a_missing_dll_of_the_next_row_is_named(program: Path, folder: Path, package: Path) -> None:
    """Wine has a Microsoft runtime of its own in the system's folder, so the one that is missing is another's."""
    with replaced(
        folder / "openvino.dll", (folder / "yoloq_cpu.dll").read_bytes().replace(b"openvino_c", b"msvcp140_9")
    ):
        done = load(program, folder, package)
    assert "msvcp140_9.dll is missing: openvino.dll needs it" in done.stderr and "vc_redist.x64.exe" in done.stderr


def test_current_folder_and_path_are_never_searched(program: Path, folder: Path, package: Path, tmp_path: Path) -> None:
    """Good copies there do not help, bad ones do not harm."""
    good = shutil.copytree(folder, tmp_path / "good")
    with replaced(folder / "openvino.dll", None):
        done = load(program, folder, package, cwd=good, WINEPATH=wine.windows_path(good))
    assert done.returncode == 1 and "openvino.dll is missing" in done.stderr, done.stdout
    for path in good.iterdir():
        path.write_bytes(b"no DLL at all")
    done = load(program, folder, package, cwd=good, WINEPATH=wine.windows_path(good))
    assert done.returncode == 0, done.stderr


def test_another_copy_that_the_host_loaded_is_named(program: Path, folder: Path, package: Path, tmp_path: Path) -> None:
    """Windows gives the library the copy that the host loaded before. Wine loads in spite of functions that it lacks,
    so the library that fails here fails by itself."""
    other = Path(shutil.copy(folder / "yoloq_dummy.dll", tmp_path))
    source = tmp_path / "fails.c"
    source.write_text(
        "void *yq_backend_entry(int);\n"
        "int __stdcall DllMain(void *a, int b, void *c) { return yq_backend_entry(b) == a && c; }\n"
    )
    compiler = ["x86_64-w64-mingw32-gcc-posix", "-shared", source, other, "-o", tmp_path / "openvino_c.dll"]
    subprocess.run(compiler, check=True)
    with replaced(folder / "openvino_c.dll", (tmp_path / "openvino_c.dll").read_bytes()):
        done = load(program, folder, package, other)
    assert done.returncode == 1 and "has loaded another yoloq_dummy.dll" in done.stderr, done.stderr
    assert wine.windows_path(other).lower() in done.stderr.lower()
