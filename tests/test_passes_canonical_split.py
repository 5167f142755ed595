# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pass_check import kinds, same_numbers
from yoloq_quantize.passes import CanonicalSplit

HEAD = """
<ir_version: 8, opset_import: ["" : OPSET]>
test (float[1, 7, 4, 4] x) => (float[1, c, 4, 4] answer)
<int64[1] zero = {0}, int64[1] three = {3}, int64[1] five = {5}, int64[1] end = {9223372036854775807},
 int64[1] axis = {1}, int64[1] minus = {-3}, int64[1] one = {1}, int64[1] two = {2}, int64[1] last = {-2}>
"""


def text(steps: str, opset: int = 17) -> str:
    return HEAD.replace("OPSET", str(opset)) + "{" + steps + "}"


def test_slices_that_are_a_split() -> None:
    after = same_numbers(
        text(
            "a = Slice (x, five, end, minus) b = Slice (x, zero, three, axis, one)"
            "c = Slice (x, three, last, axis, one) d = Relu (b) answer = Concat <axis = 1> (a, d, c)"
        ),
        CanonicalSplit(),
    )
    assert kinds(after) == ["Split", "Relu", "Concat"]
    assert after.graph[0].inputs[1].const_value.numpy().tolist() == [3, 2, 2]


def test_the_same_slice_twice() -> None:
    steps = "a = Slice (x, zero, three, axis) b = Slice (x, three, end, axis) c = Slice (x, zero, three, axis)"
    after = same_numbers(text(steps + " answer = Concat <axis = 1> (c, b, a)"), CanonicalSplit())
    assert kinds(after) == ["Split", "Concat"]


def test_gaps_steps_and_overlaps_stay() -> None:
    for steps in (
        "a = Slice (x, zero, three, axis) b = Slice (x, five, end, axis)",
        "a = Slice (x, zero, five, axis) b = Slice (x, three, end, axis)",
        "a = Slice (x, zero, three, axis, two) b = Slice (x, three, end, axis, one)",
    ):
        after = same_numbers(text(steps + " answer = Concat <axis = 1> (a, b)"), CanonicalSplit())
        assert kinds(after) == ["Slice", "Slice", "Concat"]


def test_sizes_are_given() -> None:
    for opset, attribute in ((13, ""), (18, "num_outputs = 3, ")):
        steps = f"u = Slice (x, one, end, axis) a, b, c = Split <{attribute}axis = 1> (u)"
        after = same_numbers(text(steps + " answer = Concat <axis = 1> (c, a, b)", opset), CanonicalSplit())
        split = after.graph[1]
        assert split.inputs[1].const_value.numpy().tolist() == [2, 2, 2]
        assert "num_outputs" not in split.attributes
        assert not CanonicalSplit()(after).modified
