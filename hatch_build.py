# SPDX-License-Identifier: Apache-2.0
"""Puts the native libraries and the header into the wheel, and names its platform: one wheel for every Python 3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = ("yoloq", "yoloq_cpu", "yoloq_dummy")
# Modules whose SDKs are for Linux alone; none of the SDKs is needed to load its module.
LINUX_LIBRARIES = ("yoloq_ascend", "yoloq_rockchip", "yoloq_sophgo")
INSTALLATION = "build/wheel"
LICENCES = "share/doc/yoloq/third-party"


class NativeLibraries(BuildHookInterface):
    """Takes the libraries from the folder YOLOQ_STAGE; without it, from an installation of build/release."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # a source tree runs on YOLOQ_LIBRARY
            return
        root = Path(self.root)
        chosen = os.environ.get("YOLOQ_STAGE")
        stage = root / chosen if chosen else install(root / "build/release", root / INSTALLATION)
        pattern = "{}.dll" if sys.platform == "win32" else "lib{}.so"
        libraries = LIBRARIES + (LINUX_LIBRARIES if sys.platform == "linux" else ())
        names = [pattern.format(library) for library in libraries]
        missing = [name for name in names if not (stage / name).is_file()]
        if missing:
            give_up(f"{', '.join(missing)} not in {stage}")
        for name in names:
            build_data["force_include"][str((stage / name).resolve())] = f"yoloq/lib/{name}"
        for licence in sorted((stage.parent / LICENCES).glob("*.txt")):  # of what is compiled into the libraries
            build_data["force_include"][str(licence)] = f"yoloq/lib/licences/{licence.name}"
        build_data["force_include"][str(root / "include" / "yoloq.h")] = "yoloq/yoloq.h"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(Path(self.root) / INSTALLATION, ignore_errors=True)  # it holds OpenVINO's libraries too


def install(build: Path, prefix: Path) -> Path:
    """CMake's installation step: it turns the build machine's library paths into those beside the wheel."""
    if not (build / "cmake_install.cmake").is_file():
        give_up(f"no native build in {build}")
    cmake = shutil.which("cmake") or give_up("cmake is not on PATH")
    shutil.rmtree(prefix, ignore_errors=True)
    command = [cmake, "--install", str(build), "--prefix", str(prefix), "--strip"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        give_up(f"cmake --install failed: {' '.join(done.stderr.split())}")
    return prefix / ("bin" if sys.platform == "win32" else "lib")


def give_up(reason: str) -> Any:
    sys.exit(f"error: {reason}: run 'python3 build.py build', or set YOLOQ_STAGE to the folder of the libraries")
