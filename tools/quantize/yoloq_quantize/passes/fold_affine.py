# SPDX-License-Identifier: Apache-2.0
"""Pass: multiplication and addition of constants behind a convolution become part of its weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.passes.rewrite import bypass, constant_of, maker, read_once, static_shape
from yoloq_quantize.passes.scale_convolution import is_constant_convolution, output_channels, scale_convolution

KINDS = ("Mul", "Add", "Sub", "Div")


class FoldAffine(ir.passes.InPlacePass):
    """Requires: known shapes. Ensures: no Mul, Add, Sub or Div by constants, one for all or one per channel, is the
    only reader of a convolution with constant weights, but for a decoder's stride.

    A product with the map's own stride in pixels turns cells into pixels: it belongs to the head's decode, and the
    convolution before it gives the head's raw tensor.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        height = (static_shape(model.graph.inputs[0]) or (0, 0, 0))[2]
        for node in list(model.graph):
            found = _foldable(node, height)
            if found is None:
                continue
            conv, factor, shift = found
            scale_convolution(conv, factor, shift)
            if node.inputs[0] is not conv.outputs[0]:
                node.replace_input_with(0, conv.outputs[0])
            modified |= bypass(node)
        return ir.passes.PassResult(model, modified=modified)


def _foldable(node: ir.Node, height: int) -> tuple[ir.Node, np.ndarray, np.ndarray] | None:
    """The convolution that takes the node in, with factor and shift per output channel, float64."""
    if node.op_type not in KINDS or len(node.inputs) != 2:
        return None
    index = 0 if maker(node.inputs[0], "Conv", "ConvTranspose") else 1
    conv = maker(node.inputs[index], "Conv", "ConvTranspose")
    other = constant_of(node.inputs[1 - index])
    if conv is None or other is None or not is_constant_convolution(conv) or not read_once(conv.outputs[0]):
        return None
    if node.op_type == "Div" and index == 1:
        return None  # a constant divided by the convolution
    shape, channels = static_shape(conv.outputs[0]), output_channels(conv)
    if shape is None or static_shape(node.outputs[0]) != shape or _is_stride(node, other, shape, height):
        return None
    constant = _per_channel(other.astype(np.float64), channels)
    if constant is None or (node.op_type == "Div" and not constant.all()):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op_type in ("Mul", "Div"):
        return conv, constant if node.op_type == "Mul" else 1 / constant, zeros
    if node.op_type == "Sub" and index == 1:
        return conv, -ones, constant
    return conv, ones, constant if node.op_type == "Add" else -constant


def _is_stride(node: ir.Node, constant: np.ndarray, shape: tuple[int, ...], height: int) -> bool:
    return node.op_type == "Mul" and constant.size == 1 and len(shape) == 4 and constant.item() * shape[2] == height


def _per_channel(constant: np.ndarray, channels: int) -> np.ndarray | None:
    """[channels] from a constant that broadcasts to [1, channels, h, w] and is the same over h and w; else None."""
    if constant.size == 1:
        return np.full(channels, constant.reshape(-1)[0])
    shape = (1,) * (4 - constant.ndim) + constant.shape
    return constant.reshape(-1) if shape == (1, channels, 1, 1) else None
