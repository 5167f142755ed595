# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pass_check import kinds, noise, same_numbers, with_weights
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import FoldBatchNorm, run_passes

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 4, 6, 6] x, float[6, 2, 3, 3] w, float[6] b, float[6] g, float[6] s, float[6] m, float[6] v)
  => (float[1, 6, h, w] answer)
{
  y = Conv <group = 2, pads = [1, 1, 1, 1]> (x, w, b)
  answer = BatchNormalization <epsilon = 0.001> (y, g, s, m, v)
}
"""


def model(text: str = TEXT, **changed: np.ndarray) -> ir.Model:
    arrays = {
        "w": noise(6, 2, 3, 3),
        "b": noise(6),
        "g": noise(6, seed=2),
        "s": noise(6, seed=3),
        "m": noise(6, seed=4),
    }
    arrays |= {"v": np.abs(noise(6, seed=5))} | changed
    return with_weights(text, **{name: array for name, array in arrays.items() if array is not None})


def test_behind_a_grouped_convolution() -> None:
    assert kinds(same_numbers(model(), FoldBatchNorm())) == ["Conv"]


def test_without_a_bias() -> None:
    text = TEXT.replace(" float[6] b,", "").replace("(x, w, b)", "(x, w)")
    assert kinds(same_numbers(model(text, b=None), FoldBatchNorm())) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_behind_a_transposed_convolution(group: int) -> None:
    text = TEXT.replace("Conv <group = 2, pads = [1, 1, 1, 1]>", f"ConvTranspose <group = {group}, strides = [2, 2]>")
    shape = (4, 6 // group, 3, 3)
    text = text.replace("float[6, 2, 3, 3]", f"float[{', '.join(map(str, shape))}]")
    assert kinds(same_numbers(model(text, w=noise(*shape)), FoldBatchNorm())) == ["ConvTranspose"]


def test_a_convolution_that_others_read_stays() -> None:
    text = TEXT.replace("(float[1, 6, h, w] answer)", "(float[1, 6, h, w] answer, float[1, 6, h, w] y)")
    assert kinds(same_numbers(model(text), FoldBatchNorm())) == ["Conv", "BatchNormalization"]


def test_shared_weights_stay_with_the_other_reader() -> None:
    text = TEXT.replace("  answer =", "  z = Conv <group = 2, pads = [1, 1, 1, 1]> (x, w, b)\n  n =").replace(
        "(y, g, s, m, v)", "(y, g, s, m, v)\n  answer = Add (n, z)"
    )
    assert kinds(same_numbers(model(text), FoldBatchNorm())) == ["Conv", "Conv", "Add"]


def test_broken_statistics_are_refused() -> None:
    with pytest.raises(QuantizeError, match="broken statistics"):
        run_passes(model(v=np.full(6, -1, np.float32)), FoldBatchNorm())
