# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir
import pytest

from pass_check import same_numbers
from yoloq_quantize.passes import CanonicalResize

TEXT = """
<ir_version: 8, opset_import: ["" : 13]>
test (float[1, 2, 5, 3] x) => (float[1, 2, h, w] answer)
<float[4] scales = {1.0, 1.0, 2.0, 3.0}, int64[4] sizes = {1, 2, 10, 9}, float[8] roi = {0, 0, 0, 0, 1, 1, 1, 1},
 int64[4] odd = {1, 2, 8, 4}>
{
  answer = Resize <ATTRIBUTES> (INPUTS)
}
"""
PLAIN = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'


def resized(attributes: str, inputs: str) -> tuple[ir.Node, bool]:
    text = TEXT.replace("ATTRIBUTES", attributes).replace("INPUTS", inputs)
    after = same_numbers(text, CanonicalResize())
    again = CanonicalResize()(after).modified
    return after.graph[0], again


@pytest.mark.parametrize("inputs", ["x, , scales", "x, roi, scales", "x, , , sizes"])
@pytest.mark.parametrize("attributes", [
    PLAIN,
    PLAIN + ", cubic_coeff_a = -0.75",
    'mode = "nearest", coordinate_transformation_mode = "half_pixel", nearest_mode = "round_prefer_floor"',
    'mode = "nearest", coordinate_transformation_mode = "half_pixel", nearest_mode = "round_prefer_ceil"',
    'mode = "nearest", coordinate_transformation_mode = "pytorch_half_pixel"',
])  # fmt: skip
def test_nearest(attributes: str, inputs: str) -> None:
    node, again = resized(attributes, inputs)
    assert {name: each.as_string() for name, each in node.attributes.items()} == {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    assert node.inputs[1] is None
    assert node.inputs[2].const_value.numpy().tolist() == [1, 1, 2, 3]
    assert len(node.inputs) == 3
    assert not again


def test_linear_keeps_its_coordinates() -> None:
    node, _ = resized('mode = "linear", coordinate_transformation_mode = "half_pixel"', "x, , , sizes")
    assert node.attributes["coordinate_transformation_mode"].as_string() == "half_pixel"
    assert node.inputs[2].const_value.numpy().tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize(("attributes", "inputs"), [
    ('mode = "nearest", coordinate_transformation_mode = "align_corners"', "x, , , sizes"),
    ('mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "ceil"', "x, , , sizes"),
    ('mode = "nearest", coordinate_transformation_mode = "half_pixel", nearest_mode = "floor"', "x, , , sizes"),
    (PLAIN, "x, , , odd"),
])  # fmt: skip
def test_other_forms_stay(attributes: str, inputs: str) -> None:
    node, _ = resized(attributes, inputs)
    assert len(node.inputs) == 4
