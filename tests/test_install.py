# SPDX-License-Identifier: Apache-2.0
"""An installed tree serves C programs: examples/detect.c, built by CMake and by pkg-config, finds what it should."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import yoloq
from native_abi import BGR24, GRAY8, RGB24, Detector, ffi, load

MakePackage = Callable[..., Path]


def must(*command: str | Path, **options: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed tree, moved after the installation: nothing in it may know where it was."""
    first = tmp_path_factory.mktemp("install") / "first"
    must("cmake", "--install", build_dir, "--prefix", first)
    return first.rename(first.with_name("moved"))


def test_licences_of_what_is_compiled_in(prefix: Path) -> None:
    """Beside our own, those of OpenVINO, and in the wheel too."""
    folder = prefix / "share" / "doc" / "yoloq"
    words = {"nlohmann-json": "Niels Lohmann", "mbedtls": "Apache", "gcc-runtime": "Runtime Library Exception"}
    wheel = Path(yoloq.__file__).parent / "lib" / "licences"
    for name, word in words.items():
        text = (folder / "third-party" / f"{name}.txt").read_text(encoding="utf-8")
        assert word.lower() in " ".join(text.split()).lower(), name
        assert (wheel / f"{name}.txt").read_text(encoding="utf-8") == text
    assert {path.stem for path in wheel.iterdir()} == words.keys()
    assert (folder / "LICENSE").exists() and (folder / "openvino" / "LICENSE").exists()


def build_with_cmake(root: Path, prefix: Path, scratch: Path) -> Path:
    must("cmake", "-S", root / "examples", "-B", scratch, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}")
    must("cmake", "--build", scratch)
    return scratch / "detect"


def build_with_pkg_config(root: Path, prefix: Path, scratch: Path) -> Path:
    environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    flags = must("pkg-config", "--cflags", "--libs", "yoloq", env=environment).split()
    assert (
        must("pkg-config", "--modversion", "yoloq", env=environment).strip() == ffi.string(load().yq_version()).decode()
    )
    source, program = root / "examples" / "detect.c", scratch / "detect"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror"]
    must("cc", *strict, source, "-o", program, *flags, f"-Wl,-rpath,{prefix / 'lib'}")
    return program


@pytest.fixture(scope="module", params=[build_with_cmake, build_with_pkg_config], ids=["cmake", "pkg-config"])
def program(request: pytest.FixtureRequest, root: Path, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(root, prefix, tmp_path_factory.mktemp("example"))


def expected(package: Path, pixels: np.ndarray, format: int, backend: str | None) -> str:
    """The lines that the example prints, from the library under test through cffi."""
    with Detector(package, backend=backend) as detector:
        found = detector.infer(pixels, format=format, capacity=300).detections
        return "".join(
            f"{detector.class_name(int(d['class_id']))} {d['score']:.4f} "
            f"{d['x1']:.2f} {d['y1']:.2f} {d['x2']:.2f} {d['y2']:.2f}\n"
            for d in found
        )


def write_ppm(path: Path, pixels: np.ndarray) -> Path:
    """pixels: uint8 RGB [h, w, 3] or gray [h, w]."""
    kind, (height, width) = ("P6" if pixels.ndim == 3 else "P5"), pixels.shape[:2]
    path.write_bytes(f"{kind}\n# a comment\n{width} {height}\n255\n".encode() + pixels.tobytes())
    return path


@pytest.fixture(scope="module")
def picture(root: Path) -> np.ndarray:
    """A validation picture, uint8 RGB."""
    path = min((root / "datasets" / "fasteners" / "images" / "val").iterdir())
    return np.asarray(Image.open(path).convert("RGB")).copy()


def test_demo_package(program: Path, demo_package: Path, picture: np.ndarray, tmp_path: Path) -> None:
    printed = must(program, demo_package, write_ppm(tmp_path / "picture.ppm", picture))
    assert printed == expected(demo_package, picture, RGB24, None)
    assert len(printed.splitlines()) >= 3, "the picture shows several parts"


def test_chinese_path(program: Path, demo_package: Path, picture: np.ndarray, tmp_path: Path) -> None:
    package = tmp_path / "检测 模型.yoloq"
    shutil.copytree(demo_package, package)
    raw = tmp_path / "图片.bgr"
    raw.write_bytes(picture[:, :, ::-1].tobytes())
    size = f"{picture.shape[1]}x{picture.shape[0]}"
    assert must(program, package, raw, size) == expected(demo_package, picture, RGB24, None)


def test_gray_picture_and_chinese_names(program: Path, make_dummy_package: MakePackage, tmp_path: Path) -> None:
    package = make_dummy_package(name="零件", classes=["螺栓", "螺母"])
    gray = np.random.default_rng(3).integers(0, 256, (120, 200), np.uint8)
    printed = must(program, package, write_ppm(tmp_path / "gray.pgm", gray), "dummy")
    assert printed == expected(package, gray, GRAY8, "dummy") and "螺母" in printed
    raw = tmp_path / "picture.bgr"
    raw.write_bytes(np.repeat(gray[:, :, None], 3, 2).tobytes())
    bgr = np.repeat(gray[:, :, None], 3, 2)
    assert must(program, package, raw, "200x120", "dummy") == expected(package, bgr, BGR24, "dummy")


def test_errors_are_one_line(program: Path, dummy_package: Path, tmp_path: Path) -> None:
    good = write_ppm(tmp_path / "good.ppm", np.zeros((8, 8, 3), np.uint8))
    short = tmp_path / "short.ppm"
    short.write_bytes(good.read_bytes()[:-1])
    text = tmp_path / "text.ppm"
    text.write_text("hello")
    huge = tmp_path / "huge.ppm"
    huge.write_bytes(b"P6 99999 99999 255\n")
    for words, code, arguments in (
        ("usage", 2, []),
        ("No such file", 1, [dummy_package, tmp_path / "none.ppm"]),
        ("too short", 1, [dummy_package, short]),
        ("no binary PPM", 1, [dummy_package, text]),
        ("impossible", 1, [dummy_package, huge]),
        ("too short", 1, [dummy_package, good, "9x9"]),
        ("no package folder", 1, [tmp_path / "none.yoloq", good]),
        ("libyoloq_nothing.so", 1, [dummy_package, good, "nothing"]),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert done.returncode == code and done.stdout == "", done.stderr
        assert words in done.stderr and done.stderr.count("\n") == 1


def test_installed_files(prefix: Path) -> None:
    names = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if path.is_file()}
    assert {"include/yoloq.h", "include/yoloq_backend.h", "lib/libyoloq.so", "lib/libyoloq_cpu.so"} <= names
    assert {"lib/pkgconfig/yoloq.pc", "lib/cmake/yoloq/yoloqConfig.cmake"} <= names
    assert not [name for name in names if "testing" in name or "counted" in name]


def test_nothing_tells_where_it_was_built(prefix: Path, root: Path) -> None:
    ours = [*(prefix / "lib").glob("libyoloq*.so"), *prefix.rglob("*.cmake"), *prefix.rglob("*.pc")]
    assert len(ours) >= 6
    for path in ours:
        content = path.read_bytes()
        assert str(root).encode() not in content, f"{path.name} names the source folder"
        assert str(prefix.with_name("first")).encode() not in content, f"{path.name} names the first prefix"
