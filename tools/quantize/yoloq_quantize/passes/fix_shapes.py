# SPDX-License-Identifier: Apache-2.0
"""Pass: the input gets one picture of a fixed size, and every shape that follows is inferred."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.rewrite import infer_shapes


class FixShapes(ir.passes.InPlacePass):
    """Requires: one input [n, 3, h, w]. Ensures: it is [1, 3, height, width], shapes are inferred from it."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (1, 3, height, width)

    def requires(self, model: ir.Model) -> None:
        value = model.graph.inputs[0]
        for have, want in zip(value.shape, self.shape, strict=True):
            if isinstance(have, int) and have != want:
                raise QuantizeError(
                    f"input {value.name!r} is fixed to {value.shape}, not {list(self.shape)}; export the model anew"
                )

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        model.graph.inputs[0].shape = ir.Shape(self.shape)
        infer_shapes(model)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        if tuple(model.graph.inputs[0].shape) != self.shape:
            raise ir.passes.PostconditionError("the input's shape is not fixed")
