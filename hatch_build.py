# SPDX-License-Identifier: Apache-2.0
"""Puts the native libraries and the header into the wheel, and names its platform: one wheel for every Python 3."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = ("yoloq", "yoloq_cpu", "yoloq_dummy")


class NativeLibraries(BuildHookInterface):
    """Takes the libraries from YOLOQ_STAGE (default: build/release/lib)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # a source tree runs on YOLOQ_LIBRARY
            return
        root = Path(self.root)
        stage = root / os.environ.get("YOLOQ_STAGE", "build/release/lib")
        pattern = "{}.dll" if sys.platform == "win32" else "lib{}.so"
        names = [pattern.format(library) for library in LIBRARIES]
        missing = [name for name in names if not (stage / name).is_file()]
        if missing:
            sys.exit(f"error: {', '.join(missing)} not in {stage}: run 'python3 build.py build', or set YOLOQ_STAGE")
        for name in names:
            build_data["force_include"][str((stage / name).resolve())] = f"yoloq/lib/{name}"
        build_data["force_include"][str(root / "include" / "yoloq.h")] = "yoloq/yoloq.h"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
