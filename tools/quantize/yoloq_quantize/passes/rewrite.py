# SPDX-License-Identifier: Apache-2.0
"""What the rewriting passes share: reading constants, replacing a node, dropping what nothing reads any more."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initializer, else None."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def scalar_of(value: ir.Value | None) -> float | None:
    """The number that a constant of one element holds, else None."""
    array = constant_of(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape if every side is known, else None."""
    if value is None or value.shape is None or not all(isinstance(side, int) for side in value.shape):
        return None
    return tuple(int(side) for side in value.shape)


def maker(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """The node that makes `value`, if it is one of the standard operators `kinds`."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in kinds and node.domain in ("", "ai.onnx") else None


def number(node: ir.Node, name: str, default: float) -> float:
    """A numeric attribute."""
    return node.attributes[name].value if name in node.attributes else default


def numbers(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """A list attribute."""
    return tuple(node.attributes[name].as_ints()) if name in node.attributes else None


def read_once(value: ir.Value) -> bool:
    """Whether exactly one node reads the value, and it is no output of the graph."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def new_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """A new initializer; its name is `name`, or with a number behind it where that is taken."""
    taken, free, count = graph.initializers, name, 0
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    value = ir.val(free, const_value=ir.tensor(np.ascontiguousarray(array), name=free))
    graph.register_initializer(value)
    return value


def replace(node: ir.Node, *nodes: ir.Node) -> None:
    """Puts `nodes` where `node` was; the last one's first output takes over the name, shape and readers of its own."""
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], nodes, [node.outputs[0]], [nodes[-1].outputs[0]])


def bypass(node: ir.Node) -> bool:
    """Readers of the node's output read its first input instead, and the node goes. False where an output of the graph
    must keep a node of its own."""
    source, result = node.inputs[0], node.outputs[0]
    if result.is_graph_output():
        if source.is_graph_input() or source.const_value is not None or source.is_graph_output():
            return False
        source.name, result.name = result.name, None
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    return True


def drop_unused(model: ir.Model) -> bool:
    """Removes nodes and initializers that nothing reads."""
    return RemoveUnusedNodesPass()(model).modified


def infer_shapes(model: ir.Model) -> None:
    """Infers every shape anew from the input's; what was written for an older, open input would contradict it."""
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    for value in model.graph.outputs:
        if value.const_value is None:
            value.shape = None
    # Not strict: one operator whose shape stays unknown shall not take those of all others away.
    ShapeInferencePass(strict_mode=False)(model)
