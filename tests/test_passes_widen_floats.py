# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pass_check import kinds, outputs
from yoloq_quantize.passes import RemoveIdentity, WidenFloats, run_passes
from yoloq_quantize.passes.rewrite import infer_shapes

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
test (HALF[2, 3] x) => (float[2, 3] answer)
<int64[2] sides = {2, 3}>
{
  factor = Constant <value = HALF[1] {BITS_1_5}> ()
  last = Add (product, ones)
  product = Mul (x, factor)
  wide = Cast <to = 1> (x)
  back = Cast <to = NUMBER> (wide)
  ones = ConstantOfShape <value = HALF[1] {BITS_0_25}> (sides)
  sum = Add (last, back)
  answer = Cast <to = 1> (sum)
}
"""


@pytest.mark.parametrize(
    ("half", "number", "bits"), [("float16", 10, (15872, 13312)), ("bfloat16", 16, (16320, 16000))]
)
def test_everything_becomes_float32(half: str, number: int, bits: tuple[int, int]) -> None:
    """Nodes out of order, as float16 converters leave them, are put in order too."""
    text = TEXT.replace("HALF", half).replace("NUMBER", str(number))  # half-precision numbers are given as their bits
    model = ir.from_onnx_text(text.replace("BITS_1_5", str(bits[0])).replace("BITS_0_25", str(bits[1])))
    run_passes(model, WidenFloats())
    infer_shapes(model)
    run_passes(model, RemoveIdentity())
    assert sorted(kinds(model)) == ["Add", "Add", "Constant", "ConstantOfShape", "Mul"]
    assert model.graph.inputs[0].dtype == ir.DataType.FLOAT
    x = np.random.default_rng(0).normal(0, 3, (2, 3)).astype(np.float32)
    np.testing.assert_allclose(outputs(model)[0], x * 1.5 + 0.25 + x, rtol=1e-6)


def test_weights_keep_their_values() -> None:
    model = ir.from_onnx_text("""
    <ir_version: 8, opset_import: ["" : 17]>
    test (float16[2] x) => (float16[2] answer) <float16[2] w = {11878, 49664}> { answer = Add (x, w) }
    """)
    model = run_passes(model, WidenFloats())
    kept = model.graph.initializers["w"].const_value.numpy()
    assert kept.dtype == np.float32
    assert kept.tolist() == [float(np.float16(0.1)), -3.0]
    assert not WidenFloats()(model).modified


def test_inside_a_branch() -> None:
    model = ir.from_onnx_text("""
    <ir_version: 8, opset_import: ["" : 17]>
    test (float16[2] x, bool flag) => (float16[2] answer)
    {
      answer = If (flag) <
        then_branch = one () => (float16[2] a) { a = Cast <to = 10> (x) },
        else_branch = two () => (float16[2] b) { c = Constant <value = float16[1] {16384}> () b = Mul (x, c) }
      >
    }
    """)
    model = run_passes(model, WidenFloats())
    branches = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if node.op_type == "Constant"]
    assert branches[0].attributes["value"].value.dtype == ir.DataType.FLOAT
