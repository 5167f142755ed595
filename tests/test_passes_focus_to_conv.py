# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir
import pytest

from pass_check import kinds, noise, same_numbers, with_weights
from yoloq_quantize.passes import FocusToConv

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 3, 12, 8] x, float[5, 12, 3, 3] w, float[5] b) => (float[1, 5, h, v] answer)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] end = {9223372036854775807}, int64[1] rows = {2},
 int64[1] columns = {-1}, int64[1] two = {2}>
{
  top = Slice (x, zero, end, rows, two)
  bottom = Slice (x, one, end, rows, two)
  a = Slice (top, zero, end, columns, two)
  b0 = Slice (bottom, zero, end, columns, two)
  c = Slice (top, one, end, columns, two)
  d = Slice (bottom, one, end, columns, two)
  stacked = Concat <axis = 1> (ORDER)
  answer = Conv <pads = [1, 1, 1, 1], strides = [STRIDE, STRIDE]> (stacked, w, b)
}
"""


def model(order: str = "a, b0, c, d", stride: int = 1, text: str = TEXT) -> ir.Model:
    text = text.replace("ORDER", order).replace("STRIDE", str(stride))
    return with_weights(text, w=noise(5, 12, 3, 3), b=noise(5))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("order", ["a, b0, c, d", "a, c, b0, d", "d, c, b0, a"])
def test_phases_in_any_order(order: str, stride: int) -> None:
    after = same_numbers(model(order, stride), FocusToConv())
    assert kinds(after) == ["Conv"]
    assert after.graph[0].attributes["strides"].as_ints() == (2 * stride, 2 * stride)


def test_one_slice_for_both_directions() -> None:
    """As opset converters and simplifiers write it."""
    text = TEXT.replace("int64[1] two = {2}", "int64[1] two = {2}, int64[2] both = {2, 3}, int64[2] twos = {2, 2},"
        " int64[2] s00 = {0, 0}, int64[2] s10 = {1, 0}, int64[2] s01 = {0, 1}, int64[2] s11 = {1, 1},"
        " int64[2] ends = {12, 8}")  # fmt: skip
    for name, start in (("a", "s00"), ("b0", "s10"), ("c", "s01"), ("d", "s11")):
        half = "top" if name in "ac" else "bottom"
        column = "zero" if name in ("a", "b0") else "one"
        text = text.replace(
            f"{name} = Slice ({half}, {column}, end, columns, two)", f"{name} = Slice (x, {start}, ends, both, twos)"
        )
    assert kinds(same_numbers(model(text=text), FocusToConv())) == ["Conv"]


def test_a_phase_twice_stays() -> None:
    after = same_numbers(model("a, a, c, d"), FocusToConv())
    assert "Concat" in kinds(after)


def test_a_stack_that_others_read_stays() -> None:
    text = TEXT.replace("(float[1, 5, h, v] answer)", "(float[1, 5, h, v] answer, float[1, 12, p, q] other)").replace(
        "  answer =", "  other = Relu (stacked)\n  answer ="
    )
    assert "Concat" in kinds(same_numbers(model(text=text), FocusToConv()))
