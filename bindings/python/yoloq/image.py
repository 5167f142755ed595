# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays as pictures of the C library, without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from yoloq._native import ffi
from yoloq.errors import InvalidArgument

Image: TypeAlias = "np.ndarray | tuple[np.ndarray, np.ndarray]"
"""uint8 [H, W] or [H, W, 1] (gray), [H, W, 3], [H, W, 4]; NV12: [H * 3 / 2, W], or a tuple of Y [H, W] and
UV [H / 2, W] or [H / 2, W / 2, 2]. Rows may lie anywhere (cropped, flipped upside down); pixels of a row are dense."""

FORMATS = {"GRAY": 1, "BGR": 2, "RGB": 3, "BGRA": 4, "RGBA": 5, "NV12": 6}
"""Names for `format`, after the order of the bytes in memory; the numbers are those of yq_format."""

COLOR_SPACES = {None: 0, "BT601": 0, "BT601_FULL": 1, "BT709": 2, "BT709_FULL": 3}
"""How NV12 becomes RGB; None is BT601, limited range."""

_BY_CHANNELS = {1: 1, 3: 2, 4: 4}  # channels -> yq_format, if the caller names none
_CHANNELS = {1: 1, 2: 3, 3: 3, 4: 4, 5: 4}  # yq_format -> channels
_UINT8 = np.dtype(np.uint8)


def _plane(array: Any, channels: int | None) -> tuple[int, int, int, int, int]:
    """A dense-rowed uint8 plane: address of its top row, row stride in bytes, width, height, channels."""
    if not isinstance(array, np.ndarray):
        raise InvalidArgument(f"a picture is a NumPy array of uint8, not {type(array).__name__}")
    if array.dtype != _UINT8:
        raise InvalidArgument(f"a picture is uint8, not {array.dtype}: scale it to 0-255 and use .astype(np.uint8)")
    shape = array.shape
    if len(shape) not in (2, 3):
        raise InvalidArgument(f"a picture has 2 or 3 dimensions (height, width, channels), not shape {shape}")
    height, width, depth = shape if len(shape) == 3 else (*shape, 1)
    if 0 in shape:
        raise InvalidArgument(f"the picture is empty: shape {shape}")
    if channels is not None and depth != channels:
        raise InvalidArgument(f"this format has {channels} channels, the picture has {depth}: shape {shape}")
    strides = array.strides
    row = width * depth
    dense = width == 1 or strides[1] == depth
    if len(shape) == 3 and depth > 1:
        dense = dense and strides[2] == 1
    if not dense or (height > 1 and abs(strides[0]) < row):
        raise InvalidArgument(
            f"the pixels of a row do not lie side by side in memory (shape {shape}, strides {strides}): "
            "pass np.ascontiguousarray(picture), or name the channel order by format instead of reversing it"
        )
    return array.__array_interface__["data"][0], (strides[0] if height > 1 else 0), width, height, depth


def _fill_nv12(struct: Any, image: Any) -> None:
    if isinstance(image, tuple):
        if len(image) != 2:
            raise InvalidArgument(f"an NV12 picture is one array or a tuple (y, uv), not a tuple of {len(image)}")
        y, uv = image
    else:
        if getattr(image, "ndim", 2) != 2:
            raise InvalidArgument(f"an NV12 picture has shape (height * 3 / 2, width), not {image.shape}")
        y = uv = image
        if isinstance(image, np.ndarray):
            rows = image.shape[0]
            if rows % 3:
                raise InvalidArgument(f"an NV12 picture has height * 3 / 2 rows, a multiple of 3, not {rows}")
            y, uv = image[: rows * 2 // 3], image[rows * 2 // 3 :]
    data, stride, width, height, _ = _plane(y, 1)
    uv_data, uv_stride, uv_width, uv_height, uv_depth = _plane(uv, 2 if getattr(uv, "ndim", 2) == 3 else 1)
    if uv_width * uv_depth != width or uv_height * 2 != height:
        raise InvalidArgument(
            f"the UV plane of an NV12 picture of {width}x{height} has shape ({height // 2}, {width}) or "
            f"({height // 2}, {width // 2}, 2), not {uv.shape}; both sides are even"
        )
    struct.format, struct.width, struct.height = 6, width, height
    struct.data, struct.stride = ffi.cast("void *", data), stride
    struct.data2, struct.stride2 = ffi.cast("void *", uv_data), uv_stride


def fill(
    struct: Any, image: Image, format: str | None, roi: Sequence[int] | None = None, color_space: str | None = None
) -> None:
    """Writes `image` into a yq_image. The struct borrows: the arrays must outlive its use."""
    if format == "NV12" or (format is None and isinstance(image, tuple)):
        _fill_nv12(struct, image)
    else:
        number = None if format is None else FORMATS.get(format)
        if format is not None and number is None:
            raise InvalidArgument(f"unknown format {format!r}: use one of {', '.join(FORMATS)}")
        data, stride, width, height, depth = _plane(image, None if number is None else _CHANNELS[number])
        if number is None:
            number = _BY_CHANNELS.get(depth)
            if number is None:
                raise InvalidArgument(f"a picture has 1, 3 or 4 channels, not {depth}: shape {image.shape}")
        struct.format, struct.width, struct.height = number, width, height
        struct.data, struct.stride = ffi.cast("void *", data), stride
        struct.data2, struct.stride2 = ffi.NULL, 0
    if color_space not in COLOR_SPACES:
        names = ", ".join(name for name in COLOR_SPACES if name)
        raise InvalidArgument(f"unknown color_space {color_space!r}: use one of {names}")
    struct.color_space = COLOR_SPACES[color_space]
    _fill_roi(struct, roi)


def _fill_roi(struct: Any, roi: Sequence[int] | None) -> None:
    if roi is None:
        struct.roi_x = struct.roi_y = struct.roi_width = struct.roi_height = 0
        return
    try:
        x, y, width, height = roi
        struct.roi_x, struct.roi_y, struct.roi_width, struct.roi_height = x, y, width, height
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"roi is four whole numbers (x, y, width, height) in pixels, not {roi!r}") from None
    if width == 0 or height == 0:  # all 0 would mean the whole picture to the C library
        raise InvalidArgument(f"roi {tuple(roi)} is empty: leave it out to look at the whole picture")
