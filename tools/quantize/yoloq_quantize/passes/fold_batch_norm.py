# SPDX-License-Identifier: Apache-2.0
"""Pass: a BatchNormalization behind a convolution becomes part of its weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.rewrite import bypass, constant_of, maker, number, read_once
from yoloq_quantize.passes.scale_convolution import is_constant_convolution, scale_convolution


class FoldBatchNorm(ir.passes.InPlacePass):
    """Ensures: no BatchNormalization is the only reader of a convolution with constant weights.

    y = (conv(x) - mean) / sqrt(var + eps) * gamma + beta, computed in float64 (Ioffe, Szegedy 2015, at inference).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            conv = _foldable(node)
            if conv is None:
                continue
            gamma, beta, mean, variance = (constant_of(value).astype(np.float64) for value in node.inputs[1:5])
            with np.errstate(invalid="ignore", divide="ignore"):
                factor = gamma / np.sqrt(variance + number(node, "epsilon", 1e-5))
            if not np.isfinite(factor).all() or not np.isfinite([beta, mean]).all():
                raise QuantizeError(f"BatchNormalization {node.name!r} has broken statistics (negative or NaN)")
            scale_convolution(conv, factor, beta - mean * factor)
            modified |= bypass(node)
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if _foldable(node) is not None:
                raise ir.passes.PostconditionError(f"BatchNormalization {node.name!r} is left behind a convolution")


def _foldable(node: ir.Node) -> ir.Node | None:
    """The convolution that takes the node in."""
    if node.op_type != "BatchNormalization" or number(node, "training_mode", 0) or len(node.outputs) != 1:
        return None
    conv = maker(node.inputs[0], "Conv", "ConvTranspose")
    if conv is None or not is_constant_convolution(conv) or not read_once(node.inputs[0]):
        return None
    return conv if all(constant_of(value) is not None for value in node.inputs[1:5]) else None
