# SPDX-License-Identifier: Apache-2.0
"""Which activations are worth swapping: chosen by a cost model, never by measured time.

An engine that fuses an activation into its convolution still computes it element by element. A SiLU needs an
exponential and a division for each; a HardSwish next to nothing. So the cost goes with the number of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.swap_activations import swappable_activations

SHARE = 0.95  # of the cost of all, that "auto" takes away


@dataclass(frozen=True)
class Costly:
    """An activation, by the name of the node that makes its result. `elements`: of the result, for one picture."""

    name: str
    elements: int


def costly_activations(model: ir.Model) -> tuple[Costly, ...]:
    """Activations that can be swapped and whose size is known, in the graph's order."""
    nodes = {node.name: node for node in model.graph}
    found = []
    for name in swappable_activations(model):
        shape = nodes[name].outputs[0].shape
        if shape is not None and all(isinstance(side, int) for side in shape):
            found.append(Costly(name, int(np.prod([int(side) for side in shape]))))
    return tuple(found)


def choose(model: ir.Model, which: str | Sequence[str] = "auto") -> tuple[str, ...]:
    """Names to swap, in the graph's order: "auto" (the fewest that carry SHARE of the cost), "all", or a list."""
    known = costly_activations(model)
    if not known:
        raise QuantizeError("the model has no SiLU or Mish; there is no activation to swap")
    names = tuple(each.name for each in known)
    if isinstance(which, str):
        if which not in ("auto", "all"):
            raise QuantizeError(f"which {which!r} is not known; expected auto, all, or a list of node names")
        return names if which == "all" else _costliest(known)
    if missing := sorted(set(which) - set(names)):
        raise QuantizeError(f"node {missing[0]!r} makes no SiLU or Mish that could be swapped")
    if not which:
        raise QuantizeError("no activation is named; use auto or all")
    return tuple(name for name in names if name in set(which))


def _costliest(known: Sequence[Costly]) -> tuple[str, ...]:
    total, taken = sum(each.elements for each in known), 0
    chosen: set[str] = set()
    for each in sorted(known, key=lambda each: -each.elements):  # stable: ties in the graph's order
        if taken >= SHARE * total:
            break
        chosen.add(each.name)
        taken += each.elements
    return tuple(each.name for each in known if each.name in chosen)
