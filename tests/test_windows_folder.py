# SPDX-License-Identifier: Apache-2.0
"""dist/windows/: what is in it, what its DLLs export and import, and that compilers for Windows can use it."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

import wine
from test_abi import HEADERS, probe_source

OURS = ["yoloq.dll", "yoloq_cpu.dll", "yoloq_dummy.dll"]
SYSTEM = {"kernel32.dll", "msvcrt.dll", "bcrypt.dll"}  # of every Windows since 7
GCC = "x86_64-w64-mingw32-gcc-posix"


@pytest.fixture(scope="module")
def folder() -> Path:
    assert wine.FOLDER.exists(), f"{wine.FOLDER} is missing: run python3 build.py windows"
    return wine.FOLDER


def headers(dll: Path) -> str:
    return subprocess.run(["x86_64-w64-mingw32-objdump", "-p", dll], check=True, capture_output=True, text=True).stdout


def imported(dll: Path) -> set[str]:
    return {name.lower() for name in re.findall(r"DLL Name: (\S+)", headers(dll))}


def exported(dll: Path) -> list[str]:
    table = headers(dll).split("[Ordinal/Name Pointer] Table")[1].split("\n\n")[0]
    return re.findall(r"^\s*\[ *\d+\](?: \+base\[ *\d+\])?\s+(?:[0-9a-f]+ )?(\S+)$", table, flags=re.M)


def golden(root: Path) -> tuple[str, list[str]]:
    """The layouts and the functions of tests/data/abi.txt."""
    layouts, functions = (root / "tests" / "data" / "abi.txt").read_text().split("# exported by libyoloq.so\n")
    return layouts, functions.split()


def test_contents(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    engine = ["openvino.dll", "openvino_c.dll", "openvino_intel_cpu_plugin.dll", "openvino_onnx_frontend.dll"]
    engine += ["openvino_ir_frontend.dll", "tbb12.dll", "msvcp140.dll", "vcruntime140.dll", "vcruntime140_1.dll"]
    assert {name for name in names if name.startswith("bin/")} == {f"bin/{name}" for name in OURS + engine}
    assert {"include/yoloq.h", "include/yoloq_backend.h", "lib/yoloq.lib", "lib/yoloq.def"} <= names
    assert "lib/cmake/yoloq/yoloqConfig.cmake" in names
    licences = {name.rsplit("/", 1)[1] for name in names if name.startswith("share/doc/yoloq/")}
    assert {"LICENSE", "nlohmann-json.txt", "mingw-w64.txt", "gcc-runtime.txt", "msvc-runtime.txt"} <= licences
    assert "runtime-third-party-programs.txt" in licences


def test_every_dll_finds_what_it_imports(folder: Path) -> None:
    """In the folder, or in Windows itself."""
    there = {path.name.lower() for path in (folder / "bin").iterdir()}
    for dll in (folder / "bin").iterdir():
        foreign = {name for name in imported(dll) - there if not name.startswith("api-ms-win-")}
        assert foreign <= SYSTEM | {"dbghelp.dll", "advapi32.dll", "user32.dll"}, f"{dll.name}: {foreign}"


@pytest.mark.parametrize("name", OURS)
def test_ours_need_only_the_system(folder: Path, name: str) -> None:
    allowed = SYSTEM | ({"openvino_c.dll"} if name == "yoloq_cpu.dll" else set())
    assert imported(folder / "bin" / name) <= allowed


def test_exports_are_the_functions_of_the_abi(folder: Path, root: Path) -> None:
    _, functions = golden(root)
    assert exported(folder / "bin" / "yoloq.dll") == functions and len(functions) >= 17
    listed = (folder / "lib" / "yoloq.def").read_text().split("EXPORTS\n")[1].split()
    assert listed == functions


@pytest.mark.parametrize("name", OURS[1:])
def test_modules_export_one_function(folder: Path, name: str) -> None:
    assert exported(folder / "bin" / name) == ["yq_backend_entry"]


def test_layouts_equal_the_golden_file(root: Path, tmp_path: Path) -> None:
    """As MinGW lays structs out, which is as Microsoft's compiler does."""
    parts = []
    for name in HEADERS:
        (tmp_path / "probe.c").write_text(probe_source(root / "include" / name))
        flags = ["-std=c99", "-D__USE_MINGW_ANSI_STDIO=1", "-I", root / "include"]
        subprocess.run([GCC, *flags, tmp_path / "probe.c", "-o", tmp_path / "probe.exe"], check=True)
        parts.append(f"# {name}\n" + wine.must(tmp_path / "probe.exe"))
    assert "\n".join([*parts, ""]) == golden(root)[0]


@pytest.mark.parametrize("name", OURS)
def test_version_resource(folder: Path, root: Path, name: str) -> None:
    """What Explorer shows is the project's version."""
    content = (folder / "bin" / name).read_bytes()
    version = re.search(r"^project\(yoloq VERSION (\S+)", (root / "CMakeLists.txt").read_text(), flags=re.M).group(1)
    numbers = [*map(int, version.split(".")), 0]
    fixed = content.index(struct.pack("<II", 0xFEEF04BD, 0x00010000))  # VS_FIXEDFILEINFO
    high, low = struct.unpack_from("<II", content, fixed + 8)
    assert [high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF] == numbers
    for key, value in (("ProductVersion", version), ("OriginalFilename", name)):
        assert f"{key}\0".encode("utf-16-le") in content and f"{value}\0".encode("utf-16-le") in content


def test_microsofts_way_of_linking(folder: Path, windows_host: Path, tmp_path: Path) -> None:
    """LLVM's twin of Microsoft's linker takes yoloq.lib, dead code removed, and the program runs."""
    source, kernel = tmp_path / "link.c", tmp_path / "kernel32.def"
    source.write_text(
        '#include "yoloq.h"\n__declspec(dllimport) void ExitProcess(unsigned);\n'
        "void start(void) { ExitProcess(yq_abi_version() * 100 + (yq_version()[0] - '0')); }\n"
    )
    kernel.write_text("LIBRARY kernel32.dll\nEXPORTS\n  ExitProcess\n")
    library, program = tmp_path / "kernel32.lib", windows_host / "link.exe"
    commands = [
        [GCC, "-c", "-O2", "-I", folder / "include", source, "-o", tmp_path / "link.obj"],
        ["llvm-dlltool", "-m", "i386:x86-64", "-d", kernel, "-l", library],
        ["lld-link", "/nologo", "/entry:start", "/subsystem:console", "/nodefaultlib", "/opt:ref", "/opt:icf",
         f"/out:{program}", tmp_path / "link.obj", library, folder / "lib" / "yoloq.lib"],
    ]  # fmt: skip
    for command in commands:
        subprocess.run(command, check=True)
    assert wine.run(program).returncode == 100
    assert imported(program) == {"kernel32.dll", "yoloq.dll"}


def test_nothing_tells_where_it_was_built(folder: Path, root: Path) -> None:
    for path in [*(folder / "bin" / name for name in OURS), *folder.rglob("*.cmake"), *folder.rglob("*.pc")]:
        assert str(root).encode() not in path.read_bytes(), path
