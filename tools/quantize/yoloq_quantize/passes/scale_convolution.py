# SPDX-License-Identifier: Apache-2.0
"""Weights and biases of a convolution, scaled and shifted per output channel. Used by the folding passes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.rewrite import constant_of, new_constant, number


def is_constant_convolution(node: ir.Node) -> bool:
    """Whether weight and bias are constants, so that they can be rewritten."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return constant_of(node.inputs[1]) is not None and (bias is None or constant_of(bias) is not None)


def output_channels(node: ir.Node) -> int:
    """Channels that a Conv or ConvTranspose with a constant weight gives."""
    shape = constant_of(node.inputs[1]).shape
    return shape[0] if node.op_type == "Conv" else shape[1] * int(number(node, "group", 1))


def scale_convolution(node: ir.Node, factor: np.ndarray, shift: np.ndarray) -> None:
    """conv(x) becomes conv(x) * factor + shift; both float64 [output channels].

    Other readers of the old weights keep them: new initializers are made. Computed in float64, stored in float32.
    """
    weight = constant_of(node.inputs[1]).astype(np.float64)
    bias = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    bias = np.zeros(output_channels(node)) if bias is None else bias.astype(np.float64)
    if node.op_type == "Conv":
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    else:  # [input channels, output channels / group, ...]: input channels run group by group
        group = int(number(node, "group", 1))
        apart = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
        weight = (apart * factor.reshape(group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    replace_weights(node, weight, bias * factor + shift)


def replace_weights(node: ir.Node, weight: np.ndarray, bias: np.ndarray) -> None:
    """New float32 initializers for the convolution; the names say whose they are."""
    with np.errstate(over="ignore"):
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
    if not np.isfinite(weight).all() or not np.isfinite(bias).all():
        raise QuantizeError(f"convolution {node.name!r} would get weights that are not finite numbers")
    old = node.inputs[1].name
    inputs = [new_constant(node.graph, f"{old}/folded", weight), new_constant(node.graph, f"{old}/bias", bias)]
    node.resize_inputs(3)
    node.replace_input_with(1, inputs[0])
    node.replace_input_with(2, inputs[1])
