# SPDX-License-Identifier: Apache-2.0
"""Step `calibrate`: what values the activations take, streamed over pictures in two passes of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from .errors import QuantizeError

CHUNK_BYTES = 256 << 20  # activations held at once


@dataclass(frozen=True)
class Range:
    """The values of one group of tensors: extremes, and a histogram of equal bins between them (float64 counts)."""

    minimum: float
    maximum: float
    histogram: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """`ranges`: one per group, in the groups' order. `pictures`: how many were read in each pass."""

    ranges: tuple[Range, ...]
    pictures: int


def calibrate(model: ir.Model, groups: tuple[tuple[str, ...], ...], pictures: Callable[[], Iterable[np.ndarray]],
              bins: int, progress: Callable[[Iterable, str], Iterable] = lambda items, _: items) -> Calibration:
    """Observes the values of every group over `pictures()`, called once a pass: uint8 [1, h, w, 3].

    `progress(items, what)` wraps the iteration, for a bar.
    """
    group_of = {name: index for index, names in enumerate(groups) for name in names}
    runners = [_Runner(model, names) for names in _chunks(model, list(group_of))]
    low, high, count = np.full(len(groups), np.inf), np.full(len(groups), -np.inf), 0
    for picture in progress(pictures(), "ranges"):
        count += 1
        for name, array in _observe(runners, picture):
            index = group_of[name]
            low[index], high[index] = min(low[index], float(array.min())), max(high[index], float(array.max()))
            if not np.isfinite(low[index] + high[index]):
                raise QuantizeError(f"the model computes NaN or infinity at {name!r}; it cannot be quantised")
    if not count:
        raise QuantizeError("no calibration pictures")
    histograms = [np.zeros(bins) for _ in groups]
    for picture in progress(pictures(), "histograms"):
        for name, array in _observe(runners, picture):
            index = group_of[name]
            histograms[index] += _histogram(array, low[index], high[index], bins)
    ranges = tuple(Range(float(a), float(b), h) for a, b, h in zip(low, high, histograms, strict=True))
    return Calibration(ranges, count)


def _histogram(array: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    if high <= low:
        counts = np.zeros(bins)
        counts[0] = array.size
        return counts
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(1, -1)
    # OpenCV's upper bound is exclusive.
    upper = float(np.nextafter(np.float32(high), np.float32(np.inf)))
    return cv2.calcHist([flat], [0], None, [bins], [float(low), upper]).reshape(-1).astype(np.float64)


def _chunks(model: ir.Model, names: list[str]) -> list[list[str]]:
    """Splits the values so that no run holds more than CHUNK_BYTES of them."""
    values = ir.convenience.create_value_mapping(model.graph)
    chunks: list[list[str]] = []
    held = CHUNK_BYTES
    for name in names:
        size = 4 * int(np.prod([int(side) for side in values[name].shape]))
        if held + size > CHUNK_BYTES:
            chunks.append([])
            held = 0
        chunks[-1].append(name)
        held += size
    return chunks


class _Runner:
    """The model with some inner values as its outputs."""

    def __init__(self, model: ir.Model, names: list[str]) -> None:
        self.names = names
        proto = ir.to_proto(model)
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self.session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        return self.session.run(self.names, {self.input: picture})


def _observe(runners: list[_Runner], picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for runner in runners:
        yield from zip(runner.names, runner.run(picture), strict=True)
