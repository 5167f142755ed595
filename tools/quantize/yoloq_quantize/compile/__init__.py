# SPDX-License-Identifier: Apache-2.0
"""What a chip's own compiler makes of a quantised graph. Adding a compiler is one file and one line of COMPILERS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from yoloq_quantize.compile.compiled import GRAPH, Compiled
from yoloq_quantize.compile.rockchip import compile_rockchip, simulate
from yoloq_quantize.compile.sophgo import compile_sophgo
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import Target, load_target
from yoloq_quantize.subject import Progress

# (cut graph from bytes to raw tensors as ONNX, quantised or not; target; where a log may stay; progress)
Compiler = Callable[[bytes, Target, Path, Progress], Compiled]

COMPILERS: dict[str, Compiler | None] = {
    "cpu": None,  # compiles the ONNX itself when it loads it
    "rockchip": compile_rockchip,
    "sophgo": compile_sophgo,
}


class Simulator(Protocol):
    """Runs a graph as a chip would; used like a session of ONNX Runtime."""

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]: ...

    def close(self) -> None: ...


# (graph as a Compiler gets it; target; where a log stays if it fails). Simulators that are part of a vendor's compiler;
# one that is part of the runtime, the library runs.
SIMULATORS: dict[str, Callable[[bytes, Target, Path], Simulator]] = {"rockchip": simulate}


def compiler_of(target: Target) -> Compiler | None:
    """The compiler of the target's backend; None where the backend takes the graph as it is."""
    if target.backend not in COMPILERS:
        raise QuantizeError(f"target {target.chip}: nothing compiles for the backend {target.backend}; choose another")
    return COMPILERS[target.backend]


def open_simulator(package: Path) -> Simulator:
    """The simulator of a package's chip, with the package's graph; close() it."""
    try:
        target = json.loads((package / "manifest.json").read_text(encoding="utf-8"))["target"]
        chip, backend = target["chip"], target["backend"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuantizeError(f"{package}: no package with a manifest; give a .yoloq package") from error
    if backend not in SIMULATORS:
        raise QuantizeError(f"{package}: the backend {backend} has no simulator of its own here; leave --engine away")
    graph = package / GRAPH
    if not graph.is_file():
        raise QuantizeError(f"{package}: has no {GRAPH} to simulate; make it anew with yoloq quantize")
    return SIMULATORS[backend](graph.read_bytes(), load_target(chip), package.with_name(f"{package.name}.log"))
