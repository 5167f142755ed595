#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cross-compiles yoloq for 64-bit Windows and lays out dist/windows/, complete with what it needs at run time.

    python tools/windows.py [--out DIR]

`python3 build.py windows` installs the compilers first, then runs this. dist/windows/bin goes beside an .exe as it is;
docs/windows.md says what else is in the folder. OpenVINO's and Microsoft's DLLs come from PyPI wheels of pinned
versions, checked by their SHA-256, kept under build/windows/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import downloads
from downloads import Download

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "windows"
MSVC_RUNTIME = Download(
    "msvc-runtime", "14.44.35112", "aba7fbe71897d25ed53fbb7f391e9f50289378a8a9ae218ba18530c663448391",
    platform="win_amd64",
)  # fmt: skip
OPENVINO_SHA256 = "bfddae6d6d3ad240157b946f180c33d0ddfaaae7487995d929a4e6b4bc12b283"  # requirements.txt has its version
MSVC_DLLS = ("msvcp140.dll", "vcruntime140.dll", "vcruntime140_1.dll")
# What is compiled into our DLLs: Debian's record of its licences -> file name in the folder.
COMPILED_IN = {
    "nlohmann-json3-dev": "nlohmann-json.txt",
    "mingw-w64-x86-64-dev": "mingw-w64.txt",
    "g++-mingw-w64-x86-64-posix": "gcc-runtime.txt",
}


class WindowsBuildError(Exception):
    """A step failed; the text says what to do."""


def run(*command: str | Path) -> None:
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    if code := subprocess.run(words, cwd=ROOT, check=False).returncode:
        raise WindowsBuildError(f"exit code {code}: {' '.join(words)}")


def openvino() -> Download:
    """The release that Linux has, for both have to detect the same."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    version = re.search(r"^openvino==(\S+)$", text, flags=re.M).group(1)
    return Download("openvino", version, OPENVINO_SHA256, platform="win_amd64")


def fetch(download: Download) -> Path:
    """The folder of a wheel's files."""
    return downloads.fetch(download, WORK / "wheels")


def msvc_runtime() -> Path:
    """The folder of Microsoft's C++ runtime."""
    return next(fetch(MSVC_RUNTIME).rglob(MSVC_DLLS[1])).parent


def header_folder() -> Path:
    """nlohmann/json.hpp alone: the rest of /usr/include is for Linux."""
    link = WORK / "include" / "nlohmann"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to("/usr/include/nlohmann")
    return link.parent


def build() -> None:
    settings = {
        "OpenVINO_DIR": fetch(openvino()) / "openvino" / "cmake",
        "NLOHMANN_JSON_INCLUDE": header_folder(),
        "YOLOQ_MSVC_RUNTIME": msvc_runtime(),
    }
    run("cmake", "--preset", "windows", "--log-level=WARNING", *(f"-D{key}={value}" for key, value in settings.items()))
    run("cmake", "--build", "--preset", "windows")


def add_licences(folder: Path) -> None:
    """OpenVINO's are there already."""
    third_party = folder / "share" / "doc" / "yoloq" / "third-party"
    third_party.mkdir(parents=True)
    for package, name in COMPILED_IN.items():
        shutil.copyfile(Path("/usr/share/doc") / package / "copyright", third_party / name)
    licence = next(fetch(MSVC_RUNTIME).glob("*.dist-info/licenses/LICENSE"))
    shutil.copyfile(licence, third_party / "msvc-runtime.txt")


def lay_out(out: Path) -> None:
    """Makes the folder beside and puts it in place whole."""
    scratch = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    run("cmake", "--install", WORK / "cmake", "--prefix", scratch, "--strip")
    shutil.copyfile(ROOT / "cmake" / "yoloq.def", scratch / "lib" / "yoloq.def")
    add_licences(scratch)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    scratch.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "windows", help="default: dist/windows")
    arguments = parser.parse_args()
    try:
        build()
        lay_out(arguments.out.resolve())
    except (WindowsBuildError, downloads.DownloadError) as error:
        print(f"windows.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
