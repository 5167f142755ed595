# SPDX-License-Identifier: Apache-2.0
"""The C ABI as C callers see it, through cffi over include/yoloq.h; the product's own binding has no part in it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cffi
import numpy as np

from conftest import BUILD, ROOT

OK, EINVAL, ENOTFOUND, EPACKAGE, EBACKEND, ETIMEOUT, ENOMEM, EDEVICE, EINTERNAL = range(9)
GRAY8, BGR24, RGB24, BGRA32, RGBA32, NV12 = range(1, 7)
TIMEOUT_NONE = 2**32 - 1
CHANNELS = {GRAY8: 1, BGR24: 3, RGB24: 3, BGRA32: 4, RGBA32: 4}
DETECTION = np.dtype(
    [(name, "f4") for name in ("x1", "y1", "x2", "y2", "score")]
    + [("class_id", "i4"), ("angle", "f4"), ("reserved", "u4")]
)


def declarations(header: Path) -> str:
    """The header's C for cffi: no preprocessor lines, no calling conventions, nothing that is for C++ alone."""
    lines, depth, continued = [], 0, False
    for line in header.read_text(encoding="utf-8").splitlines():
        directive = line.lstrip().startswith("#") or continued
        continued = directive and line.endswith("\\")
        if re.match(r"\s*#\s*if", line):
            depth += 1
        if re.match(r"\s*#\s*endif", line):
            depth -= 1
        if not directive and depth == 1:  # the include guard alone
            lines.append(line)
    return re.sub(r"\bYQ_(API|CALL)\b", "", "\n".join(lines))


ffi = cffi.FFI()
ffi.cdef(declarations(ROOT / "include" / "yoloq.h"))


@functools.cache
def load(path: Path = BUILD / "lib" / "libyoloq.so") -> Any:
    """The library's functions."""
    assert path.exists(), f"{path} is missing: run python3 build.py build"
    return ffi.dlopen(str(path))


class NativeError(Exception):
    """A call failed: its status and yq_last_error()."""

    def __init__(self, lib: Any, status: int) -> None:
        self.status = status
        self.text = ffi.string(lib.yq_last_error()).decode()
        name = ffi.string(lib.yq_status_name(status)).decode()
        super().__init__(f"{name}: {self.text}")


@dataclass(frozen=True)
class Outcome:
    """What a call gave: detections written (DETECTION), and the yq_call's out fields."""

    detections: np.ndarray
    found: int
    queue_ms: float
    preprocess_ms: float
    engine_ms: float
    decode_ms: float


@dataclass(frozen=True)
class BatchOutcome:
    """A batch: its status, per picture a status and detections, and found over all."""

    status: int
    statuses: list[int]
    detections: list[np.ndarray]
    found: int


def fill(struct: Any, values: dict[str, Any]) -> Any:
    for name, value in values.items():
        setattr(struct, name, value)
    return struct


def fill_image(image: Any, pixels: np.ndarray, roi: Sequence[int] = (0, 0, 0, 0), format: int = BGR24) -> None:
    """Points a yq_image at uint8 [h, w] or [h, w, c] pixels, which must stay alive."""
    image.size = ffi.sizeof("yq_image")
    image.format = format
    image.height, image.width = pixels.shape[:2]
    image.data = ffi.cast("void *", pixels.ctypes.data)
    image.stride = pixels.strides[0]
    image.roi_x, image.roi_y, image.roi_width, image.roi_height = roi


class Detector:
    """yq_create to yq_destroy. Options and call fields go by their C names."""

    def __init__(self, package: Path | str, lib: Any = None, **options: Any) -> None:
        self.lib = lib or load()
        self.handle = ffi.NULL
        struct = ffi.new("yq_options *")
        self.lib.yq_options_init(struct, ffi.sizeof("yq_options"))
        values = {"backend": "dummy", **options}
        texts = {key: ffi.new("char[]", value.encode()) for key, value in values.items() if isinstance(value, str)}
        fill(struct, {key: value for key, value in {**values, **texts}.items() if value is not None})
        out = ffi.new("yq_detector **")
        self.check(self.lib.yq_create(out, str(package).encode(), struct))
        self.handle = out[0]

    def check(self, status: int) -> None:
        if status != OK:
            raise NativeError(self.lib, status)

    def close(self) -> None:
        self.lib.yq_destroy(self.handle)
        self.handle = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def infer(
        self, pixels: np.ndarray, roi: Sequence[int] = (0, 0, 0, 0), format: int = BGR24, capacity: int = 1000,
        **call: Any,
    ) -> Outcome:  # fmt: skip
        """yq_infer on uint8 pixels; `call` are in-fields of yq_call. Raises NativeError."""
        image = ffi.new("yq_image *")
        fill_image(image, pixels, roi, format)
        struct = ffi.new("yq_call *")
        self.lib.yq_call_init(struct, ffi.sizeof("yq_call"))
        fill(struct, call)
        found = np.zeros(capacity, DETECTION)
        count = ffi.new("uint32_t *", 77)
        out = ffi.cast("yq_detection *", found.ctypes.data) if capacity else ffi.NULL
        status = self.lib.yq_infer(self.handle, image, struct, out, capacity, count)
        if status != OK:
            error = NativeError(self.lib, status)
            assert count[0] == 0
            assert not found.view("u1").any(), "a failing call leaves `out` alone"
            raise error
        assert count[0] == min(struct.found, capacity)
        assert not found[count[0] :].view("u1").any(), "nothing is written behind the last detection"
        times = struct.queue_ms, struct.preprocess_ms, struct.engine_ms, struct.decode_ms
        return Outcome(found[: count[0]], struct.found, *times)

    def infer_batch(self, pictures: Sequence[np.ndarray], capacity: int = 1000, **call: Any) -> BatchOutcome:
        """yq_infer_batch on BGR pictures."""
        n = len(pictures)
        images = ffi.new("yq_image[]", n)
        for i, pixels in enumerate(pictures):
            fill_image(images[i], pixels)
        struct = ffi.new("yq_call *")
        self.lib.yq_call_init(struct, ffi.sizeof("yq_call"))
        fill(struct, call)
        found = np.zeros((n, capacity), DETECTION)
        counts, statuses = ffi.new("uint32_t[]", n), ffi.new("int32_t[]", n)
        out = ffi.cast("yq_detection *", found.ctypes.data)
        status = self.lib.yq_infer_batch(self.handle, images, n, struct, out, capacity, counts, statuses)
        rows = [found[i, : counts[i]] for i in range(n)]
        return BatchOutcome(status, list(statuses), rows, struct.found)

    def info(self) -> Any:
        info = ffi.new("yq_info *", {"size": ffi.sizeof("yq_info")})
        self.check(self.lib.yq_get_info(self.handle, info))
        return info

    def stats(self) -> Any:
        stats = ffi.new("yq_stats *", {"size": ffi.sizeof("yq_stats")})
        self.check(self.lib.yq_get_stats(self.handle, stats))
        return stats

    def class_name(self, index: int) -> str | None:
        name = self.lib.yq_class_name(self.handle, index)
        return None if name == ffi.NULL else ffi.string(name).decode()
