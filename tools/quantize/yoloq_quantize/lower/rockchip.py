# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to what Rockchip's compiler takes: QDQ ONNX with a float picture, planes first.

The compiler keeps the scales of the pairs. A tensor without a pair runs in F16, and so does every reader of a
DequantizeLinear that an F16 operator reads too; each reader gets one of its own therefore. A convolution and its SiLU
or HardSwish run as one INT8 operator only if there is a pair between them, whose scale the compiler then ignores.
On chips with F16 attention runs in it: of one whose queries, keys and values are integers, the compiler makes for them
what its own simulator cannot run. On chips without, everything has a pair, the outputs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.params import FLOORS
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.remove_dead import RemoveDead
from yoloq_quantize.passes.rewrite import bypass, maker
from yoloq_quantize.place import HAND_ON, kind_of
from yoloq_quantize.scheme import Target

TO_PLANES = (0, 3, 1, 2)
WIDENED = 128 / 127


@dataclass(frozen=True)
class Lowered:
    """`graph`: from the real picture, float32 [n, 3, h, w] under the name that the bytes had, to the raw tensors.
    `divisor`: a byte divided by it is that picture; the compiler is told, and puts it into the chip's input."""

    graph: ir.Model
    divisor: float


def lower(model: ir.Model, target: Target) -> Lowered:
    """`model`: a cut graph with a uint8 picture input, quantised for `target` or not; it is changed in place."""
    divisor = _float_picture(model)
    _outputs_of_pairs(model.graph)
    _readers_in_float(model.graph, target.place.float_before)
    _pair_before_activation(model.graph)
    _part_readers(model.graph)
    if target.compiler.get("widens_middle"):
        _before_widening(model.graph)
    return Lowered(run_passes(model, RemoveDead()), divisor)


def _float_picture(model: ir.Model) -> float:
    """The input becomes real planes that are quantised to the same bytes at once; 1 / scale."""
    graph, picture = model.graph, model.graph.inputs[0]
    value, dequantize, planes = picture, None, False
    while (nodes := list(value.consumers())) and len(nodes) == 1 and not (dequantize and planes):
        if nodes[0].op_type == "DequantizeLinear" and dequantize is None:
            dequantize = nodes[0]
        elif nodes[0].op_type == "Transpose" and tuple(nodes[0].attributes["perm"].as_ints()) == TO_PLANES:
            planes = True
        else:
            break
        value = nodes[0].outputs[0]
    if dequantize is None or not planes:
        raise QuantizeError("the graph does not begin with a picture's bytes; quantise it with yoloq quantize")
    batch, height, width, channels = picture.shape
    picture.dtype, picture.shape = ir.DataType.FLOAT, ir.Shape((batch, channels, height, width))
    scale, zero = dequantize.inputs[1:3]
    stored = ir.val(f"{picture.name}/again_stored", zero.dtype, picture.shape)
    real = ir.val(f"{picture.name}/again_real", ir.DataType.FLOAT, picture.shape)
    pair = [
        ir.node("QuantizeLinear", [picture, scale, zero], name=f"{picture.name}/again_Quantize", outputs=[stored]),
        ir.node("DequantizeLinear", [stored, scale, zero], name=f"{picture.name}/again_Dequantize", outputs=[real]),
    ]
    graph.insert_before(next(iter(graph)), pair)
    value.replace_all_uses_with(real)
    return 1 / float(scale.const_value.numpy())


def _constant(graph: ir.Graph, name: str, array: np.ndarray | np.generic) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(np.asarray(array), name=name))
    graph.register_initializer(value)
    return value


def _quantised(node: ir.Node) -> bool:
    return len(node.inputs) > 1 and maker(node.inputs[1], "DequantizeLinear") is not None


def _outputs_of_pairs(graph: ir.Graph) -> None:
    """The node between a pair and an output, which was for placing it, goes."""
    for value in list(graph.outputs):
        node = maker(value, HAND_ON)
        if node is not None:
            bypass(node)


def _readers_in_float(graph: ir.Graph, operators: Sequence[str]) -> None:
    """Operators that take a convolution into float read what is not rounded."""
    for node in graph:
        if node.op_type not in operators:
            continue
        for index, value in enumerate(node.inputs):
            dequantize = maker(value, "DequantizeLinear")
            quantize = maker(dequantize.inputs[0], "QuantizeLinear") if dequantize is not None else None
            if quantize is not None:
                node.replace_input_with(index, quantize.inputs[0])


def _pair_before_activation(graph: ir.Graph) -> None:
    """Between a quantised convolution and an activation whose result is quantised, where there is none."""
    for node in list(graph):
        value = node.outputs[0]
        if node.op_type != "Conv" or not _quantised(node):
            continue
        activation = next((reader for reader in value.consumers() if kind_of(reader) in FLOORS), None)
        stored = [] if activation is None else list(activation.outputs[0].consumers())
        if not stored or any(reader.op_type != "QuantizeLinear" for reader in stored):
            continue
        numbers = _before(activation, stored[0])
        constants = [
            _constant(graph, f"{value.name}/{part}", n) for part, n in zip(("scale", "zero"), numbers, strict=True)
        ]
        quantised = ir.val(f"{value.name}/stored", stored[0].outputs[0].dtype, value.shape)
        real = ir.val(f"{value.name}/real", ir.DataType.FLOAT, value.shape)
        value.replace_all_uses_with(real)
        pair = [
            ir.node("QuantizeLinear", [value, *constants], name=f"{value.name}/Quantize", outputs=[quantised]),
            ir.node("DequantizeLinear", [quantised, *constants], name=f"{value.name}/Dequantize", outputs=[real]),
        ]
        graph.insert_after(node, pair)


def _before(activation: ir.Node, quantize: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of what an activation reads, from those of what it gives: they end at the same number."""
    scale, zero = (value.const_value.numpy() for value in quantize.inputs[1:3])
    limits, floor = np.iinfo(zero.dtype), FLOORS[kind_of(activation)]
    wider = np.float32(((limits.max - int(zero)) * float(scale) - floor) / (limits.max - limits.min))
    return wider, np.array(np.clip(round(limits.min - floor / float(wider)), limits.min, limits.max), zero.dtype)


def _part_readers(graph: ir.Graph) -> None:
    """A DequantizeLinear for each reader."""
    for node in [node for node in graph if node.op_type == "DequantizeLinear"]:
        value = node.outputs[0]
        for number, use in enumerate(list(value.uses())[1:], 1):
            twin = ir.node(
                node.op_type,
                list(node.inputs),
                dict(node.attributes),
                name=f"{node.name}/{number}",
                outputs=[ir.val(f"{value.name}/{number}", value.dtype, value.shape)],
            )
            graph.insert_after(node, [twin])
            use.node.replace_input_with(use.idx, twin.outputs[0])


def _before_widening(graph: ir.Graph) -> None:
    """Where a zero point is the middle of its integers, as of all weights, the compiler makes the scale 128/127 as
    large, and rounds weights anew. It is handed scales as much smaller, and weights that it rounds back to ours."""
    made: dict[tuple[ir.Value, bool], ir.Value] = {}

    def scaled(value: ir.Value, stored: bool) -> ir.Value:
        if (value, stored) not in made:
            numbers = value.const_value.numpy()
            wider = numbers.astype(np.float64) * (WIDENED if stored else 1 / WIDENED)
            limits = np.iinfo(numbers.dtype) if stored else None
            array = np.clip(np.rint(wider), limits.min, limits.max) if limits else wider
            made[value, stored] = _constant(graph, f"{value.name}/widened", array.astype(numbers.dtype))
        return made[value, stored]

    for node in graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        stored, scale, zero = node.inputs
        zeros = zero.const_value.numpy()
        middle = (int(np.iinfo(zeros.dtype).min) + int(np.iinfo(zeros.dtype).max) + 1) // 2
        if (zeros != middle).any():
            continue
        node.replace_input_with(1, scaled(scale, stored=False))
        if stored.const_value is not None:
            node.replace_input_with(0, scaled(stored, stored=True))
