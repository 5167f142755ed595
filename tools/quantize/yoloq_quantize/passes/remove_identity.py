# SPDX-License-Identifier: Apache-2.0
"""Pass: nodes that hand their input on unchanged go."""

from __future__ import annotations

import onnx_ir as ir


class RemoveIdentity(ir.passes.InPlacePass):
    """Ensures: no Identity, no Dropout at inference, no Cast to the type a value has already."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if not _hands_on(node):
                continue
            source, result = node.inputs[0], node.outputs[0]
            if result.is_graph_output() and (
                source.is_graph_input() or source.const_value is not None or source.is_graph_output()
            ):
                continue  # an output must keep a node of its own
            if result.is_graph_output():
                source.name, result.name = result.name, None
            result.replace_all_uses_with(source, replace_graph_outputs=True)
            model.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if _hands_on(node) and not node.outputs[0].is_graph_output():
                raise ir.passes.PostconditionError(f"{node.op_type} {node.name!r} is left")


def _hands_on(node: ir.Node) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        is_training = training is not None and (training.const_value is None or bool(training.const_value.numpy()))
        mask_used = len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
        return not is_training and not mask_used
    if node.op_type == "Cast":
        return node.inputs[0].dtype is not None and int(node.inputs[0].dtype) == node.attributes["to"].as_int()
    return False
