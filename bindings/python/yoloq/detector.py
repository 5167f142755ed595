# SPDX-License-Identifier: Apache-2.0
"""The detector: a model package on a device."""

from __future__ import annotations

import atexit
import math
import operator
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from yoloq._native import TIMEOUT_NONE, ffi, fields, last_error, lib, sized, text
from yoloq.errors import BatchError, Error, InvalidArgument, from_status
from yoloq.image import Image, fill
from yoloq.result import BatchResult, Info, Result, StageStats, Stats, Timings

_HINTS = {None: 0, "latency": 1, "throughput": 2}
_NOT_RUN = -1  # what a picture's status says before the library has written it


class _Slot:
    """The C structs and the result buffer of one call, used again by the next."""

    def __init__(self, capacity: int):
        self.image = sized("yq_image")
        self.call = sized("yq_call")
        self.count = ffi.new("uint32_t *")
        self.rows = np.zeros((capacity, 8), np.float32)
        self.out = ffi.cast("yq_detection *", self.rows.ctypes.data)


class Detector:
    """A model package loaded on a device. Thread-safe: any number of threads may share one; `streams` calls run at
    once, the others wait. Use it in a `with` block, or call close().

    Args:
        path: the package folder, NAME.yoloq.
        backend: "cpu", "ascend", ...; None: the package's. "dummy" only if named here.
        device: index of the device.
        score_threshold: detections below are dropped, in (0, 1].
        iou_threshold: NMS suppresses above, in (0, 1]; unused by NMS-free heads.
        max_detections: per picture.
        streams: calls that run at once.
        timeout_ms: deadline of a call in ms, queueing included; TIMEOUT_NONE: none.
        cache_dir: an existing, writable folder for compiled models; None: no cache.
        hint: "latency" or "throughput"; None: latency for one stream, throughput for more.
        None everywhere else: what the package says.

    Raises:
        InvalidArgument, NotFound, PackageError, BackendError, DeviceError, OutOfMemory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        backend: str | None = None,
        device: str | int | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        streams: int | None = None,
        timeout_ms: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        hint: str | None = None,
    ):
        if hint not in _HINTS:
            raise InvalidArgument(f"unknown hint {hint!r}: use 'latency', 'throughput' or None")
        options = sized("yq_options")
        texts = [_c_text("backend", backend), _c_text("device", device), _c_text("cache_dir", cache_dir)]  # keeps alive
        options.backend, options.device, options.cache_dir = texts
        options.score_threshold = _fraction("score_threshold", score_threshold)
        options.iou_threshold = _fraction("iou_threshold", iou_threshold)
        options.max_detections = _whole("max_detections", max_detections)
        options.streams = _whole("streams", streams)
        options.timeout_ms = _whole("timeout_ms", timeout_ms)
        options.hint = _HINTS[hint]
        out = ffi.new("yq_detector **")
        status = lib.yq_create(out, _c_text("path", path), options)
        if status:
            raise last_error(status)
        self._handle = out[0]
        self._destroy = weakref.finalize(self, lib.yq_destroy, out[0])
        info = sized("yq_info")
        self._check(lib.yq_get_info(self._handle, info))
        values = fields(info)
        self.info = Info(**values | {"needs_nms": bool(values["needs_nms"])})
        """What the detector is: an Info."""
        self.class_names = tuple(text(lib.yq_class_name(self._handle, i)) for i in range(self.info.class_count))
        """The names of the classes, by class_id."""
        self._slots: list[_Slot] = []  # free ones; append and pop are atomic

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self._destroy.alive else ", closed"
        return f"<yoloq.Detector: {self.info.name} on {self.info.backend}:{self.info.device}{state}>"

    def close(self) -> None:
        """Frees the model. Calls that run in other threads finish first; later ones raise InvalidArgument."""
        self._destroy()

    def detect(
        self,
        image: Image,
        *,
        format: str | None = None,
        roi: Sequence[int] | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        timeout_ms: int | None = None,
        max_detections: int | None = None,
        color_space: str | None = None,
    ) -> Result:
        """Finds the objects of one picture, without copying it and without holding the GIL.

        Args:
            image: uint8 array, see yoloq.Image: [H, W] gray, [H, W, 3], [H, W, 4], or NV12.
            format: "GRAY", "BGR", "RGB", "BGRA", "RGBA" or "NV12". None: by the number of channels GRAY, BGR or
                BGRA (OpenCV's order), and NV12 for a tuple.
            roi: look only at (x, y, width, height), in pixels.
            score_threshold, iou_threshold, timeout_ms: for this call; None: the detector's.
            max_detections: keep the best ones only, at most the detector's number; None: the detector's.
            color_space: of NV12, see yoloq.COLOR_SPACES.

        Raises:
            InvalidArgument, Timeout, BackendError, DeviceError.
        """
        capacity = self._capacity(max_detections)
        try:
            slot = self._slots.pop()
        except IndexError:
            slot = _Slot(self.info.max_detections)
        try:
            fill(slot.image, image, format, roi, color_space)
            call = slot.call
            _fill_call(call, score_threshold, iou_threshold, timeout_ms)
            status = lib.yq_infer(self._handle, slot.image, call, slot.out, capacity, slot.count)
            if status:
                raise self._error(status)
            return Result(slot.rows[: slot.count[0]].copy(), self.class_names, call.found, _timings(call))
        finally:
            self._slots.append(slot)

    def detect_batch(
        self,
        images: Sequence[Image],
        *,
        format: str | None = None,
        rois: Sequence[Sequence[int] | None] | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        timeout_ms: int | None = None,
        max_detections: int | None = None,
        color_space: str | None = None,
    ) -> BatchResult:
        """Finds the objects of several pictures of any sizes, keeping all free streams busy.

        Args as for detect(); `format` and `color_space` hold for all pictures, `rois` has one entry per picture, and
        timeout_ms is one deadline for the whole batch.

        Raises:
            BatchError: pictures failed; it holds the results of the others.
            InvalidArgument: an argument is wrong; nothing has run.
        """
        n = len(images)
        if rois is not None and len(rois) != n:
            raise InvalidArgument(f"rois has {len(rois)} entries for {n} pictures")
        capacity = self._capacity(max_detections)
        call = sized("yq_call")
        _fill_call(call, score_threshold, iou_threshold, timeout_ms)
        if n == 0:
            return BatchResult()
        structs = ffi.new("yq_image[]", n)
        for i, image in enumerate(images):
            structs[i].size = ffi.sizeof("yq_image")
            try:
                fill(structs[i], image, format, rois[i] if rois is not None else None, color_space)
            except InvalidArgument as error:
                raise InvalidArgument(f"picture {i} of the batch: {error}") from None
        rows = np.zeros((n, capacity, 8), np.float32)
        counts = ffi.new("uint32_t[]", n)
        statuses = ffi.new("int32_t[]", [_NOT_RUN] * n)
        out = ffi.cast("yq_detection *", rows.ctypes.data)
        status = lib.yq_infer_batch(self._handle, structs, n, call, out, capacity, counts, statuses)
        failure = self._error(status) if status else None
        if failure is not None and (_NOT_RUN in statuses or (not self._destroy.alive and not any(counts))):
            raise failure  # the call itself, not a picture
        batch = BatchResult(Result(rows[i, : counts[i]].copy(), self.class_names, counts[i], None) for i in range(n))
        batch.found, batch.timings = call.found, _timings(call)
        if failure is not None:
            raise _batch_error(failure, batch, list(statuses))
        return batch

    @property
    def stats(self) -> Stats:
        """Counters, times per stage and device health since the detector was made."""
        stats = sized("yq_stats")
        self._check(lib.yq_get_stats(self._handle, stats))
        values: dict[str, Any] = {}
        for name, value in fields(stats).items():
            if isinstance(value, dict):
                value = StageStats(**value)
            elif name.startswith("device_") and (value == 2**64 - 1 or math.isnan(value)):
                value = None
            values[name] = value
        return Stats(**values)

    def _capacity(self, max_detections: int | None) -> int:
        limit = self.info.max_detections
        if max_detections is None:
            return limit
        number = _whole("max_detections", max_detections)
        if number > limit:
            raise InvalidArgument(f"max_detections {number} is above the detector's {limit}: set it there")
        return number

    def _error(self, status: int) -> Error:
        """The exception for the call of this thread that has just failed."""
        if not self._destroy.alive:
            return InvalidArgument("the detector is closed: make a new one")
        return last_error(status)

    def _check(self, status: int) -> None:
        if status:
            raise self._error(status)


def _timings(call: Any) -> Timings:
    return Timings(call.queue_ms, call.preprocess_ms, call.engine_ms, call.decode_ms)


def _fill_call(call: Any, score: float | None, iou: float | None, timeout_ms: int | None) -> None:
    call.score_threshold = _fraction("score_threshold", score)
    call.iou_threshold = _fraction("iou_threshold", iou)
    call.timeout_ms = _whole("timeout_ms", timeout_ms)


def _batch_error(failure: Error, batch: BatchResult, statuses: list[int]) -> BatchError:
    """The library keeps the first failing picture's reason; of the others it tells the status."""
    errors: dict[int, Error] = {}
    for i, status in enumerate(statuses):
        if status:
            errors[i] = from_status(status, text(lib.yq_status_name(status))) if errors else failure
    results = [None if i in errors else result for i, result in enumerate(batch)]
    first = next(iter(errors))
    return BatchError(f"{len(errors)} of {len(batch)} pictures failed; picture {first}: {failure}", results, errors)


def _fraction(name: str, value: float | None) -> float:
    """A threshold for C, where 0 means the default: an explicit 0 is refused instead of meaning something else."""
    if value is None:
        return 0.0
    if not 0 < value <= 1:
        raise InvalidArgument(f"{name} is {value}: it must be above 0 and at most 1")
    return value


def _whole(name: str, value: int | None) -> int:
    """A number for a uint32_t field, where 0 means the default."""
    if value is None:
        return 0
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= TIMEOUT_NONE:
        raise InvalidArgument(f"{name} is {value!r}: it must be a whole number from 1")
    return number


def _c_text(name: str, value: str | int | os.PathLike[str] | None) -> Any:
    if value is None:
        return ffi.NULL
    data = os.fsencode(value if isinstance(value, (str, bytes, os.PathLike)) else str(value))
    if b"\0" in data:
        raise InvalidArgument(f"{name} {value!r} holds a NUL character")
    return ffi.new("char[]", data)


_log_lock = threading.Lock()
_log_callback: Any = None


def set_log_callback(fn: Any) -> None:
    """Sets where the library's log lines go: fn(level: int, message: str), from any thread, also from two at once;
    level 0 debug, 1 info, 2 warning, 3 error. None: nowhere. Not to be called from inside the callback."""
    global _log_callback
    callback = None
    if fn is not None:

        @ffi.callback("void(void *, int32_t, const char *)")
        def callback(_user: Any, level: int, message: Any) -> None:
            fn(level, text(message))

    with _log_lock:
        lib.yq_set_log_callback(callback or ffi.NULL, ffi.NULL)
        _log_callback = callback  # the old one is freed only now, when the library has let go of it


@atexit.register
def _stop_log() -> None:
    """The library's threads must not call into an interpreter that has ended."""
    if _log_callback is not None:
        set_log_callback(None)
