# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to what Canaan's compiler takes: float ONNX from planes, and a quantisation scheme in JSON.

The scheme has a row for each tensor of the compiler's own graph: a type, and the reals that its integers cover. A
tensor without a row crashes the compiler, so that everything has one; rows that it does not know it leaves. It reads no
ranges of weights but finds them itself, per channel: 255 steps from -largest to largest. The weights are handed over
such that these steps are ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.unquantise import Unquantised, unquantise
from yoloq_quantize.passes.rewrite import constant_of
from yoloq_quantize.place import MOVES

TO_PLANES = (0, 3, 1, 2)
STORED, WEIGHT, REAL = "u8", "i8", "f16"
UNREAD = (-1.0, 1.0)  # the range of a row that needs none
BROADCAST = ("_aBroadCast", "_bBroadCast")  # what the compiler makes of the two that a MatMul reads
LARGEST, HALF_OF_STEPS = 127, 127.5

Range = tuple[float, float]


@dataclass(frozen=True)
class Lowered:
    """`graph`: float32 [n, 3, h, w] to the raw tensors. `largest`: the real that a byte of 255 is. `scheme`: JSON, as
    the compiler reads it. `int8`, `float`: convolutions of each precision."""

    graph: ir.Model
    largest: float
    scheme: str
    int8: int
    float: int


def lower(model: ir.Model) -> Lowered:
    """`model`: a cut graph with a uint8 picture input, quantised or not; it is taken apart in place."""
    scales = _weight_scales(model.graph)
    found = unquantise(model)
    graph = found.graph.graph
    _drop_transpose(graph)
    for node in graph:
        if node.op_type == "Conv" and node.name in found.weighted:
            _on_the_compilers_steps(graph, node, scales[node.name])
    convolutions = sum(node.op_type == "Conv" for node in graph)
    largest, int8 = 255 * found.picture, len(found.weighted)
    return Lowered(found.graph, largest, _scheme(found, largest), int8, convolutions - int8)


def _weight_scales(graph: ir.Graph) -> dict[str, np.ndarray]:
    """By the name of the node that reads the weights."""
    found = {}
    for node in graph:
        if node.op_type == "DequantizeLinear" and node.inputs[0].const_value is not None:
            for use in node.outputs[0].uses():
                found[use.node.name] = np.atleast_1d(node.inputs[1].const_value.numpy())
    return found


def _drop_transpose(graph: ir.Graph) -> None:
    """The compiler makes planes of bytes itself."""
    picture = graph.inputs[0]
    readers = list(picture.consumers())
    is_planes = [
        node.op_type == "Transpose" and tuple(node.attributes["perm"].as_ints()) == TO_PLANES for node in readers
    ]
    if len(readers) != 1 or not all(is_planes):
        raise QuantizeError("the graph does not begin with a picture's bytes; quantise it with yoloq quantize")
    batch, height, width, channels = picture.shape
    readers[0].outputs[0].replace_all_uses_with(picture)
    graph.remove(readers[0], safe=True)
    picture.shape = ir.Shape((batch, channels, height, width))


def _on_the_compilers_steps(graph: ir.Graph, node: ir.Node, scales: np.ndarray) -> None:
    """Moves each channel's largest weight outwards by half a step, to where the compiler's steps are the scale; it is
    rounded back (a negative one, of a channel without a positive one as large, may become 128)."""
    weight = node.inputs[1].const_value.numpy()
    scales = np.broadcast_to(scales, (len(weight),)).reshape(-1, *[1] * (weight.ndim - 1))
    stored = np.round(weight / scales)
    for channel in stored:
        for outermost in (LARGEST, -LARGEST):
            if (channel == outermost).any():
                channel[channel == outermost] = np.sign(outermost) * HALF_OF_STEPS
                break
    moved = (stored * scales).astype(np.float32)
    value = ir.val(f"{node.name}/steps", const_value=ir.tensor(moved, name=f"{node.name}/steps"))
    graph.register_initializer(value)
    node.replace_input_with(1, value)


def _scheme(found: Unquantised, largest: float) -> str:
    graph = found.graph.graph
    ranges = _follow(found)
    rows = [_row(f"{graph.inputs[0].name}_DivStd", STORED, (0.0, largest))]
    weights = {node.inputs[1].name for node in graph if node.name in found.weighted}
    for node in graph:
        if node.op_type == "MatMul":
            names = {source.name + suffix for source in node.inputs for suffix in BROADCAST}
            rows += [_row(name, REAL, UNREAD) for name in sorted(names)]
        for value in node.outputs:
            known = ranges.get(value.name)
            rows.append(_row(value.name, STORED if known else REAL, known or UNREAD))
    read = dict.fromkeys(value for node in graph for value in node.inputs if constant_of(value) is not None)
    rows += [_row(value.name, WEIGHT if value.name in weights else REAL, UNREAD) for value in read]
    return json.dumps({"Version": "1.0", "Model": None, "Outputs": rows}, indent=1)


def _follow(found: Unquantised) -> dict[str, Range]:
    """Ranges of what is stored as integers, also behind operators that only move numbers."""
    ranges = dict(found.ranges)
    for node in found.graph.graph:
        if node.op_type not in MOVES:
            continue
        sources = [value for value in node.inputs if value is not None and constant_of(value) is None]
        known = [ranges[value.name] for value in sources if value.name in ranges]
        if known and len(known) == len(sources):
            both = (min(low for low, _ in known), max(high for _, high in known))
            for value in node.outputs:
                ranges.setdefault(value.name, both)
    return ranges


def _row(name: str, kind: str, limits: Range) -> dict[str, object]:
    low, high = limits
    return {
        "Name": name,
        "DataType": kind,
        "DataRange": [{"Min": low, "Max": high, "IsFull": False}],
        "DataRangeMode": "by_tensor",
    }
