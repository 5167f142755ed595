# SPDX-License-Identifier: Apache-2.0
"""Puts the double of atc where a CANN installation would have the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "doubles" / "atc" / "atc.py"
VERSION = "8.0.RC3"


def install(folder: Path) -> Path:
    """The folder as CANN's home: bin/atc, set_env.sh, and the note of the installer."""
    (folder / "bin").mkdir(parents=True)
    note = folder / f"{os.uname().machine}-linux" / "ascend_toolkit_install.info"
    note.parent.mkdir()
    note.write_text(f"package_name=Ascend-cann-toolkit\nversion={VERSION}\ninnerversion=V100R001C19\n")
    (folder / "set_env.sh").write_text(f'export ASCEND_HOME_PATH="{folder}"\nexport PATH="{folder}/bin:$PATH"\n')
    program = folder / "bin" / "atc"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAM}" "$@"\n')
    program.chmod(0o755)
    return folder


def path_with(folder: Path) -> str:
    """PATH with the double first."""
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
