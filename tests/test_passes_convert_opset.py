# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir
import pytest

from pass_check import kinds, same_numbers
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import CanonicalSplit, ConvertOpset, UniqueNames, run_passes

TEXT = """
<ir_version: 8, opset_import: ["" : OPSET]>
test (float[1, 4, 6, 6] x) => (float[a, b, c, d] answer)
<int64[1] axes = {1}, int64[2] halves = {2, 2}, int64[4] sides = {1, 2, 12, 3}, float[4] scales = {1.0, 1.0, 2.0, 2.0}>
{ STEPS }
"""
NEW = (
    "one, two = Split <axis = 1, num_outputs = 2> (x) h = HardSwish (one) m = Mish (two) s = Add (h, m)"
    "r = Resize <antialias = 0, mode = \"nearest\", nearest_mode = \"floor\","
    " coordinate_transformation_mode = \"asymmetric\"> (s, , scales)"
    "e = ReduceMean <keepdims = 1> (x, axes) f = ReduceMax <keepdims = 1> (x, axes) g = Mul (e, f)"
    "q = Reshape <allowzero = 0> (s, sides) p = Sigmoid (r) t = ReduceSum <keepdims = 1> (p, axes)"
    "u = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (t) answer = Mul (g, u)"
)  # fmt: skip


def text(steps: str, opset: int) -> str:
    return TEXT.replace("OPSET", str(opset)).replace("STEPS", steps)


@pytest.mark.parametrize("high", [13, 15, 17, 18])
def test_lowered(high: int) -> None:
    after = same_numbers(text(NEW, 20), CanonicalSplit(), ConvertOpset(13, high))
    assert after.graph.opset_imports[""] == high
    assert ("HardSwish" in kinds(after), "Mish" in kinds(after)) == (high >= 14, high >= 18)


@pytest.mark.parametrize("low", [14, 17, 18, 20])
def test_raised(low: int) -> None:
    steps = "e = ReduceMean <axes = [1], keepdims = 1> (x) one, two = Split <axis = 1> (x, halves)"
    after = same_numbers(text(steps + " s = Sub (one, two) answer = Mul (e, s)", 13), ConvertOpset(low, 20))
    assert after.graph.opset_imports[""] == low


def test_within_the_range_nothing_happens() -> None:
    after = same_numbers(text("answer = Relu (x)", 17), ConvertOpset(13, 17))
    assert not ConvertOpset(13, 17)(after).modified


@pytest.mark.parametrize(("steps", "reason"), [
    ("answer = Gelu (x)", r"\(Gelu\) of opset 20 does not exist in opset 17"),
    ("answer = Resize <antialias = 1, mode = \"linear\"> (x, , scales)", "has no attribute 'antialias'"),
    ("answer = AveragePool <kernel_shape = [2, 2]> (x)", "means something else"),
])  # fmt: skip
def test_what_has_no_older_form_is_named(steps: str, reason: str) -> None:
    with pytest.raises(QuantizeError, match=f"node .*{reason}"):
        run_passes(ir.from_onnx_text(text(steps, 20)), UniqueNames(), ConvertOpset(13, 17))
