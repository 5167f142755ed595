# SPDX-License-Identifier: Apache-2.0
"""Puts a measured table between its marks in both READMEs: readme.py MARK TABLE.md"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh-CN.md")


def update(mark: str, table: str) -> None:
    """Replaces what stands between <!-- MARK --> and <!-- /MARK -->."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    for name in READMES:
        path = ROOT / name
        head, rest = path.read_text(encoding="utf-8").split(begin, 1)
        path.write_text(f"{head}{begin}\n{table.strip()}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    update(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8"))
