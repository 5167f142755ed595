# SPDX-License-Identifier: Apache-2.0
"""Step `place`: decides which edges of the graph carry quantised numbers, and which tensors share one scale.

Inputs of convolutions are quantised, never what lies between a convolution and its activation: engines then fuse the
activation and the next quantisation into the convolution. Operators that only move numbers (Concat, Split, ...) run on
quantised numbers: the step goes upwards through them and quantises where numbers are made, on one scale for all.

Chips whose operators hand integers to each other (`PlaceScheme.integer`) store more: what such an operator makes of
integers is an integer too, between a convolution and its activation as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from yoloq_quantize.head import Head
from yoloq_quantize.scheme import PlaceScheme

SILU = "SiLU"  # x * sigmoid(x), one operator to chips
HAND_ON = "Identity"  # before an output that is stored quantised: passes/store_outputs.py
MOVES = ("Concat", "Split", "Slice", "MaxPool", "Resize", "Transpose")  # hand numbers on unchanged


@dataclass(frozen=True)
class Edge:
    """Input `index` of the node named `node`."""

    node: str
    index: int


@dataclass(frozen=True)
class Placement:
    """What is quantised, by names.

    `edges`: value -> edges that read it quantised, through one Quantize/Dequantize pair per value.
    `groups`: values that share one scale and zero point; every value of `edges` is in exactly one group.
    `weighted`: nodes whose weights (input 1) are quantised. `kept_float`: nodes that a rule keeps in float.
    """

    edges: dict[str, tuple[Edge, ...]]
    groups: tuple[tuple[str, ...], ...]
    weighted: tuple[str, ...]
    kept_float: tuple[str, ...]


def place(model: ir.Model, scheme: PlaceScheme, head: Head, keep_float: frozenset[str] = frozenset()) -> Placement:
    """Places quantisation in a float model, cut at `head`, whose nodes have unique names.

    `keep_float`: names of nodes that must stay in float whatever the scheme says.
    """
    graph = model.graph
    keep_float |= _last_nodes(graph, scheme, head)
    weighted, kept = [], []
    for node in graph:
        if node.op_type not in scheme.operators:
            continue
        before_float = any(reader.op_type in scheme.float_before for reader in node.outputs[0].consumers())
        if node.name in keep_float or before_float or node.inputs[1].const_value is None:
            kept.append(node.name)
        else:
            weighted.append(node)
    walk = _Walk(scheme)
    for node in weighted:
        walk.want(node, 0)
    walk.run()
    if scheme.integer:
        _store(graph, scheme, walk, set(weighted))
    return Placement(walk.edges(graph), walk.groups(graph), tuple(node.name for node in weighted), tuple(kept))


def _last_nodes(graph: ir.Graph, scheme: PlaceScheme, head: Head) -> frozenset[str]:
    """Weighted nodes that are among the last of their branch, as many as the scheme says for the branch's role."""
    depths = scheme.float_last["one_to_many" if head.nms else "one_to_one"]
    roles = {output.name: output.role for output in head.outputs}
    names: set[str] = set()
    for value in graph.outputs:
        waiting, seen = [(value.producer(), depths.get(roles[value.name], 0))], set()
        while waiting:
            node, left = waiting.pop()
            if node is None or left == 0 or (node, left) in seen:
                continue
            seen.add((node, left))
            if node.op_type in scheme.operators:
                names.add(node.name)
                left -= 1
            waiting.extend((source.producer(), left) for source in node.inputs if source is not None)
    return frozenset(names)


def _store(graph: ir.Graph, scheme: PlaceScheme, walk: _Walk, weighted: set[ir.Node]) -> None:
    """Quantises what the scheme's integer operators give, wherever it is read."""
    integers: set[ir.Value] = set()
    for node in graph:
        value = node.outputs[0]
        sources = _sources(node)
        if node in weighted:
            made = not _fused(node, scheme)
            integers.add(value)
        elif moves_only(node, scheme):
            made = False  # on its source's scale; the walk went through it if a quantised operator reads it
            if all(source in integers for source in sources) or value in walk.passed:
                integers.update(node.outputs)
        else:
            made = bool(sources) and kind_of(node) in scheme.integer and all(source in integers for source in sources)
        if made:
            integers.add(value)
            if kind_of(node) in scheme.same_scale:
                walk.join(sources[0], value)
            for use in value.uses():
                walk.want(use.node, use.idx)
    walk.run()


def _sources(node: ir.Node) -> list[ir.Value]:
    """The tensors that a node reads; of x * sigmoid(x) it is x alone."""
    found = [value for value in node.inputs if value is not None and value.producer() is not None]
    silu = silu_source(node)
    return found if silu is None else [silu]


def kind_of(node: ir.Node) -> str:
    """The operator's name, also of one that ONNX spells in several."""
    return node.op_type if silu_source(node) is None else SILU


def silu_source(node: ir.Node) -> ir.Value | None:
    """x, if the node is the Mul of x * sigmoid(x)."""
    if node.op_type != "Mul":
        return None
    for gate, value in (node.inputs, tuple(node.inputs)[::-1]):
        maker = gate.producer()
        if maker is not None and maker.op_type == "Sigmoid" and maker.inputs[0] is value:
            return value
    return None


def _fused(node: ir.Node, scheme: PlaceScheme) -> bool:
    """Whether only an activation that the chip's convolution does itself reads what it makes: it is stored after it."""
    value, readers = node.outputs[0], list(node.outputs[0].consumers())
    kinds = {kind_of(reader) for reader in readers}
    if SILU in kinds:
        kinds.discard("Sigmoid")
    ungrouped = node.attributes.get_int("group", 1) == 1
    known = (*scheme.fused, *(scheme.fused_ungrouped if ungrouped else ()))
    return len(kinds) == 1 and kinds <= set(known) and not value.is_graph_output()


class _Walk:
    """Goes upwards from the edges that are wanted quantised, joining the values that must share a scale."""

    def __init__(self, scheme: PlaceScheme) -> None:
        self.scheme = scheme
        self.wanted: dict[ir.Value, list[Edge]] = {}
        self.parents: dict[ir.Value, ir.Value] = {}
        self.waiting: list[ir.Value] = []
        self.passed: set[ir.Value] = set()  # quantised because what they are made of is

    def want(self, node: ir.Node, index: int) -> None:
        value = node.inputs[index]
        if is_quantised_input(value):
            return
        edge = Edge(node.name, index)
        edges = self.wanted.setdefault(value, [])
        if edge not in edges:
            edges.append(edge)
            self.waiting.append(value)

    def run(self) -> None:
        seen: set[ir.Value] = set()
        while self.waiting:
            value = self.waiting.pop()
            producer = value.producer()
            if value in seen or producer is None:
                continue
            seen.add(value)
            if moves_only(producer, self.scheme):
                self.passed.add(value)
                sources = range(len(producer.inputs)) if producer.op_type == "Concat" else (0,)
                for index in sources:
                    self.join(producer.inputs[index], value)
                    self.want(producer, index)
                for sibling in producer.outputs:
                    self.join(sibling, value)
            elif producer.op_type in self.scheme.both_inputs and not any(
                source.const_value is not None for source in producer.inputs
            ):
                for index in range(len(producer.inputs)):
                    self.want(producer, index)

    def edges(self, graph: ir.Graph) -> dict[str, tuple[Edge, ...]]:
        return {value.name: tuple(self.wanted[value]) for value in self._quantised(graph)}

    def groups(self, graph: ir.Graph) -> tuple[tuple[str, ...], ...]:
        groups: dict[ir.Value, list[str]] = {}
        for value in self._quantised(graph):
            groups.setdefault(self._root(value), []).append(value.name)
        return tuple(tuple(names) for names in groups.values())

    def _quantised(self, graph: ir.Graph) -> list[ir.Value]:
        """Values that get a Quantize/Dequantize pair, in the graph's order."""
        return [value for node in graph for value in node.outputs if value in self.wanted and value not in self.passed]

    def _root(self, value: ir.Value) -> ir.Value:
        while value in self.parents:
            value = self.parents[value]
        return value

    def join(self, one: ir.Value, other: ir.Value) -> None:
        """One scale for both."""
        one, other = self._root(one), self._root(other)
        if one is not other:
            self.parents[one] = other


def stored_values(graph: ir.Graph, placement: Placement) -> tuple[set[ir.Value], set[ir.Value]]:
    """Values that exist as integers: those with a pair, and those that operators which move numbers make of them."""
    quantised = {(edge.node, edge.index) for edges in placement.edges.values() for edge in edges}
    paired: set[ir.Value] = set()
    passed: set[ir.Value] = set()
    for node in graph:
        paired |= {value for value in node.outputs if value.name in placement.edges}
        if node.op_type in MOVES:
            sources = [i for i, value in enumerate(node.inputs) if value is not None and value.producer() is not None]
            if sources and all((node.name, i) in quantised or node.inputs[i] in passed for i in sources):
                passed |= set(node.outputs)
    return paired, passed


def is_quantised_input(value: ir.Value) -> bool:
    """The picture itself: already dequantised from bytes, directly or through a Transpose."""
    node = value.producer()
    if node is not None and node.op_type == "Transpose":
        node = node.inputs[0].producer()
    return node is not None and node.op_type == "DequantizeLinear"


def moves_only(node: ir.Node, scheme: PlaceScheme) -> bool:
    """Whether the node hands numbers on unchanged, so that one scale fits what goes in and out."""
    if node.op_type not in scheme.through:
        return False
    if node.op_type == "Resize":
        return "mode" not in node.attributes or node.attributes["mode"].as_string() == "nearest"
    if node.op_type == "Concat":
        return all(source.const_value is None and source.producer() is not None for source in node.inputs)
    return node.inputs[0].producer() is not None
