# SPDX-License-Identifier: Apache-2.0
"""Pass: every activation is spelled the same way, however the exporter wrote it."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.passes.activations import find_activation, spell
from yoloq_quantize.passes.rewrite import drop_unused, replace


class CanonicalActivations(ir.passes.InPlacePass):
    """Ensures: SiLU is Sigmoid and Mul(x, s); HardSwish and Mish are the operators where the opset has them.

    Without the operator HardSwish is HardSigmoid(1/6, 1/2) and Mul(x, h), Mish is Softplus, Tanh and Mul(x, t).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset, modified = model.graph.opset_imports.get("", 13), False
        for node in list(model.graph):
            found = find_activation(node, opset)
            if found is not None and not found.canonical:
                replace(node, *spell(model.graph, found.kind, found.source, node, opset))
                modified = True
        if modified:
            drop_unused(model)
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        opset = model.graph.opset_imports.get("", 13)
        for node in model.graph:
            found = find_activation(node, opset)
            if found is not None and not found.canonical:
                raise ir.passes.PostconditionError(f"{found.kind} at {node.name!r} is not in its one spelling")
