# SPDX-License-Identifier: Apache-2.0
"""Pass: nodes, initializers and outputs of nodes that no output of the graph needs go."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.passes.rewrite import drop_unused


class RemoveDead(ir.passes.InPlacePass):
    """Ensures: every node leads to an output of the graph, and every initializer is read."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, modified=drop_unused(model))

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                raise ir.passes.PostconditionError(f"nothing reads {node.op_type} {node.name!r}")
        for value in model.graph.initializers.values():
            if not value.uses() and not value.is_graph_output():
                raise ir.passes.PostconditionError(f"nothing reads initializer {value.name!r}")
