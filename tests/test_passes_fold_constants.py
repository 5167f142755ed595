# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.passes import FixShapes, FoldConstants, run_passes

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 3, 8, 8] picture) => (float[1, 3, 64] answer, int64[4] shape)
<int64[1] minus = {-1}>
{
  two = Constant <value = int64[2] {1, 3}> ()
  target = Concat <axis = 0> (two, minus)
  answer = Reshape (picture, target)
  shape = Shape (picture)
}
"""


def test_what_is_constant_is_computed() -> None:
    model = run_passes(ir.from_onnx_text(MODEL), FixShapes(8, 8), FoldConstants())
    assert [node.op_type for node in model.graph] == ["Reshape"]
    target = next(iter(model.graph)).inputs[1]
    assert target.const_value.numpy().tolist() == [1, 3, -1]
    assert model.graph.outputs[1].const_value.numpy().tolist() == [1, 3, 8, 8]


def test_random_and_quantised_constants_stay() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    test (float[2] x) => (float[2] answer)
    <int8[2] stored = {1, 2}, float scale = {0.5}>
    {
      weight = DequantizeLinear (stored, scale)
      noise = RandomNormal <shape = [2]> ()
      sum = Add (x, weight)
      answer = Add (sum, noise)
    }
    """
    model = ir.from_onnx_text(text)
    assert not FoldConstants()(model).modified
    assert np.array_equal(model.graph.initializers["stored"].const_value.numpy(), [1, 2])


def test_shapes_that_folding_makes_known() -> None:
    """A Slice whose end is computed: once it is constant, what follows has a shape, and a Shape of that folds too."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    test (float[1, 3, 4, 4] x) => (float[a, b, c, d] answer)
    <int64[1] zero = {0}, int64[1] one = {1}>
    {
      sides = Shape (x)
      channels = Gather (sides, one)
      half = Sub (channels, one)
      part = Slice (x, zero, half, one)
      again = Shape (part)
      answer = Reshape (part, again)
    }
    """
    model = run_passes(ir.from_onnx_text(text), FixShapes(4, 4), FoldConstants())
    assert [node.op_type for node in model.graph] == ["Slice", "Reshape"]
    assert tuple(model.graph[1].outputs[0].shape) == (1, 2, 4, 4)
