# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to the deploy graph that Ascend's ATC takes: AscendQuant, a layer of integers, AscendDequant; the
rest stays float32, which ATC turns into FP16.

    q = clamp(round(x * scale) + offset, -128, 127)       scale = 1 / activation scale, offset = zero point of int8
    y = (sum of q * w + bias) * deq_scale                 deq_scale = activation scale * weight scale, per channel

The zero point's share, offset * sum of w, is added to the bias by the graph compiler, and must not be in it.
The picture arrives by AIPP as NCHW numbers, not bytes: a byte times `Lowered.pixel`. Where integers read it, that is 1,
so that the byte less 128 is the integer, and the model's input scale (1/255, which FP16 cannot hold) is in deq_scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.ascend_operators import check_operators
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.remove_dead import RemoveDead
from yoloq_quantize.passes.rewrite import constant_of, new_constant, number
from yoloq_quantize.place import MOVES

LAYERS = {"Conv": 0, "ConvTranspose": 1, "Gemm": None, "MatMul": None}  # axis of the output channels; None: one scale
OFFSET = {"uint8": -128, "int8": 0}  # from a stored integer to AscendQuant's
FLOAT_PIXEL = 1 / 256  # a power of two: exact in FP16
HALF_MAX, HALF_MIN = 65504.0, 2.0**-24
FINE = 2.0**20  # steps of the bias of a channel without weights
INT32 = 2.0**31
MAKES_FLOATS = "keep it in float, or quantise for this target"


@dataclass(frozen=True)
class Kept:
    """A layer that has quantised numbers in the QDQ graph and runs in FP16 all the same; why, and what mends it."""

    node: str
    kind: str
    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{self.kind} {self.node!r} runs in FP16: {self.reason}; {self.mend}"


@dataclass(frozen=True)
class Lowered:
    """`graph`: the deploy graph. `int8`: names of the layers of integers. `pixel`: what AIPP multiplies a byte by.
    `float32`: names of nodes that ATC must not bring to FP16."""

    graph: ir.Model
    int8: tuple[str, ...]
    kept: tuple[Kept, ...]
    pixel: float
    float32: tuple[str, ...]


@dataclass(frozen=True)
class _Numbers:
    """Of an activation: `scale`, the real value of one step; `offset`: the int8 that stands for 0."""

    scale: float
    offset: int


@dataclass(frozen=True)
class _Layer:
    """A node with everything that its lowering needs. `weight`: int8, as the deploy graph has it. `bias`: int32."""

    node: ir.Node
    source: ir.Value
    numbers: _Numbers
    weight: np.ndarray
    bias: np.ndarray | None
    deq_scale: np.ndarray


class _Refused(Exception):
    """(reason, mend): the layer runs in FP16."""


def lower(model: ir.Model, *, integers: bool = True) -> Lowered:
    """`model`: a cut QDQ graph from bytes, or a float one (then everything is FP16). It is taken apart in place.
    integers: False makes everything FP16 all the same."""
    graph = model.graph
    picture = _Picture.of(graph)
    layers, kept = [], []
    for node in graph:
        if integers and node.op_type in LAYERS and _is_dequantised(node.inputs[1]):
            try:
                layers.append(_layer(node, picture))
            except _Refused as refused:
                kept.append(Kept(node.name, node.op_type, *refused.args))
    pixel = 1.0 if any(layer.source is picture.value for layer in layers) else FLOAT_PIXEL
    quants: dict[tuple[ir.Value, float, int], ir.Value] = {}
    for layer in layers:
        _write(graph, layer, quants)
    picture.feed_floats(graph, pixel, {layer.node for layer in layers})
    _drop_pairs(graph)
    model = run_passes(model, RemoveDead())
    check_operators(model)
    return Lowered(model, tuple(layer.node.name for layer in layers), tuple(kept), pixel, _float32(model.graph))


# ---------------------------------------------------------------------------------------------------- the picture


@dataclass
class _Picture:
    """The new input, what read the old one, and the model's input for one byte."""

    value: ir.Value
    real: ir.Value
    scale: float

    @staticmethod
    def of(graph: ir.Graph) -> _Picture:
        """Puts a float NCHW input in the place of the bytes; what dequantised and turned them is left unread."""
        old = graph.inputs[0]
        value, scale, order = old, None, [0, 1, 2, 3]
        while len(list(value.consumers())) == 1 and not value.is_graph_output():
            node = next(iter(value.consumers()))
            if node.op_type == "DequantizeLinear" and scale is None and not _zero(node).any():
                scale = float(constant_of(node.inputs[1]))
            elif node.op_type == "Transpose":
                order = [order[axis] for axis in node.attributes["perm"].as_ints()]
            else:
                break
            value = node.outputs[0]
        if scale is None or order != [0, 3, 1, 2] or old.dtype != ir.DataType.UINT8:
            raise QuantizeError("the graph does not begin with a picture's bytes; quantise it with yoloq quantize")
        name, (batch, height, width, channels) = old.name, tuple(old.shape)
        old.name = f"{name}/bytes"
        new = ir.val(name, ir.DataType.FLOAT, (batch, channels, height, width))
        graph.inputs[0] = new
        return _Picture(new, value, scale)

    def feed_floats(self, graph: ir.Graph, pixel: float, integers: set[ir.Node]) -> None:
        """Everything else that reads the picture: convolutions take the factor into their weights."""
        factor, scaled = np.float32(self.scale / pixel), None
        for use in list(self.real.uses()):
            node = use.node
            weight = None if node in integers else _float_weight(node)
            if weight is not None and use.idx == 0:
                value = new_constant(graph, f"{node.name}/pixel_weight", (weight * factor).astype(np.float32))
                node.replace_input_with(1, value)
                node.replace_input_with(0, self.value)
                continue
            if scaled is None:
                constant = new_constant(graph, f"{self.value.name}/factor", np.array(factor, np.float32))
                made = ir.node("Mul", [self.value, constant], name=f"{self.value.name}/scaled")
                made.outputs[0].dtype, made.outputs[0].shape = ir.DataType.FLOAT, self.value.shape
                graph.insert_before(next(iter(graph)), [made])
                scaled = made.outputs[0]
            node.replace_input_with(use.idx, scaled)


def _float_weight(node: ir.Node) -> np.ndarray | None:
    """The float weight of a convolution, also of one whose weight is quantised."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return None
    return _reals(node.inputs[1].producer()) if _is_dequantised(node.inputs[1]) else constant_of(node.inputs[1])


# ---------------------------------------------------------------------------------------------------- one layer


def _layer(node: ir.Node, picture: _Picture) -> _Layer:
    source, numbers = _source(node.inputs[0], picture)
    stored, scales = _weight(node)
    if not HALF_MIN <= 1 / numbers.scale <= HALF_MAX:
        raise _Refused(f"1 / {numbers.scale:.3g}, its activation's scale, is no FP16 number", MAKES_FLOATS)
    if source is picture.value:  # integers are the bytes less 128: nothing is scaled, or rounded
        numbers = _Numbers(numbers.scale, OFFSET["uint8"])
    deq_scale = (np.float64(numbers.scale) * scales).astype(np.float32)
    bias = constant_of(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if len(node.inputs) > 2 and node.inputs[2] is not None and bias is None:
        raise _Refused("its bias is not a constant", "make it one")
    if bias is not None:
        deq_scale, bias = _bias(bias.reshape(-1), deq_scale, _rows(node, stored))
    if not (np.isfinite(deq_scale).all() and (deq_scale >= np.finfo(np.float32).tiny).all()):
        raise _Refused("a scale of its result is no normal float32 number", MAKES_FLOATS)
    return _Layer(node, source, numbers, stored, bias, deq_scale)


def _source(value: ir.Value, picture: _Picture) -> tuple[ir.Value, _Numbers]:
    """The float tensor that a layer reads, and how it is quantised; also through what only moves numbers."""
    if value is picture.real:
        return picture.value, _Numbers(picture.scale, OFFSET["uint8"])
    node = value.producer()
    if node is not None and node.op_type == "DequantizeLinear" and _is_quantised(node.inputs[0]):
        zero = _zero(node)
        if zero.dtype.name not in OFFSET or zero.size != 1:
            raise _Refused(f"its activation is {zero.dtype.name}", MAKES_FLOATS)
        numbers = _Numbers(float(constant_of(node.inputs[1])), int(zero) + OFFSET[zero.dtype.name])
        return node.inputs[0].producer().inputs[0], numbers
    if node is not None and node.op_type in MOVES:
        count = len(node.inputs) if node.op_type == "Concat" else 1
        found = {_source(source, picture)[1] for source in node.inputs[:count]}
        if len(found) == 1:
            return value, found.pop()
        raise _Refused("the tensors that it joins have different scales", "give them one")
    raise _Refused("its activation is not quantised", MAKES_FLOATS)


def _weight(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Integers and float32 scales, [out] or [1]."""
    dequantize = node.inputs[1].producer()
    stored, scales = (constant_of(value) for value in dequantize.inputs[:2])
    scales, axis = scales.reshape(-1), LAYERS[node.op_type]
    if stored.dtype != np.int8 or _zero(dequantize).any():
        raise _Refused("its weights are not symmetric int8", MAKES_FLOATS)
    if scales.size > 1 and axis is None:
        raise _Refused("it has a scale per channel, and the chip takes one per tensor", "give its weight one scale")
    if scales.size > 1 and dequantize.attributes.get_int("axis", 1) != axis:
        raise _Refused("its scales are not those of its output channels", MAKES_FLOATS)
    if node.op_type == "ConvTranspose" and (number(node, "group", 1) != 1 or set(_ints(node, "dilations")) - {1}):
        raise _Refused("its kernel is dilated or in groups", MAKES_FLOATS)
    if node.op_type == "Gemm":
        if number(node, "transA", 0) or number(node, "alpha", 1) != 1 or number(node, "beta", 1) != 1:
            raise _Refused("transA, alpha or beta is not neutral", MAKES_FLOATS)
        stored = np.ascontiguousarray(stored.T) if number(node, "transB", 0) else stored
    if node.op_type == "MatMul" and stored.ndim != 2:
        raise _Refused("its weight is no matrix", MAKES_FLOATS)
    return stored, scales


def _ints(node: ir.Node, name: str) -> tuple[int, ...]:
    return tuple(node.attributes[name].as_ints()) if name in node.attributes else ()


def _rows(node: ir.Node, stored: np.ndarray) -> np.ndarray:
    """The weights [out, all the others]."""
    axis = LAYERS[node.op_type]
    axis = stored.ndim - 1 if axis is None else axis
    return np.moveaxis(stored, axis, 0).reshape(stored.shape[axis], -1)


def _bias(bias: np.ndarray, deq_scale: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers of the bias, and the scales: where a channel has no weights, any will do, and a fine one is taken,
    as its result is the bias alone."""
    if deq_scale.size == len(rows):
        idle = ~rows.any(axis=1) & (bias != 0)
        deq_scale = np.where(idle, np.abs(bias) / np.float32(FINE), deq_scale).astype(np.float32)
    stored = np.rint(bias.astype(np.float64) / deq_scale.astype(np.float64))
    reach = 256.0 * np.abs(rows.astype(np.float64)).sum(axis=1)
    if not (np.abs(stored) + reach < INT32).all():
        raise _Refused("its bias is too large for 32 bits", MAKES_FLOATS)
    return deq_scale, stored.astype(np.int32)


# ---------------------------------------------------------------------------------------------------- the graph


def _write(graph: ir.Graph, layer: _Layer, quants: dict[tuple[ir.Value, float, int], ir.Value]) -> None:
    """AscendQuant before the layer (one for all that read the same integers), AscendDequant behind it."""
    node, numbers, name = layer.node, layer.numbers, layer.node.name
    from_bytes = layer.source.is_graph_input()
    key = (layer.source, numbers.scale, numbers.offset)
    if key not in quants:
        scale = 1.0 if from_bytes else float(np.float32(1 / numbers.scale))
        attributes = {"scale": scale, "offset": float(numbers.offset), "dst_type": "INT8"}
        quant = ir.node("AscendQuant", [layer.source], attributes, name=f"{name}.quant")
        quant.outputs[0].name = f"{name}.quant"
        quant.outputs[0].dtype, quant.outputs[0].shape = ir.DataType.INT8, layer.source.shape
        graph.insert_before(node, [quant])
        quants[key] = quant.outputs[0]
    node.replace_input_with(0, quants[key])
    node.replace_input_with(1, new_constant(graph, f"{name}.weight", layer.weight))
    if layer.bias is not None:
        node.replace_input_with(2, new_constant(graph, f"{name}.bias", layer.bias))
    if node.op_type == "Gemm":
        node.attributes.pop("transB", None)
    packed = layer.deq_scale.view(np.uint32).astype(np.uint64)
    old = node.outputs[0]
    dequant = ir.node(
        "AscendDequant",
        [old, new_constant(graph, f"{name}.dequant.param", packed)],
        {"dtype": 0, "relu_flag": 0, "sqrt_mode": 0},
        name=f"{name}.dequant",
    )
    made = dequant.outputs[0]
    made.dtype, made.shape = ir.DataType.FLOAT, old.shape
    made.name, old.name = old.name, f"{name}.int32"
    old.type = ir.TensorType(ir.DataType.INT32)  # a new one: a copy of the graph may share the old
    graph.insert_after(node, [dequant])
    old.replace_all_uses_with(made, replace_graph_outputs=True)
    dequant.replace_input_with(0, old)


def _drop_pairs(graph: ir.Graph) -> None:
    """What is left of quantised numbers becomes float: other readers of a tensor take it as it was."""
    for node in list(graph):
        if node.op_type != "DequantizeLinear":
            continue
        stored = node.inputs[0]
        if stored.const_value is not None:
            value = new_constant(graph, f"{node.outputs[0].name}.float", _reals(node))
        elif _is_quantised(stored):
            value = stored.producer().inputs[0]
        else:
            continue  # of the picture: nothing reads it any more
        node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)


def _float32(graph: ir.Graph) -> tuple[str, ...]:
    """Nodes behind the last layers that compute: boxes of a decoded head are pixels, for which FP16 is too coarse."""
    found: set[ir.Node] = set()
    for node in reversed(list(graph)):
        readers = [use.node for value in node.outputs for use in value.uses()]
        if node.op_type not in (*LAYERS, "AscendQuant", "AscendDequant") and all(r in found for r in readers):
            found.add(node)
    computing = [node for node in graph if node in found and node.op_type not in (*MOVES, "Reshape", "Flatten")]
    return tuple(node.name for node in graph if node in found) if computing else ()


def _is_dequantised(value: ir.Value) -> bool:
    """Whether the value is a constant that is stored as integers."""
    node = value.producer()
    return node is not None and node.op_type == "DequantizeLinear" and node.inputs[0].const_value is not None


def _is_quantised(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "QuantizeLinear"


def _zero(node: ir.Node) -> np.ndarray:
    found = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros((), np.uint8) if found is None else found


def _reals(node: ir.Node) -> np.ndarray:
    """What a DequantizeLinear makes of a constant."""
    stored, scales = (constant_of(value) for value in node.inputs[:2])
    sides = [1] * stored.ndim
    if scales.ndim and scales.size > 1:
        sides[node.attributes.get_int("axis", 1)] = -1
    zero = _zero(node).reshape(sides) if _zero(node).ndim else _zero(node)
    return ((stored.astype(np.float32) - zero.astype(np.float32)) * scales.reshape(sides)).astype(np.float32)
