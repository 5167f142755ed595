# SPDX-License-Identifier: Apache-2.0
"""The blocks of a network, read from the graph's structure: names play no part in what belongs together.

Nodes that lead to the same outputs at the same resolution are a region; walking a region in the graph's order, a block
ends wherever a single tensor carries everything on. A chain of layers falls into its layers, a CSP or attention block
with its inner branches stays whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Block:
    """`name` for people: what the nodes' names begin with. `nodes`: names, in the graph's order. `attention`: whether
    tensors are multiplied with tensors in it."""

    name: str
    nodes: tuple[str, ...]
    attention: bool


def find_blocks(model: ir.Model) -> tuple[Block, ...]:
    """Blocks of a float graph with inferred shapes, in the graph's order; every node is in exactly one."""
    nodes = list(model.graph)
    reach = _reach(model.graph, nodes)
    regions: dict[tuple, list[ir.Node]] = {}
    for node in nodes:
        regions.setdefault((reach[node], _side(node)), []).append(node)
    parts = [part for region in regions.values() for part in _cut(region)]
    order = {node: index for index, node in enumerate(nodes)}
    return tuple(_block(part) for part in sorted(parts, key=lambda part: order[part[0]]))


def _reach(graph: ir.Graph, nodes: list[ir.Node]) -> dict[ir.Node, frozenset[int]]:
    """The outputs of the graph that each node leads to, by index."""
    outputs = {value: index for index, value in enumerate(graph.outputs)}
    found: dict[ir.Node, frozenset[int]] = {}
    for node in reversed(nodes):
        leads = {outputs[value] for value in node.outputs if value in outputs}
        for value in node.outputs:
            for reader in value.consumers():
                leads |= found[reader]
        found[node] = frozenset(leads)
    return found


def _side(node: ir.Node) -> tuple[int, ...]:
    """The resolution that a node works at: (height, width) of its output. Tensors of other ranks, as attention reshapes
    them, belong to the resolution they come from."""
    while True:
        shape = node.outputs[0].shape
        sources = [value.producer() for value in node.inputs if value is not None and value.producer() is not None]
        if shape is not None and len(shape) == 4 and node.op_type in ("Conv", "Concat", "Resize", "MaxPool"):
            return int(shape[2]), int(shape[3])
        if not sources:
            return ()
        node = sources[0]


def _cut(region: list[ir.Node]) -> list[list[ir.Node]]:
    """Cuts a region, in the graph's order, where one tensor alone is made before and read after."""
    inside = {node: index for index, node in enumerate(region)}
    last_reader: dict[ir.Value, int] = {}
    for index, node in enumerate(region):
        for value in node.inputs:
            if value is not None and value.producer() in inside:
                last_reader[value] = index
    parts: list[list[ir.Node]] = [[]]
    open_values: set[ir.Value] = set()
    for index, node in enumerate(region):
        parts[-1].append(node)
        open_values = {value for value in open_values if last_reader[value] > index}
        open_values |= {value for value in node.outputs if last_reader.get(value, -1) > index}
        if len(open_values) <= 1:
            parts.append([])
    return _with_convolution([part for part in parts if part])


def _with_convolution(parts: list[list[ir.Node]]) -> list[list[ir.Node]]:
    """Parts without a convolution (activations, Concat, Resize) join the part before them, or the first after."""
    joined: list[list[ir.Node]] = []
    for part in parts:
        if joined and (not _convolves(part) or not _convolves(joined[-1])):
            joined[-1] += part
        else:
            joined.append(list(part))
    return joined


def _convolves(part: list[ir.Node]) -> bool:
    return any(node.op_type == "Conv" for node in part)


def _block(part: list[ir.Node]) -> Block:
    attention = any(node.op_type == "MatMul" and node.inputs[1].const_value is None for node in part)
    names = [node.name for node in part if node.op_type == "Conv"] or [node.name for node in part]
    return Block(_common(names), tuple(node.name for node in part), attention)


def _common(names: list[str]) -> str:
    """The leading folders that all names share; the first name if there are none."""
    split = [name.strip("/").split("/") for name in names]
    shared = []
    for level in zip(*split, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared) or names[0]
