# SPDX-License-Identifier: Apache-2.0
"""Quantised YOLO detectors.

    import yoloq
    with yoloq.Detector("fasteners.yoloq") as detector:
        for found in detector.detect(picture):  # uint8 [H, W, 3], BGR
            print(found.name, found.score, found.x1, found.y1, found.x2, found.y2)

Errors are yoloq.Error and its subclasses.
"""

from yoloq._native import TIMEOUT_NONE, fields, last_error, lib, sized, text
from yoloq.detector import Detector, set_log_callback
from yoloq.errors import (
    BackendError,
    BatchError,
    DeviceError,
    Error,
    FontError,
    InternalError,
    InvalidArgument,
    NotFound,
    OutOfMemory,
    PackageError,
    Timeout,
)
from yoloq.image import COLOR_SPACES, FORMATS, Image
from yoloq.result import Backend, BatchResult, Detection, Info, Result, StageStats, Stats, Timings

__all__ = [
    "COLOR_SPACES",
    "FORMATS",
    "TIMEOUT_NONE",
    "Backend",
    "BackendError",
    "BatchError",
    "BatchResult",
    "Detection",
    "Detector",
    "DeviceError",
    "Error",
    "FontError",
    "Image",
    "Info",
    "InternalError",
    "InvalidArgument",
    "NotFound",
    "OutOfMemory",
    "PackageError",
    "Result",
    "StageStats",
    "Stats",
    "Timeout",
    "Timings",
    "backends",
    "set_log_callback",
    "version",
]


def version() -> str:
    """The library's version, such as "0.1.0"."""
    return text(lib.yq_version())


def backends() -> list[Backend]:
    """The backend modules beside the library, and whether each can run here."""
    found = []
    for index in range(lib.yq_backend_count()):
        desc = sized("yq_backend_desc")
        status = lib.yq_backend_info(index, desc)
        if status:
            raise last_error(status)
        values = fields(desc)
        found.append(Backend(**values | {"usable": bool(values["usable"])}))
    return found
