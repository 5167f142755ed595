# SPDX-License-Identifier: Apache-2.0
"""What a chip's own compiler makes of a quantised graph. Adding a compiler is one file and one line of COMPILERS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from yoloq_quantize.compile.compiled import Compiled
from yoloq_quantize.compile.sophgo import compile_sophgo
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

# (cut graph from bytes to raw tensors as ONNX, quantised or not; target; where a log may stay; progress)
Compiler = Callable[[bytes, Target, Path, Progress], Compiled]

COMPILERS: dict[str, Compiler | None] = {
    "cpu": None,  # compiles the ONNX itself when it loads it
    "sophgo": compile_sophgo,
}


def compiler_of(target: Target) -> Compiler | None:
    """The compiler of the target's backend; None where the backend takes the graph as it is."""
    if target.backend not in COMPILERS:
        raise QuantizeError(f"target {target.chip}: nothing compiles for the backend {target.backend}; choose another")
    return COMPILERS[target.backend]
