# SPDX-License-Identifier: Apache-2.0
"""Each quantised convolution alone, beside the float one: what its own quantisation does to its output.

A twin reads the float graph's input of the convolution, quantises it with a scale and zero point given at run time, and
compares with the float graph's output. Errors of other layers never mix in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.params import TensorParams, WeightParams
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import Placement, moves_only
from yoloq_quantize.runner import Runner, with_outputs
from yoloq_quantize.scheme import ActivationScheme, PlaceScheme
from yoloq_quantize.subject import Plan, Subject

OPSET = 17  # of the twins' own small graphs
AXES_AS_INPUT = 18  # opset from which ReduceMax takes its axes as an input


@dataclass(frozen=True)
class Twin:
    """A weighted convolution whose input carries the scale of the placement's group number `group`."""

    node: ir.Node
    group: int
    runner: Runner

    def compare(self, values: dict[str, np.ndarray], params: TensorParams) -> tuple[float, np.ndarray]:
        """(squared error relative to the output's power, mean shift of each output channel, float32 [out])."""
        wanted = values[self.node.outputs[0].name]
        found = self.runner.run_named(
            {
                "source": values[self.node.inputs[0].name],
                "wanted": wanted,
                "scale": np.array(params.scale, np.float32),
                "zero_point": np.array(params.zero_point, np.float32),
            }
        )
        power = float(np.square(wanted, dtype=np.float64).sum()) + 1e-12
        return float(found["error"]) / power, found["shift"]


def make_twins(subject: Subject, plan: Plan) -> list[Twin]:
    """One per weighted convolution that reads a quantised group; the one that reads the picture's bytes has none."""
    weighted = set(plan.placement.weighted)
    twins = []
    for node in subject.graph.graph:
        if node.name in weighted and node.op_type == "Conv":
            group = group_of(node.inputs[0], plan.placement, subject.target.place)
            if group is not None:
                graph = _graph(node, plan.params.weights[node.name], subject.target.activations)
                twins.append(Twin(node, group, Runner(graph)))
    return twins


def float_values(subject: Subject, twins: list[Twin], pictures: PictureStream) -> Iterator[dict[str, np.ndarray]]:
    """Per picture, the float graph's inputs and outputs of the twins' convolutions, by name."""
    inner = [value.name for twin in twins for value in (twin.node.inputs[0], twin.node.outputs[0])]
    runner = Runner(with_outputs(subject.graph, list(dict.fromkeys(inner))))
    for picture in subject.progress(pictures, "comparing layers"):
        yield runner.run(picture)


def reduced(model: ir.Model, operators: tuple[str, ...], names: list[str], absolute: bool = False) -> Runner:
    """Runs a graph and gives each named value [1, C, h, w] reduced to its channels, operator by operator; the engine
    reduces, so that nothing large is copied. `absolute`: of magnitudes."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    outputs = []
    for operator in operators:
        for name in names:
            value = values[name]
            if absolute:
                copy.graph.append(ir.node("Abs", [value]))
                value = copy.graph[-1].outputs[0]
            result = ir.val(f"{name}/{operator}", ir.DataType.FLOAT)
            inputs, attributes = [value], {"keepdims": 0}
            if copy.graph.opset_imports[""] >= AXES_AS_INPUT:
                axes = _constant(f"{result.name}/axes", np.array([0, 2, 3], np.int64))
                copy.graph.register_initializer(axes)
                inputs.append(axes)
            else:
                attributes["axes"] = [0, 2, 3]
            copy.graph.append(ir.node(operator, inputs, attributes, outputs=[result]))
            outputs.append(result)
    copy.graph.outputs[:] = outputs
    return Runner(copy)


def group_of(value: ir.Value, placement: Placement, scheme: PlaceScheme) -> int | None:
    """The group whose scale a value carries, found upwards through what only moves numbers; None if there is none."""
    index = {name: group for group, names in enumerate(placement.groups) for name in names}
    while value.name not in index:
        producer = value.producer()
        if producer is None or not moves_only(producer, scheme):
            return None
        value = producer.inputs[0]
    return index[value.name]


def _graph(node: ir.Node, weights: WeightParams, scheme: ActivationScheme) -> ir.Model:
    """`source`, `wanted`, `scale`, `zero_point` in; `error` (sum of squares) and `shift` [out] out."""
    smallest, largest = scheme.limits
    shaped = weights.scales.reshape(-1, *[1] * (weights.stored.ndim - 1)).astype(np.float32)
    source = ir.val("source", ir.DataType.FLOAT, node.inputs[0].shape)
    wanted = ir.val("wanted", ir.DataType.FLOAT, node.outputs[0].shape)
    scale, zero = (ir.val(name, ir.DataType.FLOAT, ()) for name in ("scale", "zero_point"))
    low, high = _constant("low", np.array(smallest, np.float32)), _constant("high", np.array(largest, np.float32))
    parameters = [_constant("weight", weights.stored.astype(np.float32) * shaped)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        parameters.append(_constant("bias", node.inputs[2].const_value.numpy()))
    nodes: list[ir.Node] = []

    def add(operator: str, inputs: list[ir.Value], attributes: dict[str, object] | None = None) -> ir.Value:
        nodes.append(ir.node(operator, inputs, attributes or {}))
        return nodes[-1].outputs[0]

    moved = add("Add", [add("Round", [add("Div", [source, scale])]), zero])
    real = add("Mul", [add("Sub", [add("Clip", [moved, low, high]), zero]), scale])
    nodes.append(ir.node("Conv", [real, *parameters], dict(node.attributes)))
    difference = add("Sub", [nodes[-1].outputs[0], wanted])
    error = add("ReduceSum", [add("Mul", [difference, difference])], {"keepdims": 0})
    shift = add("ReduceMean", [difference], {"axes": [0, 2, 3], "keepdims": 0})
    for value, name, shape in ((error, "error", ()), (shift, "shift", (int(node.outputs[0].shape[1]),))):
        value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    graph = ir.Graph(
        [source, wanted, scale, zero],
        [error, shift],
        nodes=nodes,
        initializers=[low, high, *parameters],
        opset_imports={"": OPSET},
        name="twin",
    )
    return ir.Model(graph, ir_version=8)


def _constant(name: str, array: np.ndarray) -> ir.Value:
    return ir.val(name, const_value=ir.tensor(array, name=name))
