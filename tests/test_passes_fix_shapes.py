# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir
import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import FixShapes, run_passes

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[n, 3, h, w] picture) => (float[n, 3, a, b] answer)
<float[1] scale = {2.0}>
{
  half = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (picture)
  answer = Mul (half, scale)
}
"""


def test_shapes_follow_from_the_input() -> None:
    model = run_passes(ir.from_onnx_text(MODEL), FixShapes(64, 32))
    assert tuple(model.graph.inputs[0].shape) == (1, 3, 64, 32)
    assert tuple(model.graph.outputs[0].shape) == (1, 3, 32, 16)


def test_a_fixed_input_is_not_bent() -> None:
    model = ir.from_onnx_text(MODEL.replace("[n, 3, h, w]", "[4, 3, 64, 64]"))
    with pytest.raises(QuantizeError, match="'picture' is fixed"):
        run_passes(model, FixShapes(64, 64))
