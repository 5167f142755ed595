#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lays out Sophgo's runtime with the simulator of a chip, for machines without a board: build/sophgo/CHIP/.

    python tools/sophgo_runtime.py [CHIP ...]       bm1688 (default), bm1684x, cv186x

The vendor's own files come from its compiler's wheel, of a pinned version and digest, kept in build/sophgo/; nothing of
them is committed. YOLOQ_SOPHGO_RUNTIME=build/sophgo/CHIP makes the sophgo backend use them; one chip per process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "sophgo"
REQUIREMENT = "tpu_mlir==1.30.2"
WHEEL = "tpu_mlir-1.30.2-py3-none-any.whl"  # 312 MB
SHA256 = "542807361c9eeb0777a7bd35e501d8c71cce767e4bce021a3cb3a7c25c35f909"
SIMULATORS = {"bm1684x": "bm1684x", "bm1688": "bm1688", "cv186x": "bm1688"}  # chip -> whose simulator


class SophgoRuntimeError(Exception):
    """A step failed; the text says what to do."""


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_wheel() -> Path:
    """The compiler's wheel, downloaded once and checked. Processes may call this at the same time."""
    wheel = WORK / WHEEL
    if wheel.exists():
        return wheel
    scratch = WORK / f".{WHEEL}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    pip += ["--only-binary=:all:", "--python-version", "3.10", "-d", str(scratch), REQUIREMENT]
    try:
        if code := subprocess.run(pip, check=False).returncode:
            raise SophgoRuntimeError(f"pip could not download {REQUIREMENT} (exit code {code}): see its message above")
        if digest(scratch / WHEEL) != SHA256:
            raise SophgoRuntimeError(f"{WHEEL} has another SHA-256 than the pinned one: do not use it")
        (scratch / WHEEL).rename(wheel)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return wheel


def lay_out(chip: str) -> Path:
    """The folder with libbmlib, libbmrt and the chip's simulator, made once."""
    if chip not in SIMULATORS:
        raise SophgoRuntimeError(f"there is no simulator for {chip}: there are {', '.join(SIMULATORS)}")
    folder = WORK / chip
    if folder.exists():
        return folder
    files = {
        "libbmlib_bm1684x.so.0": "libbmlib.so.0",  # the one for all of these chips
        "libbmrt.so.1.0": "libbmrt.so.1.0",
        f"libcmodel_{SIMULATORS[chip]}.so": "libcmodel.so",
    }
    scratch = WORK / f".{chip}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    with zipfile.ZipFile(fetch_wheel()) as archive:
        scratch.mkdir(parents=True)
        for source, name in files.items():
            with archive.open(f"tpu_mlir/lib/{source}") as packed, (scratch / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    try:
        scratch.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips", nargs="*", default=["bm1688"], metavar="CHIP")
    arguments = parser.parse_args()
    try:
        for chip in arguments.chips:
            print(lay_out(chip))
    except SophgoRuntimeError as error:
        print(f"sophgo_runtime.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
