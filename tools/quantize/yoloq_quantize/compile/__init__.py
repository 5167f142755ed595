# SPDX-License-Identifier: Apache-2.0
"""What a chip's own compiler makes of a quantised graph. Adding a compiler is one file and one line of COMPILERS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from yoloq_quantize.compile.ascend import check_order, compile_ascend, has_atc
from yoloq_quantize.compile.ascend_kit import kit_files
from yoloq_quantize.compile.canaan import compile_canaan
from yoloq_quantize.compile.canaan import simulate as simulate_canaan
from yoloq_quantize.compile.compiled import GRAPH, Compiler, Order
from yoloq_quantize.compile.rockchip import compile_rockchip
from yoloq_quantize.compile.rockchip import simulate as simulate_rockchip
from yoloq_quantize.compile.sophgo import compile_sophgo
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import Target, load_target

COMPILERS: dict[str, Compiler | None] = {
    "cpu": None,  # compiles the ONNX itself when it loads it
    "sophgo": Compiler(compile_sophgo),
    "rockchip": Compiler(compile_rockchip),
    "canaan": Compiler(compile_canaan),
    "ascend": Compiler(compile_ascend, check_order, has_atc, kit_files),
}


class Simulator(Protocol):
    """Runs a graph as a chip would; used like a session of ONNX Runtime."""

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]: ...

    def close(self) -> None: ...


# Simulators that are part of a vendor's compiler; one that is part of the runtime, the library runs. The package's file
# that it takes (None: the artefact), and (file; names of the outputs, in the artefact's order; target; where a log
# stays if it fails).
SIMULATORS: dict[str, tuple[str | None, Callable[[bytes, list[str], Target, Path], Simulator]]] = {
    "rockchip": (GRAPH, lambda graph, _, target, log: simulate_rockchip(graph, target, log)),
    "canaan": (None, simulate_canaan),
}


def compiler_of(target: Target) -> Compiler | None:
    """The compiler of the target's backend; None where the backend takes the graph as it is."""
    if target.backend not in COMPILERS:
        raise QuantizeError(f"target {target.chip}: nothing compiles for the backend {target.backend}; choose another")
    return COMPILERS[target.backend]


def open_simulator(package: Path) -> Simulator:
    """The simulator of a package's chip, with the package's network; close() it."""
    try:
        manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
        chip, backend = manifest["target"]["chip"], manifest["target"]["backend"]
        names = [output["name"] for output in manifest["outputs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuantizeError(f"{package}: no package with a manifest; give a .yoloq package") from error
    if backend not in SIMULATORS:
        raise QuantizeError(f"{package}: the backend {backend} has no simulator of its own here; leave --engine away")
    known, (wanted, simulate) = load_target(chip), SIMULATORS[backend]
    file = package / (wanted or known.file)
    if not file.is_file():
        raise QuantizeError(f"{package}: has no {file.name} to simulate; make it anew with yoloq quantize")
    return simulate(file.read_bytes(), names, known, package.with_name(f"{package.name}.log"))


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
