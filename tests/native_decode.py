# SPDX-License-Identifier: Apache-2.0
"""The native decoder, candidate list and NMS, through the C functions of tests/native/decode_api.cpp."""

from __future__ import annotations

import ctypes
import json
from dataclasses import asdict

import numpy as np

from reference_decode import CANDIDATE, Head


class NativeDecoder:
    """A Decoder with a CandidateList of `limit`. Raises ValueError with the reason if the head is refused."""

    def __init__(self, library: ctypes.CDLL, head: Head, limit: int = 30000) -> None:
        self._library = library
        self._limit = limit
        spec = asdict(head)
        text = {name: spec.pop(name) for name in ("tensors", "classes", "width", "height")} | {"head": spec}
        error = ctypes.create_string_buffer(1024)
        create = library.yqt_decoder_create
        create.restype = ctypes.c_void_p
        handle = create(json.dumps(text).encode(), ctypes.c_uint64(limit), error, ctypes.c_uint64(len(error)))
        if not handle:
            raise ValueError(error.value.decode())
        self._handle = ctypes.c_void_p(handle)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._library.yqt_decoder_destroy(self._handle)

    def tensor_bytes(self, index: int) -> int:
        """TensorSpec::bytes() of a tensor."""
        function = self._library.yqt_decoder_tensor_bytes
        function.restype = ctypes.c_uint64
        return function(self._handle, ctypes.c_uint64(index))

    def run(self, arrays: list[np.ndarray], picture: int = 0, threshold: float = 0.25) -> np.ndarray:
        """Sorted candidates of one picture."""
        assert all(array.flags.c_contiguous for array in arrays)
        pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        out = np.zeros(self._limit, CANDIDATE)
        function = self._library.yqt_decode
        function.restype = ctypes.c_int64
        count = function(
            self._handle,
            pointers,
            ctypes.c_uint32(picture),
            ctypes.c_float(threshold),
            ctypes.c_void_p(out.ctypes.data),
            ctypes.c_uint64(len(out)),
        )
        assert count <= self._limit
        return out[:count].copy()


def collect(library: ctypes.CDLL, candidates: np.ndarray, limit: int) -> tuple[np.ndarray, float] | None:
    """Sends candidates through a CandidateList: what it keeps, sorted, and its floor. None if the list is refused."""
    out = np.zeros(max(1, limit), CANDIDATE)
    floor = ctypes.c_float()
    function = library.yqt_collect
    function.restype = ctypes.c_int64
    count = function(
        ctypes.c_void_p(candidates.ctypes.data),
        ctypes.c_uint64(len(candidates)),
        ctypes.c_uint64(limit),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.byref(floor),
    )
    assert count <= limit
    return None if count < 0 else (out[:count].copy(), floor.value)


def nms(
    library: ctypes.CDLL, candidates: np.ndarray, iou_threshold: float, max_detections: int, box_voting: bool = False
) -> np.ndarray:
    """Sorts and suppresses: the candidates kept."""
    out = np.zeros(len(candidates), CANDIDATE)
    function = library.yqt_nms
    function.restype = ctypes.c_int64
    count = function(
        ctypes.c_void_p(candidates.ctypes.data),
        ctypes.c_uint64(len(candidates)),
        ctypes.c_float(iou_threshold),
        ctypes.c_uint64(max_detections),
        ctypes.c_int32(box_voting),
        ctypes.c_void_p(out.ctypes.data),
    )
    return out[:count].copy()
