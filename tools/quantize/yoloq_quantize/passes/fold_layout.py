# SPDX-License-Identifier: Apache-2.0
"""Pass: chains of Reshape and Transpose become the shortest chain that does the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.passes.rewrite import bypass, drop_unused, maker, new_constant, number, numbers, static_shape

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


class FoldLayout(ir.passes.InPlacePass):
    """Requires: known shapes. Ensures: no Transpose reads a Transpose, no Reshape (Flatten, Squeeze, Unsqueeze) reads
    another, and none of them gives back what it read."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified, again = False, True
        while again:
            again = False
            for node in list(model.graph):
                again |= _shorten(model.graph, node)
            modified |= again
        if modified:
            drop_unused(model)
        return ir.passes.PassResult(model, modified=modified)


def _shorten(graph: ir.Graph, node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Transpose":
        return _shorten_transpose(node)
    return node.op_type in RESHAPES and _shorten_reshape(graph, node)


def _shorten_transpose(node: ir.Node) -> bool:
    order, before = _order(node), maker(node.inputs[0], "Transpose")
    if order is None:
        return False
    if order == sorted(order):
        return bypass(node)
    if before is None or (first := _order(before)) is None:
        return False
    node.replace_input_with(0, before.inputs[0])
    node.attributes["perm"] = ir.AttrInt64s("perm", [first[axis] for axis in order])
    return True


def _order(node: ir.Node) -> list[int] | None:
    given = numbers(node, "perm")
    if given is not None:
        return list(given)
    shape = static_shape(node.inputs[0])
    return None if shape is None else list(range(len(shape)))[::-1]


def _shorten_reshape(graph: ir.Graph, node: ir.Node) -> bool:
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if before is None or after is None or 0 in after or number(node, "allowzero", 0):
        return False
    if before == after:
        return bypass(node)
    first = maker(node.inputs[0], *RESHAPES)
    if first is None:
        return False
    source = first.inputs[0]
    if static_shape(source) is None:
        return False
    target = new_constant(graph, f"{node.outputs[0].name}/shape", np.array(after, np.int64))
    made = ir.node("Reshape", [source, target], name=node.name)
    ir.convenience.replace_nodes_and_values(graph, node, [node], [made], [node.outputs[0]], [made.outputs[0]])
    return True
