# SPDX-License-Identifier: Apache-2.0
"""Pass: the float picture input becomes the bytes that the letterbox writes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

NAME = "images_u8"


class Uint8Input(ir.passes.InPlacePass):
    """Requires: one float input [1, 3, h, w].

    Ensures: one uint8 input `images_u8` [1, h, w, 3], then DequantizeLinear with `scale` and zero point 0, then
    Transpose: normalisation is the first quantisation scale, so a quantised first convolution reads the bytes as they
    are. The order matters to OpenVINO: with the Transpose first, the first convolution runs in float32.
    """

    def __init__(self, scale: float = 1 / 255) -> None:
        self.scale = scale

    def requires(self, model: ir.Model) -> None:
        value = model.graph.inputs[0]
        if len(model.graph.inputs) != 1 or value.dtype != ir.DataType.FLOAT or value.shape is None:
            raise ir.passes.PreconditionError("one float input of known shape is needed")
        if not all(isinstance(side, int) for side in value.shape) or value.shape[1] != 3:
            raise ir.passes.PreconditionError(f"the input's shape {value.shape} is not [1, 3, height, width]")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        old = graph.inputs[0]
        batch, channels, height, width = old.shape
        pixels = ir.val(NAME, ir.DataType.UINT8, (batch, height, width, channels))
        scale = _constant(graph, NAME + "/scale", np.array(self.scale, np.float32))
        zero = _constant(graph, NAME + "/zero_point", np.array(0, np.uint8))
        dequantize = ir.node(
            "DequantizeLinear",
            [pixels, scale, zero],
            name=NAME + "/DequantizeLinear",
            outputs=[ir.val(NAME + "/real", ir.DataType.FLOAT, (batch, height, width, channels))],
        )
        transpose = ir.node(
            "Transpose",
            [dequantize.outputs[0]],
            {"perm": [0, 3, 1, 2]},
            name=NAME + "/Transpose",
            outputs=[ir.val(NAME + "/nchw", ir.DataType.FLOAT, old.shape)],
        )
        old.replace_all_uses_with(transpose.outputs[0])
        graph.inputs[0] = pixels
        first = next(iter(graph))
        graph.insert_before(first, [dequantize, transpose])
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        if model.graph.inputs[0].dtype != ir.DataType.UINT8:
            raise ir.passes.PostconditionError("the input is not uint8")


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
