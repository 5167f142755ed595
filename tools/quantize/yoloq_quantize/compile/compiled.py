# SPDX-License-Identifier: Apache-2.0
"""What is asked of a compiler, and what every compiler gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

GRAPH = "graph.onnx"  # in packages of compilers whose simulator runs only what it has compiled itself
MOST_BATCH = 1024  # of a package


@dataclass(frozen=True)
class Order:
    """What is wanted of a compiler that has choices. `soc`: the exact chip, None: the target's usual one. `batches`:
    one artefact each, ascending. `sdk_version`: that will run it, None: the installed one's."""

    soc: str | None = None
    batches: tuple[int, ...] = (1,)
    sdk_version: str | None = None

    def __post_init__(self) -> None:
        sizes = self.batches
        if not sizes or list(sizes) != sorted(set(sizes)) or not 1 <= sizes[0] <= sizes[-1] <= MOST_BATCH:
            raise QuantizeError(f"batch sizes {sizes} are not ascending numbers from 1 to {MOST_BATCH}; write 1,4")


@dataclass(frozen=True)
class CompiledOutput:
    """A raw tensor as the artefact gives it. `source`: its name in the graph that was compiled. `scale`, `zero_point`:
    of integers, None for floats."""

    source: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Artifact:
    """A further artefact of the same network, for another number of pictures at once."""

    file: str
    batch: int
    data: bytes


@dataclass(frozen=True)
class Compiled:
    """`artifact`: the file's bytes; `batch`: pictures that it takes at once. `compiler`: its name and version.
    `outputs`: in the artefact's order, shapes for one picture. `summary`: for the manifest. `more`: larger batches.
    `sdk_version`: None: the target's. `options`: for the backend, over the target's own. `warnings`: a line each.
    `extra`: further files for the package, by name."""

    artifact: bytes
    compiler: str
    outputs: tuple[CompiledOutput, ...]
    summary: dict[str, object]
    batch: int = 1
    more: tuple[Artifact, ...] = ()
    sdk_version: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    extra: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Compiler:
    """`compile`: (cut graph from bytes to raw tensors as ONNX, quantised or not; target; where a log may stay;
    progress) and, where `check` says that there are choices, an order. `check`: refuses an order before any work is
    done; None: a compiler without choices. `there`: whether it is on this machine, or can be. `kit`: what goes to a
    machine that has it, where it cannot: (graph, target, order, manifest for the compiled artefact, labels.txt, the
    package's file name) to files by name."""

    compile: Callable[..., Compiled]
    check: Callable[[Target, Order], None] | None = None
    there: Callable[[], bool] = lambda: True
    kit: Callable[[bytes, Target, Order, Callable[[Compiled], dict[str, Any]], bytes, str], dict[str, bytes]] | None = (
        None
    )

    def run(self, graph: bytes, target: Target, order: Order, log: Path, progress: Progress) -> Compiled:
        if self.check is None:
            return self.compile(graph, target, log, progress)
        return self.compile(graph, target, log, progress, order)
