# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.passes import RemoveIdentity, run_passes

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[2] x) => (float[2] answer)
{
  a = Identity (x)
  b = Relu (a)
  c = Cast <to = 1> (b)
  d = Dropout (c)
  e = Cast <to = 10> (d)
  f = Cast <to = 1> (e)
  g = Neg (f)
  answer = Identity (g)
}
"""


def test_only_what_computes_is_left() -> None:
    model = ir.from_onnx_text(MODEL)
    for node in model.graph:
        node.outputs[0].dtype = ir.DataType.FLOAT16 if node.outputs[0].name == "e" else ir.DataType.FLOAT
    model = run_passes(model, RemoveIdentity())
    assert [node.op_type for node in model.graph] == ["Relu", "Cast", "Cast", "Neg"]
    assert model.graph.outputs[0].name == "answer"
    assert model.graph.outputs[0].producer().op_type == "Neg"


def test_an_output_that_is_the_input_keeps_its_node() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> test (float[2] x) => (float[2] y) { y = Identity (x) }'
    model = run_passes(ir.from_onnx_text(text), RemoveIdentity())
    assert [node.op_type for node in model.graph] == ["Identity"]


def test_training_dropout_stays() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    test (float[2] x) => (float[2] y)
    <float ratio = {0.5}, bool training = {1}>
    { y = Dropout (x, ratio, training) }
    """
    assert not RemoveIdentity()(ir.from_onnx_text(text)).modified
