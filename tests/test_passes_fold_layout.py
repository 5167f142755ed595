# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pass_check import kinds, noise, outputs, same_numbers, with_weights
from yoloq_quantize.passes import FoldLayout, canonical_passes, run_passes

HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 6, 4, 5] x) => (float[a, b, c, d] answer)
<int64[3] flat = {1, 6, -1}, int64[4] back = {1, 6, 4, 5}, int64[4] zeros = {0, 0, 2, 10}, int64[1] first = {0},
 int64[4] other = {1, 3, 8, 5}>
"""


@pytest.mark.parametrize(("steps", "left"), [
    ("a = Transpose <perm = [0, 2, 3, 1]> (x) b = Relu (x) c = Transpose <perm = [0, 3, 1, 2]> (a) answer = Add (c, b)",
     ["Relu", "Add"]),
    ("a = Transpose <perm = [0, 2, 3, 1]> (x) answer = Transpose <perm = [0, 2, 3, 1]> (a)", ["Transpose"]),
    ("a = Transpose (x) b = Transpose (a) answer = Relu (b)", ["Relu"]),
    ("a = Reshape (x, flat) b = Reshape (a, back) answer = Relu (b)", ["Relu"]),
    ("a = Reshape (x, flat) b = Reshape (a, other) answer = Relu (b)", ["Reshape", "Relu"]),
    ("a = Flatten <axis = 2> (x) b = Reshape (a, zeros_) answer = Relu (b)", ["Reshape", "Relu"]),
    ("a = Squeeze (x, first) b = Unsqueeze (a, first) answer = Relu (b)", ["Relu"]),
    ("a = Reshape (x, zeros) answer = Relu (a)", ["Reshape", "Relu"]),
])  # fmt: skip
def test_chains(steps: str, left: list[str]) -> None:
    steps = steps.replace("zeros_", "other")
    after = same_numbers(HEAD + "{" + steps + "}", FoldLayout())
    assert kinds(after) == left
    assert not FoldLayout()(after).modified


def test_a_step_that_others_read_stays() -> None:
    head = HEAD.replace("answer)", "answer, float[p, q, r] flatter)")
    steps = "flatter = Reshape (x, flat) b = Reshape (flatter, back) answer = Relu (b)"
    assert kinds(same_numbers(head + "{" + steps + "}", FoldLayout())) == ["Reshape", "Relu"]


ATTENTION = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 3, 8, 8] x, float[24, 3, 1, 1] w, float[8, 1, 3, 3] p, float[5, 8, 1, 1] o) => (float[1, 5, h, v] answer)
<int64[4] heads = {1, 2, 12, 64}, int64[4] map = {1, 8, 8, 8}, int64[3] parts = {4, 4, 4}, float scale = {0.5}>
{
  qkv = Conv (x, w)
  apart = Reshape (qkv, heads)
  q, k, v = Split <axis = 2> (apart, parts)
  qt = Transpose <perm = [0, 1, 3, 2]> (q)
  product = MatMul (qt, k)
  scaled = Mul (product, scale)
  weights = Softmax <axis = -1> (scaled)
  wt = Transpose <perm = [0, 1, 3, 2]> (weights)
  sum = MatMul (v, wt)
  joined = Reshape (sum, map)
  values = Reshape (v, map)
  place = Conv <group = 8, pads = [1, 1, 1, 1]> (values, p)
  both = Add (joined, place)
  answer = Conv (both, o)
}
"""


def test_attention_survives_every_pass() -> None:
    """YOLO11, 12 and 26: nothing in it is touched, nor are the numbers."""
    model = with_weights(ATTENTION, w=noise(24, 3, 1, 1), p=noise(8, 1, 3, 3), o=noise(5, 8, 1, 1))
    before, numbers = kinds(model), outputs(model)
    after = run_passes(model, *canonical_passes(8, 8))
    assert kinds(after) == before
    np.testing.assert_array_equal(numbers[0], outputs(after)[0])
