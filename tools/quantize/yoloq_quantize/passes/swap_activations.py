# SPDX-License-Identifier: Apache-2.0
"""Pass: SiLU becomes a cheaper activation. The numbers change, and the weights have to learn it."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.activations import HARD_SWISH, MISH, RELU, SILU, find_activation, spell
from yoloq_quantize.passes.rewrite import drop_unused, replace

KINDS = (HARD_SWISH, RELU)


def swappable_activations(model: ir.Model) -> list[str]:
    """Names of the nodes that make the result of a SiLU or Mish, in the graph's order."""
    opset = model.graph.opset_imports.get("", 13)
    found = [find_activation(node, opset) for node in model.graph]
    return [each.node.name for each in found if each is not None and each.kind in (SILU, MISH)]


class SwapActivations(ir.passes.InPlacePass):
    """Requires: unique node names; each of `names` one of swappable_activations().

    Ensures: each of them, or all with "all", is `kind` ("HardSwish" or "Relu") of the same value. The new node keeps
    the name of the old one, and its result the name of the old result.
    """

    def __init__(self, names: Collection[str] | str = "all", kind: str = HARD_SWISH) -> None:
        if kind not in KINDS:
            raise QuantizeError(f"activation {kind!r} is not known; expected {' or '.join(KINDS)}")
        self.names, self.kind = names, kind

    def _chosen(self, model: ir.Model) -> set[str]:
        known = swappable_activations(model)
        chosen = set(known if self.names == "all" else self.names)
        if missing := sorted(chosen - set(known)):
            raise QuantizeError(f"node {missing[0]!r} makes no SiLU or Mish that could be swapped")
        return chosen

    def requires(self, model: ir.Model) -> None:
        self._chosen(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset, chosen = model.graph.opset_imports.get("", 13), self._chosen(model)
        for node in list(model.graph):
            if node.name in chosen:
                found = find_activation(node, opset)
                replace(node, *spell(model.graph, self.kind, found.source, node, opset))
        if chosen:
            drop_unused(model)
        return ir.passes.PassResult(model, modified=bool(chosen))
