# SPDX-License-Identifier: Apache-2.0
"""Pass: a node of its own before every output, for chips that store what the last nodes give as integers: a pair goes
between the two, as between any others."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.place import HAND_ON


class StoreOutputs(ir.passes.InPlacePass):
    """Requires: unique node names; every output is made by a node, and is no second output's value too.

    Ensures: an Identity makes every output, under the output's name; its node is named after the output.
    """

    def requires(self, model: ir.Model) -> None:
        for value in model.graph.outputs:
            if value.producer() is None or list(model.graph.outputs).count(value) > 1:
                raise ir.passes.PreconditionError(f"no node of its own makes the output {value.name!r}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, modified = model.graph, False
        taken = {node.name for node in graph}
        values = {value.name for node in graph for value in node.outputs}
        for index, made in enumerate(graph.outputs):
            if made.producer().op_type == HAND_ON:
                continue
            name, node_name, inner = made.name, f"{made.name}/{HAND_ON}", f"{made.name}/made"
            while node_name in taken:
                node_name += "_"
            while inner in values:
                inner += "_"
            made.name = inner
            output = ir.val(name, made.dtype, made.shape)
            graph.append(ir.node(HAND_ON, [made], name=node_name, outputs=[output]))
            graph.outputs[index] = output
            modified = True
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        for value in model.graph.outputs:
            if value.producer().op_type != HAND_ON:
                raise ir.passes.PostconditionError(f"output {value.name!r} is made by {value.producer().name!r}")
