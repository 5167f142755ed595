# SPDX-License-Identifier: Apache-2.0
"""The letterbox and the image check of the testing library, through ctypes. For tests and benchmarks."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

GRAY8, BGR24, RGB24, BGRA32, RGBA32, NV12 = 1, 2, 3, 4, 5, 6
FORMAT_NAMES = {GRAY8: "GRAY8", BGR24: "BGR24", RGB24: "RGB24", BGRA32: "BGRA32", RGBA32: "RGBA32", NV12: "NV12"}
CHANNELS = {GRAY8: 1, BGR24: 3, RGB24: 3, BGRA32: 4, RGBA32: 4, NV12: 1}
BT601_LIMITED, BT601_FULL, BT709_LIMITED, BT709_FULL = 0, 1, 2, 3
OK, EINVAL = 0, 1


class Image(ctypes.Structure):
    """yq_image."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("format", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("data", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("data2", ctypes.c_void_p),
        ("stride2", ctypes.c_int64),
        ("roi_x", ctypes.c_int32),
        ("roi_y", ctypes.c_int32),
        ("roi_width", ctypes.c_int32),
        ("roi_height", ctypes.c_int32),
        ("color_space", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    ]


class Box(ctypes.Structure):
    """Where the picture lies in the model's input: input pixels; scales in source pixels per input pixel."""

    _fields_ = [
        ("left", ctypes.c_int32),
        ("top", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("scale_x", ctypes.c_float),
        ("scale_y", ctypes.c_float),
    ]


@dataclass(frozen=True)
class Rule:
    """A letterbox rule: the model's input size in pixels, and how the picture is put into it."""

    width: int
    height: int
    bgr: bool = False
    center: bool = True
    upscale: bool = True
    pad: int = 114


def image_of(format: int, plane: np.ndarray, plane2: np.ndarray | None = None, **fields: Any) -> Image:
    """A yq_image over uint8 arrays of any row stride: `plane` [height, width(, channels)], NV12's `plane2`
    [height / 2, width]. The image keeps them alive. `fields` replace what the arrays say."""
    image = Image(ctypes.sizeof(Image), format, plane.shape[1], plane.shape[0])
    image.data, image.stride = plane.ctypes.data, plane.strides[0]
    if plane2 is not None:
        image.data2, image.stride2 = plane2.ctypes.data, plane2.strides[0]
    image.arrays = (plane, plane2)
    for name, value in fields.items():
        setattr(image, name, value)
    return image


class Library:
    """The testing library."""

    def __init__(self, path: str) -> None:
        self.c = ctypes.CDLL(path)
        self.c.yqt_letterbox_create.restype = ctypes.c_void_p
        self.c.yqt_letterbox_create.argtypes = [ctypes.c_int32] * 6 + [ctypes.c_char_p]
        self.c.yqt_letterbox.argtypes = [ctypes.c_void_p] * 4
        self.c.yqt_letterbox_destroy.argtypes = [ctypes.c_void_p]
        self.c.yqt_letterbox_destroy.restype = None
        self.c.yqt_letterbox_isa.restype = ctypes.c_char_p
        self.c.yqt_check_image.argtypes = [ctypes.c_void_p] * 3
        self.c.yqt_image_error.restype = ctypes.c_char_p

    def best_isa(self) -> str:
        """The instruction set that is taken by default."""
        return self.c.yqt_letterbox_isa().decode()

    def isas(self) -> list[str]:
        """The instruction sets that this build and this processor have."""
        usable = []
        for name in ("generic", "sse41", "avx2"):
            handle = self.c.yqt_letterbox_create(8, 8, 0, 1, 1, 114, name.encode())
            if handle:
                self.c.yqt_letterbox_destroy(handle)
                usable.append(name)
        return usable

    def error(self) -> str:
        """This thread's last error text."""
        return self.c.yqt_image_error().decode()

    def check(self, image: Image | None) -> tuple[int, list[int], list[int]]:
        """Status, ROI (x, y, width, height) and strides (of both planes, in bytes) of check_image."""
        roi, strides = (ctypes.c_int32 * 4)(), (ctypes.c_int64 * 2)()
        address = None if image is None else ctypes.addressof(image)
        status = self.c.yqt_check_image(address, roi, strides)
        return status, list(roi), list(strides)


class Letterboxer:
    """Runs letterboxes of one rule."""

    def __init__(self, library: Library, rule: Rule, isa: str | None = None) -> None:
        self.library, self.rule, self.box = library, rule, Box()
        name = None if isa is None else isa.encode()
        self.handle = library.c.yqt_letterbox_create(
            rule.width, rule.height, rule.bgr, rule.center, rule.upscale, rule.pad, name
        )
        if not self.handle:
            raise ValueError(f"no letterbox for {isa}: choose one of {library.isas()}")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.library.c.yqt_letterbox_destroy(self.handle)

    def run(self, image: Image, out: np.ndarray | None = None) -> np.ndarray:
        """uint8 [rule.height, rule.width, 3], written to `out` if given; self.box says where the picture lies."""
        if out is None:
            out = np.full((self.rule.height, self.rule.width, 3), 77, np.uint8)
        status = self.library.c.yqt_letterbox(
            self.handle, ctypes.addressof(image), out.ctypes.data, ctypes.addressof(self.box)
        )
        if status != OK:
            raise ValueError(self.library.error())
        return out
