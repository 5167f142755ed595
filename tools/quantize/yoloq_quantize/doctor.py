# SPDX-License-Identifier: Apache-2.0
"""What `yoloq doctor` says about the vendors' compilers."""

from __future__ import annotations

from yoloq_quantize.compile import canaan, rockchip, sophgo
from yoloq_quantize.compile.ascend import Atc
from yoloq_quantize.compile.environment import cache_folder, find_python

# backend, what it is called, name and version of its environment, the Python that it needs
COMPILERS = (
    ("sophgo", "tpu-mlir", f"tpu_mlir-{sophgo.VERSION}", sophgo.VERSION, sophgo.PYTHON),
    ("rockchip", "rknn-toolkit2", f"rknn_toolkit2-{rockchip.VERSION}", rockchip.VERSION, rockchip.PYTHON),
    ("canaan", "nncase", f"nncase-{canaan.VERSION}", canaan.VERSION, canaan.PYTHON),
)

Row = tuple[str, bool | None, str]


def checks() -> list[Row]:
    """(subject, as it should be or None for a fact without a verdict, what was found)."""
    return [*((f"{backend} compiler", None, _found(*about)) for backend, *about in COMPILERS), _ascend()]


def _found(name: str, folder: str, version: str, python: str) -> str:
    if ready := sorted(cache_folder().glob(f"{folder}-*/bin")):
        return f"{name} {version} in {ready[0].parent}"
    if (found := find_python(python)) is None:
        return f"{name}: none, and no Python {python} to install it with; needed only to compile"
    return f"{name}: not installed yet; the first package for such a chip does it, with {found}"


def _ascend() -> Row:
    atc = Atc.find()
    if atc is None:
        return ("ascend compiler", None, "no ATC: a build kit is written for a machine that has CANN")
    return ("ascend compiler", None, f"ATC of CANN {atc.version() or '(unknown version)'}, {atc.path}")
