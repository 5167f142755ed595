# SPDX-License-Identifier: Apache-2.0
"""One compiled graph in which every quantiser can be switched at run time, so that asking what one of them costs in
accuracy needs no compilation: y = x + s * (quantised(x) - x), with s of each edge and each weight a graph input.

With all switches on it computes what the QDQ graph computes, with all off what the float graph does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from yoloq_quantize.mixed.tails import Tail
from yoloq_quantize.params import Params
from yoloq_quantize.place import Edge, Placement
from yoloq_quantize.subject import Plan, Subject

INPUT = "switches"
TAILS = 5  # that a graph is cut into, with as many nodes that switches change each


class Switchboard:
    """Runs a plan with any part of it switched on. Not for several threads at once."""

    def __init__(self, subject: Subject, plan: Plan) -> None:
        self.switches = switches_of(plan.placement)
        self._model = switchable(subject.graph, plan, subject.target.activations.dtype, self.switches)
        self._first = _first_nodes(self._model.graph, len(self.switches))
        nodes: dict[str, int] = {}
        for edge, switch in self.switches.items():
            nodes[edge.node] = min(nodes.get(edge.node, len(self._model.graph)), int(self._first[switch]))
        firsts = sorted(nodes.values())
        self._starts = sorted({0, *(firsts[len(firsts) * part // TAILS] for part in range(1, TAILS))})

    def tails(self, states: Sequence[np.ndarray]) -> Iterator[tuple[Tail, list[int]]]:
        """Every tail that is needed, and which of the states it can run: those that switch nothing before it.
        A state: float32 (switches,), 1 on, 0 off."""
        firsts = [min(self._first[state > 0], default=len(self._model.graph)) for state in states]
        at = [max(start for start in self._starts if start <= first) for first in firsts]
        for start in self._starts:
            members = [index for index, own in enumerate(at) if own == start]
            if members:
                yield Tail(self._model, start, INPUT), members

    def state(self, placement: Placement) -> np.ndarray:
        """Switches on what `placement` quantises, which is all or a part of the plan's placement."""
        return self.only(edge for edges in placement.edges.values() for edge in edges) + self.only(
            Edge(name, 1) for name in placement.weighted
        )

    def only(self, edges: Iterable[Edge]) -> np.ndarray:
        """Switches on these edges alone; input 1 of a weighted node is its weight and bias."""
        state = np.zeros(len(self.switches), np.float32)
        for edge in edges:
            state[self.switches[edge]] = 1
        return state


def _first_nodes(graph: ir.Graph, count: int) -> np.ndarray:
    """For each switch the position of the first node that it changes."""
    places = {node: index for index, node in enumerate(graph)}
    wires = list(graph.inputs[-1:]) if count == 1 else list(next(iter(graph)).outputs)
    return np.array([min(places[reader] for reader in wire.consumers()) for wire in wires])


def switches_of(placement: Placement) -> dict[Edge, int]:
    """Every quantised edge and every weight, numbered in the placement's order."""
    edges = [edge for edges in placement.edges.values() for edge in edges]
    return {edge: index for index, edge in enumerate([*edges, *(Edge(name, 1) for name in placement.weighted)])}


def switchable(model: ir.Model, plan: Plan, dtype: str, switches: dict[Edge, int]) -> ir.Model:
    """A copy of the float model with a second input, float32 [switches]. `dtype`: of the activations."""
    copy = model.clone()
    graph = copy.graph
    wires = _wires(graph, len(switches))
    limits = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    nodes = {node.name: node for node in graph}
    values = {value.name: value for node in graph for value in node.outputs}
    for name, edges in plan.placement.edges.items():
        change = _change(graph, values[name], plan.params, limits)
        for edge in edges:
            blended = _blend(graph, nodes[edge.node], edge.index, values[name], change, wires[switches[edge]])
            nodes[edge.node].replace_input_with(edge.index, blended)
    for name in plan.placement.weighted:
        _weight(graph, nodes[name], plan.params, wires[switches[Edge(name, 1)]])
    return copy


def _wires(graph: ir.Graph, count: int) -> tuple[ir.Value, ...]:
    """One value [1] for each switch."""
    wanted = ir.val(INPUT, ir.DataType.FLOAT, (count,))
    graph.inputs.append(wanted)
    if count == 1:
        return (wanted,)
    outputs = [ir.val(f"{INPUT}/{index}", ir.DataType.FLOAT, (1,)) for index in range(count)]
    sides = _constant(graph, f"{INPUT}/sides", np.ones(count, np.int64))
    split = ir.node("Split", [wanted, sides], {"axis": 0}, name=f"{INPUT}/Split", outputs=outputs)
    graph.insert_before(next(iter(graph)), [split])
    return tuple(outputs)


def _change(graph: ir.Graph, value: ir.Value, params: Params, limits: tuple[int, int]) -> ir.Value:
    """quantised(value) - value, in float arithmetic as QuantizeLinear and DequantizeLinear define it."""
    found = params.activations[value.name]
    prefix = value.name + "/switch"
    scale = _constant(graph, f"{prefix}/scale", np.array(found.scale, np.float32))
    low, high = (
        _constant(graph, f"{prefix}/limit_{index}", np.array(limit - found.zero_point, np.float32))
        for index, limit in enumerate(limits)
    )
    steps = [ir.node("Div", [value, scale], name=f"{prefix}/Div")]
    steps.append(ir.node("Round", [steps[-1].outputs[0]], name=f"{prefix}/Round"))
    steps.append(ir.node("Clip", [steps[-1].outputs[0], low, high], name=f"{prefix}/Clip"))
    steps.append(ir.node("Mul", [steps[-1].outputs[0], scale], name=f"{prefix}/Mul"))
    outputs = [ir.val(f"{prefix}/change", ir.DataType.FLOAT, value.shape)]
    steps.append(ir.node("Sub", [steps[-1].outputs[0], value], name=f"{prefix}/Sub", outputs=outputs))
    graph.insert_after(value.producer(), steps)
    return steps[-1].outputs[0]


def _blend(graph: ir.Graph, node: ir.Node, index: int, value: ir.Value, change: ir.Value, wire: ir.Value) -> ir.Value:
    """value + wire * change, for one input of `node`."""
    prefix = f"{node.name}/switch_{index}"
    scaled = ir.node("Mul", [change, wire], name=f"{prefix}/Mul")
    blended = ir.val(f"{prefix}/blended", ir.DataType.FLOAT, value.shape)
    total = ir.node("Add", [value, scaled.outputs[0]], name=f"{prefix}/Add", outputs=[blended])
    graph.insert_before(node, [scaled, total])
    return total.outputs[0]


def _weight(graph: ir.Graph, node: ir.Node, params: Params, wire: ir.Value) -> None:
    """Weight, and bias where the plan replaces it, move by one switch."""
    found = params.weights[node.name]
    weight = node.inputs[1].const_value.numpy()
    scales = found.scales.reshape(-1, *[1] * (weight.ndim - 1))
    change = (found.stored.astype(np.float32) * scales - weight).astype(np.float32)
    delta = _constant(graph, f"{node.name}/switch_weight", change)
    node.replace_input_with(1, _blend(graph, node, 1, node.inputs[1], delta, wire))
    bias = params.biases.get(node.name)
    if bias is None:
        return
    own = node.inputs[2] if len(node.inputs) > 2 else None
    if own is None:
        own = _constant(graph, f"{node.name}/switch_no_bias", np.zeros(len(bias), np.float32))
        node.resize_inputs(3)
        node.replace_input_with(2, own)
    delta = _constant(graph, f"{node.name}/switch_bias", (bias - own.const_value.numpy()).astype(np.float32))
    node.replace_input_with(2, _blend(graph, node, 2, own, delta, wire))


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
