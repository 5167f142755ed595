# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pass_check import kinds, noise, same_numbers, with_weights
from yoloq_quantize.passes import FoldAffine

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 3, 8, 8] x, float[5, 3, 2, 2] w, float[1, 5, 1, 1] c) => (float[1, 5, h, v] answer)
{
  y = Conv <strides = [2, 2]> (x, w)
  answer = STEP
}
"""


def model(step: str, constant: np.ndarray | None = None) -> ir.Model:
    constant = 1.5 + np.abs(noise(1, 5, 1, 1)) if constant is None else constant
    sides = ", ".join(map(str, constant.shape))
    text = TEXT.replace("STEP", step).replace("float[1, 5, 1, 1] c", f"float[{sides}] c")
    return with_weights(text, w=noise(5, 3, 2, 2), c=constant)


STEPS = ("Mul (y, c)", "Mul (c, y)", "Add (y, c)", "Add (c, y)", "Sub (y, c)", "Sub (c, y)", "Div (y, c)")


@pytest.mark.parametrize("step", STEPS)
def test_per_channel(step: str) -> None:
    assert kinds(same_numbers(model(step), FoldAffine())) == ["Conv"]


def test_one_number_for_all() -> None:
    assert kinds(same_numbers(model("Mul (y, c)", np.array([0.3], np.float32)), FoldAffine())) == ["Conv"]


def test_a_chain() -> None:
    text = TEXT.replace("answer = STEP", "z = Mul (y, c)\n  answer = Add (c, z)")
    built = with_weights(text, w=noise(5, 3, 2, 2), c=noise(1, 5, 1, 1))
    assert kinds(same_numbers(built, FoldAffine())) == ["Conv"]


def test_what_a_convolution_cannot_do_stays() -> None:
    """A constant per pixel, a constant that widens the map, a division of the constant."""
    assert kinds(same_numbers(model("Add (y, c)", noise(1, 1, 4, 4)), FoldAffine())) == ["Conv", "Add"]
    assert kinds(same_numbers(model("Add (y, c)", noise(2, 5, 1, 1)), FoldAffine())) == ["Conv", "Add"]
    assert kinds(same_numbers(model("Div (c, y)"), FoldAffine(), tolerance=1e-3)) == ["Conv", "Div"]


def test_a_decoders_stride_stays() -> None:
    """The map has 4 rows for 8 pixels: times 2 turns cells into pixels."""
    assert kinds(same_numbers(model("Mul (y, c)", np.array([2], np.float32)), FoldAffine())) == ["Conv", "Mul"]
