# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir
import pytest

from pass_check import kinds, same_numbers
from yoloq_quantize.passes import RemoveDead, RemoveIdentity, run_passes

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


HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] answer)
<float one = {1.0}, float zero = {0.0}, float[2, 1, 1, 1] ones = {1.0, 1.0}, int64[8] none = {0, 0, 0, 0, 0, 0, 0, 0},
 int64[4] sides = {1, 3, 4, 4}, float[1, 1, 1, 1, 1] wide = {1.0}>
"""


@pytest.mark.parametrize(("steps", "left"), [
    ("y = Mul (one, x) z = Add (y, zero) answer = Relu (z)", ["Relu"]),
    ("y = Pad (x, none) z = Concat <axis = 1> (y) u = Expand (z, sides) answer = Relu (u)", ["Relu"]),
    ("y = Relu (x) answer = Mul (one, y)", ["Relu"]),
    ("answer = Mul (one, x)", ["Mul"]),
    ("y = Mul (x, zero) z = Add (x, one) u = Add (y, z) answer = Relu (u)", ["Mul", "Add", "Add", "Relu"]),
    ("y = Cast <to = 11> (x) z = Cast <to = 6> (y) answer = Cast <to = 1> (z)", ["Cast", "Cast"]),
    ("y = Cast <to = 6> (x) z = Cast <to = 7> (y) answer = Cast <to = 1> (z)", ["Cast", "Cast"]),
])  # fmt: skip
def test_chains_that_change_nothing(steps: str, left: list[str]) -> None:
    after = same_numbers(HEAD + "{" + steps + "}", RemoveIdentity(), RemoveDead())
    assert kinds(after) == left


def test_a_neutral_constant_that_widens_stays() -> None:
    text = HEAD.replace("=> (float[1, 3", "=> (float[1, 1, 3") + "{ answer = Mul (x, wide) }"
    assert kinds(same_numbers(text, RemoveIdentity())) == ["Mul"]
