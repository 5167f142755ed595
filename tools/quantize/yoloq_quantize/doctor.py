# SPDX-License-Identifier: Apache-2.0
"""What `yoloq doctor` says about the vendors' compilers."""

from __future__ import annotations

from yoloq_quantize.compile.ascend import Atc
from yoloq_quantize.compile.environment import cache_folder, find_python
from yoloq_quantize.compile.sophgo import PYTHON, VERSION

Row = tuple[str, bool | None, str]


def checks() -> list[Row]:
    """(subject, as it should be or None for a fact without a verdict, what was found)."""
    return [_sophgo(), _ascend()]


def _sophgo() -> Row:
    ready = sorted(cache_folder().glob(f"tpu_mlir-{VERSION}-*"))
    if ready:
        return ("sophgo compiler", None, f"tpu-mlir {VERSION} in {ready[0]}")
    python = find_python(PYTHON)
    if python is None:
        return ("sophgo compiler", None, f"none, and no Python {PYTHON} to install it with; needed only to compile")
    return ("sophgo compiler", None, f"not installed yet; the first --target of Sophgo's does it, with {python}")


def _ascend() -> Row:
    atc = Atc.find()
    if atc is None:
        return ("ascend compiler", None, "no ATC: a build kit is written for a machine that has CANN")
    return ("ascend compiler", None, f"ATC of CANN {atc.version() or '(unknown version)'}, {atc.path}")
