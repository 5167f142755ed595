# SPDX-License-Identifier: Apache-2.0
"""AIPP's configurations, as the toolchain writes them, run by a reader of the vendor's format; colours as OpenCV has
them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ascend.aipp import Aipp, AippError
from yoloq_quantize.compile.ascend_aipp import FULL, LIMITED, aipp
from yoloq_quantize.errors import QuantizeError


def pixels(height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, channels), dtype=np.uint8)


def test_bytes_arrive_as_they_are() -> None:
    given = pixels()
    found = Aipp.parse(aipp(8, 6, 1.0)).run(given)
    np.testing.assert_array_equal(found, given.transpose(0, 3, 1, 2).astype(np.float32))


def test_a_256th_is_exact_in_fp16_and_a_255th_is_not() -> None:
    given = pixels()
    wanted = given.transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_array_equal(Aipp.parse(aipp(8, 6, 1 / 256)).run(given), wanted / 256)
    assert (Aipp.parse(aipp(8, 6, 1 / 255)).run(given) != wanted / 255).any()


@pytest.mark.parametrize("model", ["RGB", "BGR"])
def test_channels_are_swapped_where_picture_and_model_differ(model: str) -> None:
    given = pixels()
    found = Aipp.parse(aipp(8, 6, 1.0, "BGR", model)).run(given)
    wanted = given[..., ::-1] if model == "RGB" else given
    np.testing.assert_array_equal(found, wanted.transpose(0, 3, 1, 2))


def test_grey_is_one_channel() -> None:
    given = pixels(channels=1)
    np.testing.assert_array_equal(Aipp.parse(aipp(8, 6, 1.0, "GRAY8")).run(given)[:, 0], given[..., 0])


@pytest.mark.parametrize("model", ["RGB", "BGR"])
def test_nv12_has_the_colours_that_opencv_gives_it(model: str) -> None:
    """Of smooth pictures, as OpenCV and AIPP both repeat colours, and round by themselves."""
    rng = np.random.default_rng(1)
    small = rng.integers(40, 220, (4, 4, 3), dtype=np.uint8)
    rgb = cv2.resize(small, (32, 16), interpolation=cv2.INTER_CUBIC)
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, u, v = planes[:512], planes[512:640], planes[640:768]
    nv12 = np.concatenate([luma, np.stack([u, v], axis=1).reshape(-1)]).reshape(24, 32)
    code = cv2.COLOR_YUV2RGB_NV12 if model == "RGB" else cv2.COLOR_YUV2BGR_NV12
    wanted = cv2.cvtColor(nv12, code).transpose(2, 0, 1)
    found = Aipp.parse(aipp(32, 16, 1.0, "NV12", model)).run(nv12.reshape(1, 24, 32, 1))[0]
    assert np.abs(found - wanted).max() <= 2
    full = Aipp.parse(aipp(32, 16, 1.0, "NV12", model, full_range=True)).run(nv12.reshape(1, 24, 32, 1))[0]
    assert np.abs(full - wanted).max() > 10, "the range matters"


def test_white_and_black_are_white_and_black() -> None:
    for full, (black, white) in ((False, (16, 235)), (True, (0, 255))):
        parsed = Aipp.parse(aipp(4, 2, 1.0, "NV12", full_range=full))
        for luma, wanted in ((black, 0), (white, 255)):
            nv12 = np.full((1, 3, 4, 1), luma, np.uint8)
            nv12[:, 2:] = 128
            np.testing.assert_allclose(parsed.run(nv12), wanted, atol=1)


def test_the_matrices_are_bt601() -> None:
    """1.164, 1.596, 0.392, 0.813, 2.017 of studio range; 1.402, 0.344, 0.714, 1.772 of full range; in 1/256."""
    for (matrix, bias), wanted in (
        (LIMITED, [[1.164, 0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0]]),
        (FULL, [[1, 0, 1.402], [1, -0.344, -0.714], [1, 1.772, 0]]),
    ):
        np.testing.assert_allclose(np.array(matrix) / 256, wanted, atol=0.003)
        assert bias[1:] == (128, 128)


def test_what_aipp_cannot_take_is_refused() -> None:
    with pytest.raises(QuantizeError, match="takes no 'RGBA'"):
        aipp(8, 6, 1.0, "RGBA")
    with pytest.raises(QuantizeError, match="even sides, not 7x6"):
        aipp(7, 6, 1.0, "NV12")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("aipp_mode : static", "aipp_mode : dynamic", "not static"),
        ("RGB888_U8", "RGB", "input_format RGB is unknown"),
        ("crop : false", "crop : no", "neither true nor false"),
        ("crop : false", "crop : false crop : false", "twice"),
        ("mean_chn_0 : 0", "mean_chn_0 : 0.5", "no whole number"),
        ("mean_chn_0 : 0", "mean_chn_9 : 0", "no field"),
        ("var_reci_chn_0 : 1.0", "var_reci_chn_0 : 1e9", "no FP16"),
        ("aipp_op {", "aipp {", "not one aipp_op"),
        ("csc_switch", "csc switch", "no `name : value`"),
    ],
)
def test_the_reader_is_strict(old: str, new: str, reason: str) -> None:
    text = aipp(8, 6, 1.0)
    assert old in text
    with pytest.raises(AippError, match=reason):
        Aipp.parse(text.replace(old, new, 1))
