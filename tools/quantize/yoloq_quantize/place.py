# SPDX-License-Identifier: Apache-2.0
"""Step `place`: decides which edges of the graph carry quantised numbers, and which tensors share one scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from .scheme import Scheme


@dataclass(frozen=True)
class Edge:
    """Input `index` of node `node` (its name)."""

    node: str
    index: int


@dataclass(frozen=True)
class Placement:
    """What is quantised.

    `edges`: value name -> the edges that read it quantised, through one Quantize/Dequantize pair per value.
    `groups`: value name -> the group of values that share its scale and zero point, itself included.
    `convolutions`: names of the convolutions whose weights are quantised.
    """

    edges: dict[str, tuple[Edge, ...]]
    groups: dict[str, tuple[str, ...]]
    convolutions: tuple[str, ...]
    kept_float: tuple[str, ...] = field(default=())
