# SPDX-License-Identifier: Apache-2.0
"""The check of the caller's picture: every field, its status and its one line."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from letterbox_native import BGR24, BGRA32, EINVAL, GRAY8, NV12, OK, RGB24, RGBA32, Image, Library

WIDTH, HEIGHT = 10, 6
PIXELS = np.zeros(8 * WIDTH * HEIGHT, np.uint8)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@pytest.fixture(scope="module")
def library(testing_library: str) -> Library:
    return Library(testing_library)


def image(format: int = BGR24, **fields: Any) -> Image:
    """A good picture, with some fields replaced."""
    picture = Image(ctypes.sizeof(Image), format, WIDTH, HEIGHT, PIXELS.ctypes.data)
    if format == NV12:
        picture.data2 = PIXELS.ctypes.data
    for name, value in fields.items():
        setattr(picture, name, value)
    return picture


def test_layout() -> None:
    assert ctypes.sizeof(Image) == 72 and Image.reserved.offset == 68


@pytest.mark.parametrize(
    ("format", "packed"), [(GRAY8, 10), (BGR24, 30), (RGB24, 30), (BGRA32, 40), (RGBA32, 40), (NV12, 10)]
)
def test_defaults_are_resolved(library: Library, format: int, packed: int) -> None:
    status, roi, strides = library.check(image(format))
    assert status == OK
    assert roi == [0, 0, WIDTH, HEIGHT]
    assert strides == [packed, 10 if format == NV12 else 0]


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 72 + 64},  # a newer header
        {"stride": 30},
        {"stride": 4096},
        {"stride": -30},
        {"stride": -31},
        {"height": 1, "stride": 2**40},
        {"roi_x": 9, "roi_y": 5, "roi_width": 1, "roi_height": 1},
        {"roi_width": WIDTH, "roi_height": HEIGHT},
        {"width": 1, "height": 1},
        {"width": 16384, "height": 16384},
    ],
)
def test_good(library: Library, fields: dict[str, int]) -> None:
    status, roi, strides = library.check(image(**fields))
    assert status == OK, library.error()
    if "stride" in fields:
        assert strides[0] == fields["stride"]
    if "roi_width" in fields:
        assert roi == [fields.get(name, 0) for name in ("roi_x", "roi_y", "roi_width", "roi_height")]


@pytest.mark.parametrize(
    "fields", [{"stride2": -10}, {"stride2": 64}, {"color_space": 3}, {"stride": -10, "stride2": 10}]
)
def test_good_nv12(library: Library, fields: dict[str, int]) -> None:
    assert library.check(image(NV12, **fields))[0] == OK, library.error()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size": 0}, "image.size is 0: fill the yq_image by yq_image_init"),
        ({"size": 71}, "image.size is 71"),
        ({"size": 0xCDCDCDCD}, "image.size is 3452816845"),
        ({"format": 0}, "image.format is 0: use a yq_format, 1 (GRAY8) to 6 (NV12)"),
        ({"format": 7}, "image.format is 7"),
        ({"format": -1}, "image.format is -1"),
        ({"width": 0}, "image is 0 x 6 pixels: each side must be 1 to 16384"),
        ({"width": -1}, "image is -1 x 6"),
        ({"width": 16385}, "image is 16385 x 6"),
        ({"height": 0}, "image is 10 x 0"),
        ({"height": -6}, "image is 10 x -6"),
        ({"height": 2**31 - 1}, "image is 10 x 2147483647"),
        ({"data": None}, "image.data is NULL: point it at"),
        ({"stride": 29}, "image.stride is 29, but a row has 30 bytes"),
        ({"stride": 1}, "image.stride is 1, but"),
        ({"stride": -29}, "image.stride is -29, but"),
        ({"stride": INT64_MAX}, "leave the address space"),
        ({"stride": INT64_MIN}, "leave the address space"),
        ({"stride": INT64_MIN, "height": 1}, "leave the address space"),
        ({"stride": 2**62}, "leave the address space"),
        ({"stride": -(2**62)}, "leave the address space"),
        ({"data": 2**64 - 20}, "leave the address space"),
        ({"data": 2**64 - 100}, "leave the address space"),
        ({"data": 100, "stride": -30}, "leave the address space"),
        ({"data2": PIXELS.ctypes.data}, "only NV12 has a second plane"),
        ({"stride2": 10}, "only NV12 has a second plane"),
        ({"roi_x": 1}, "image ROI is 0 x 0 pixels at (1, 0): set roi_width and roi_height"),
        ({"roi_width": 5}, "image ROI is 5 x 0 pixels"),
        ({"roi_height": 5}, "image ROI is 0 x 5 pixels"),
        ({"roi_width": -5, "roi_height": 3}, "image ROI is -5 x 3"),
        ({"roi_x": -1, "roi_width": 5, "roi_height": 3}, "(-1, 0), outside the picture of 10 x 6: clip it"),
        ({"roi_y": -1, "roi_width": 5, "roi_height": 3}, "(0, -1), outside"),
        ({"roi_x": 6, "roi_width": 5, "roi_height": 3}, "image ROI is 5 x 3 pixels at (6, 0), outside"),
        ({"roi_y": 4, "roi_width": 5, "roi_height": 3}, "(0, 4), outside"),
        ({"roi_x": 2**31 - 1, "roi_width": 2**31 - 1, "roi_height": 1}, "outside"),
        ({"color_space": 1}, "image.color_space is 1, but only NV12 has one"),
        ({"color_space": 4}, "image.color_space is 4: use a yq_color_space, 0 to 3"),
        ({"color_space": -1}, "image.color_space is -1"),
        ({"reserved": 1}, "image.reserved is 1: it must be 0"),
    ],
)
def test_bad(library: Library, fields: dict[str, int], reason: str) -> None:
    refuse(library, image(**fields), reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"width": 9}, "image is NV12 of 9 x 6 pixels: NV12 needs even sides"),
        ({"height": 5}, "image is NV12 of 10 x 5"),
        ({"data": None}, "image.data is NULL"),
        ({"data2": None}, "image.data2 is NULL"),
        ({"stride": 9}, "image.stride is 9, but a row has 10 bytes"),
        ({"stride2": 9}, "image.stride2 is 9, but a row has 10 bytes"),
        ({"stride2": -5}, "image.stride2 is -5"),
        ({"stride2": INT64_MIN}, "such rows at image.data2 leave the address space"),
        ({"color_space": 4}, "image.color_space is 4"),
    ],
)
def test_bad_nv12(library: Library, fields: dict[str, int], reason: str) -> None:
    refuse(library, image(NV12, **fields), reason)


def test_null(library: Library) -> None:
    refuse(library, None, "image is NULL: pass a yq_image")


def refuse(library: Library, picture: Image | None, reason: str) -> None:
    status, roi, strides = library.check(picture)
    assert status == EINVAL
    assert reason in library.error()
    assert "\n" not in library.error() and len(library.error()) < 250
    assert roi == [0, 0, 0, 0] and strides == [0, 0]  # nothing is written on failure
