# SPDX-License-Identifier: Apache-2.0
"""What a chip's own compiler makes of a quantised graph. Adding a compiler is one file and one line of COMPILERS."""

from __future__ import annotations

from yoloq_quantize.compile.ascend import check_order, compile_ascend, has_atc
from yoloq_quantize.compile.ascend_kit import kit_files
from yoloq_quantize.compile.compiled import Compiler, Order
from yoloq_quantize.compile.sophgo import compile_sophgo
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import Target

COMPILERS: dict[str, Compiler | None] = {
    "cpu": None,  # compiles the ONNX itself when it loads it
    "sophgo": Compiler(compile_sophgo),
    "ascend": Compiler(compile_ascend, check_order, has_atc, kit_files),
}


def compiler_of(target: Target) -> Compiler | None:
    """The compiler of the target's backend; None where the backend takes the graph as it is."""
    if target.backend not in COMPILERS:
        raise QuantizeError(f"target {target.chip}: nothing compiles for the backend {target.backend}; choose another")
    return COMPILERS[target.backend]


def needs_kit(target: Target) -> bool:
    """Whether the target's compiler is not on this machine, and a build kit can be made for one that has it."""
    compiler = compiler_of(target)
    return compiler is not None and compiler.kit is not None and not compiler.there()


def check(target: Target, order: Order) -> None:
    """Refuses what the target's compiler cannot do."""
    compiler = compiler_of(target)
    if compiler is not None and compiler.check is not None:
        compiler.check(target, order)
    elif order != Order():
        raise QuantizeError(f"target {target.chip} has no --soc, --batch or --sdk-version; leave them out")
