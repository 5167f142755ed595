# SPDX-License-Identifier: Apache-2.0
"""Pass: Focus (every second pixel, four times, stacked) and its convolution become one strided convolution."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.passes.rewrite import constant_of, drop_unused, maker, number, numbers, static_shape
from yoloq_quantize.passes.scale_convolution import is_constant_convolution, replace_weights


class FocusToConv(ir.passes.InPlacePass):
    """Requires: known shapes. Ensures: no Conv reads a Concat of the four phases of a map with even sides.

    Phase (dy, dx) holds the pixels (2 i + dy, 2 j + dx). A k x k kernel over the phases is a 2k x 2k kernel over the
    map, with twice the stride and twice the padding; the numbers stay the same (YOLOv5 6.0 made the same exchange).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type != "Concat" or node.outputs[0].is_graph_output():
                continue
            phases = _phases(node)
            readers = [use.node for use in node.outputs[0].uses()]
            if phases is None or not readers or not all(_rewritable(reader, node) for reader in readers):
                continue
            source, order = phases
            for conv in readers:
                _rewrite(conv, source, order)
            modified = True
        if modified:
            drop_unused(model)
        return ir.passes.PassResult(model, modified=modified)


def _phases(concat: ir.Node) -> tuple[ir.Value, list[tuple[int, int]]] | None:
    """What the Concat stacks along its channels: the source, and (dy, dx) of each phase in order."""
    if number(concat, "axis", 0) not in (1, -3) or len(concat.inputs) != 4:
        return None
    found = [_phase(value) for value in concat.inputs]
    if any(each is None for each in found) or len({id(source) for source, _ in found}) != 1:
        return None
    order = [phase for _, phase in found]
    return (found[0][0], order) if len(set(order)) == 4 else None


def _phase(value: ir.Value) -> tuple[ir.Value, tuple[int, int]] | None:
    """The source and (dy, dx) of a value that Slices take from it with step 2 in both directions."""
    starts: dict[int, int] = {}
    while (node := maker(value, "Slice")) is not None and len(starts) < 2:
        shape, parts = static_shape(node.inputs[0]), [constant_of(part) for part in node.inputs[1:]]
        if shape is None or len(shape) != 4 or len(parts) != 4 or any(part is None for part in parts):
            return None
        for start, end, axis, step in zip(*(part.reshape(-1).tolist() for part in parts), strict=True):
            axis %= 4
            if axis not in (2, 3) or axis in starts or step != 2 or shape[axis] % 2 or start not in (0, 1):
                return None
            if end < shape[axis] - 1 + start and not (end == -1 and start == 0):
                return None
            starts[axis] = start
        value = node.inputs[0]
    return (value, (starts[2], starts[3])) if len(starts) == 2 else None


def _rewritable(conv: ir.Node, concat: ir.Node) -> bool:
    return (
        conv.op_type == "Conv"
        and conv.inputs[0] is concat.outputs[0]
        and is_constant_convolution(conv)
        and number(conv, "group", 1) == 1
        and set(numbers(conv, "dilations") or (1,)) == {1}
        and ("auto_pad" not in conv.attributes or conv.attributes["auto_pad"].as_string() == "NOTSET")
    )


def _rewrite(conv: ir.Node, source: ir.Value, order: list[tuple[int, int]]) -> None:
    weight = constant_of(conv.inputs[1])
    filters, stacked, height, width = weight.shape
    channels = stacked // 4
    wide = np.zeros((filters, channels, 2 * height, 2 * width), np.float64)
    for index, (dy, dx) in enumerate(order):
        wide[:, :, dy::2, dx::2] = weight[:, index * channels : (index + 1) * channels]
    bias = constant_of(conv.inputs[2]) if len(conv.inputs) > 2 else None
    replace_weights(conv, wide, np.zeros(filters) if bias is None else bias)
    for name, default in (("strides", (1, 1)), ("pads", (0, 0, 0, 0))):
        conv.attributes[name] = ir.AttrInt64s(name, [2 * each for each in numbers(conv, name) or default])
    conv.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", [2 * height, 2 * width])
    conv.replace_input_with(0, source)
