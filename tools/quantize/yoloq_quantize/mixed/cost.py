# SPDX-License-Identifier: Apache-2.0
"""How long a placement takes on the target, by a model whose rates are the target's data: deterministic, so that the
same model and pictures give the same choice on every machine.

A convolution takes its multiply-adds, its tensors' bytes, and its activation's elements, which engines fuse into it;
operators that move or add numbers take their bytes; a tensor that is needed both quantised and in float, or that a
float node reads quantised, is converted, by the element. Rates: targets/NAME.toml, table `cost`, fitted by
bench/cost_fit.py. Optional: `blocks`, the input, output and depthwise channels that the chip computes as one;
`overlap`, it moves, multiplies and activates at once, and the longest of the three counts; `back`, of converting what a
float convolution makes into the integers that are stored; `picture`, of reading the picture in float.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.place import MOVES, Placement, is_quantised_input, stored_values
from yoloq_quantize.scheme import Target

FUSED = ("Sigmoid", "HardSigmoid", "HardSwish", "Relu", "LeakyRelu", "Clip", "Tanh", "Softplus", "Mish", "Swish")
MOVES_OR_ADDS = (*MOVES, "Add")
RATES = ("mac", "depthwise", "byte", "activation", "node")


@dataclass(frozen=True)
class Features:
    """What a node does, in the units that rates go by; `precision`: int8 or float."""

    precision: str
    mac: float = 0  # multiply-adds of a convolution over many channels
    depthwise: float = 0  # multiply-adds of a convolution with one channel a group
    byte: float = 0  # read and written
    activation: float = 0  # elements
    node: float = 1

    def time(self, rates: Mapping[str, Mapping[str, float]]) -> float:
        """Nanoseconds."""
        parts = {name: getattr(self, name) * rates[self.precision][name] for name in RATES}
        if rates[self.precision].get("overlap"):
            return max(parts["mac"], parts["depthwise"], parts["byte"], parts["activation"]) + parts["node"]
        return sum(parts.values())


def rates_of(target: Target) -> Mapping[str, Mapping[str, float]]:
    """The target's rates, complete and not negative."""
    wanted = {"int8": RATES, "float": RATES, "convert": ("element",)}
    for table, names in wanted.items():
        for name in names:
            rate = ((target.cost or {}).get(table) or {}).get(name)
            if not isinstance(rate, (int, float)) or not 0 <= rate < 1e6:
                raise QuantizeError(f"target {target.chip}: [cost.{table}] {name} is missing or no rate in ns")
    return target.cost


class CostModel:
    """The cost of placements on one float graph with inferred shapes."""

    def __init__(self, model: ir.Model, rates: Mapping[str, Mapping[str, float]]) -> None:
        """`rates`: of the target, in ns; see rates_of."""
        self.rates = rates
        self._graph = model.graph
        self._values = [value for node in model.graph for value in node.outputs]
        self._nodes = [node for node in model.graph if node.op_type == "Conv" or node.op_type in MOVES_OR_ADDS]

    def time(self, placement: Placement) -> float:
        """Nanoseconds of everything that depends on the placement."""
        paired, passed = stored_values(self._graph, placement)
        weighted = set(placement.weighted)
        total = sum(self._node(node, paired | passed, weighted).time(self.rates) for node in self._nodes)
        converted = self._converted(placement, paired, passed)
        return total + self.rates["convert"]["element"] * sum(converted.values()) + self._edges(placement, paired)

    def _edges(self, placement: Placement, paired: set[ir.Value]) -> float:
        """Of float convolutions: what makes integers of their results, and of the picture what they read."""
        convolutions = [node for node in self._nodes if node.op_type == "Conv" and node.name not in placement.weighted]
        back = sum(elements(_behind(node)[0]) for node in convolutions if _behind(node)[0] in paired)
        read = sum(elements(node.inputs[0]) for node in convolutions if is_quantised_input(node.inputs[0]))
        convert = self.rates["convert"]
        return convert.get("back", 0) * back + convert.get("picture", 0) * read

    def features(self, placement: Placement) -> dict[str, Features]:
        """By node name."""
        stored = set().union(*stored_values(self._graph, placement))
        weighted = set(placement.weighted)
        return {node.name: self._node(node, stored, weighted) for node in self._nodes}

    def converted(self, placement: Placement) -> dict[str, int]:
        """Elements of each value that takes a conversion of its own: an integer that something reads in float."""
        return self._converted(placement, *stored_values(self._graph, placement))

    def _converted(self, placement: Placement, paired: set[ir.Value], passed: set[ir.Value]) -> dict[str, int]:
        quantised = {(edge.node, edge.index) for edges in placement.edges.values() for edge in edges}
        weighted = set(placement.weighted)
        found = {}
        for value in self._values:
            if value in passed:
                kept = all(u.node.name in weighted or u.node.op_type in MOVES_OR_ADDS for u in value.uses())
            elif value in paired:
                kept = all((use.node.name, use.idx) in quantised for use in value.uses())
            else:
                continue
            if not kept or value.is_graph_output():
                found[value.name] = elements(value)
        return found

    def _node(self, node: ir.Node, stored: set[ir.Value], weighted: set[str]) -> Features:
        if node.op_type != "Conv":
            values = [value for value in node.inputs if value is not None and value.producer() is not None]
            inside = all(value in stored for value in values)
            width = 1 if inside else 4
            count = sum(map(elements, values)) + sum(map(elements, node.outputs))
            return Features("int8" if inside else "float", byte=width * count)
        output, activation = _behind(node)
        precision = "int8" if node.name in weighted else "float"
        narrow = int(node.inputs[1].shape[1]) == 1
        macs = _multiply_adds(node, narrow, self.rates[precision].get("blocks", (1, 1, 1)))
        read = elements(node.inputs[0]) * (1 if node.name in weighted else 4)
        written = elements(output) * (1 if output in stored else 4)
        return Features(
            precision,
            mac=0 if narrow else macs,
            depthwise=macs if narrow else 0,
            byte=read + written,
            activation=elements(output) if activation else 0,
        )


def _multiply_adds(node: ir.Node, narrow: bool, blocks: Sequence[int]) -> int:
    """Of a convolution, with its channels filled up to whole blocks: of inputs, of outputs, of a depthwise one's."""
    reads, *kernel = (int(side) for side in node.inputs[1].shape[1:])
    channels = int(node.outputs[0].shape[1])
    pixels = elements(node.outputs[0]) // channels
    into, out, depthwise = blocks
    whole = _up(channels, depthwise) if narrow else _up(reads, into) * _up(channels, out)
    return pixels * math.prod(kernel) * whole


def _up(count: int, block: int) -> int:
    return -(-count // block) * block


def elements(value: ir.Value) -> int:
    return math.prod(int(side) for side in value.shape)


def _behind(node: ir.Node) -> tuple[ir.Value, bool]:
    """What a convolution hands on: the output of its activation and of the scaling for the next quantisation, which
    engines fuse into it; and whether there is an activation."""
    value, activation = node.outputs[0], False
    readers = list(value.consumers())
    if len(readers) == 1 and readers[0].op_type in FUSED:
        value, activation = readers[0].outputs[0], True
    elif len(readers) == 2 and any(reader.op_type in FUSED for reader in readers):  # x * sigmoid(x)
        product = [reader for reader in readers if reader.op_type == "Mul"]
        if product:
            value, activation = product[0].outputs[0], True
    scaled = [reader.outputs[0] for reader in value.consumers() if _by_constant(reader)]
    return scaled[0] if scaled else value, activation


def _by_constant(node: ir.Node) -> bool:
    return node.op_type == "Mul" and node.inputs[1].const_value is not None
