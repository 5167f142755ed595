# SPDX-License-Identifier: Apache-2.0
"""What every compiler gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

GRAPH = "graph.onnx"  # in packages of compilers whose simulator runs only what it has compiled itself


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
class Compiled:
    """`artifact`: the file's bytes. `compiler`: its name and version. `outputs`: in the artefact's order. `summary`:
    for the manifest. `warnings`: a line each. `extra`: further files for the package, by name."""

    artifact: bytes
    compiler: str
    outputs: tuple[CompiledOutput, ...]
    summary: dict[str, object]
    warnings: tuple[str, ...] = ()
    extra: dict[str, bytes] = field(default_factory=dict)
