# SPDX-License-Identifier: Apache-2.0
"""Step `calibrate`: what values the activations take, streamed over pictures in one pass of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from yoloq_quantize.errors import QuantizeError

CHUNK_BYTES = 256 << 20  # activations held at once


@dataclass(frozen=True)
class Range:
    """The values of one group of tensors: extremes, and counts (float64) in equal bins between `low` and `high`,
    which enclose them."""

    minimum: float
    maximum: float
    low: float
    high: float
    histogram: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """`ranges`: one per group, in the groups' order. `pictures`: how many were read."""

    ranges: tuple[Range, ...]
    pictures: int


def calibrate(
    model: ir.Model,
    groups: tuple[tuple[str, ...], ...],
    pictures: Iterable[np.ndarray],
    bins: int,
    progress: Callable[[Iterable, str], Iterable] = lambda items, _: items,
) -> Calibration:
    """Observes the values of every group over `pictures`: uint8 [1, h, w, 3]. `bins` is even.

    `progress(items, what)` wraps the iteration, for a bar.
    """
    group_of = {name: index for index, names in enumerate(groups) for name in names}
    runners = [_Runner(model, names) for names in _chunks(model, list(group_of))]
    histograms = [Histogram(bins) for _ in groups]
    count = 0
    for picture in progress(pictures, "calibrating"):
        count += 1
        for name, array in _observe(runners, picture):
            if not histograms[group_of[name]].add(array):
                raise QuantizeError(f"the model computes NaN or infinity at {name!r}; it cannot be quantised")
    if not count:
        raise QuantizeError("no calibration pictures")
    return Calibration(tuple(histogram.range() for histogram in histograms), count)


class Histogram:
    """Counts in equal bins over a span that doubles, upwards or downwards, when a value falls outside: pairs of bins
    merge, so that nothing observed is lost and the result does not depend on anything but the values' order."""

    def __init__(self, bins: int) -> None:
        self.counts = np.zeros(bins)
        self.low = self.width = 0.0  # of the span
        self.minimum, self.maximum = np.inf, -np.inf

    def add(self, array: np.ndarray) -> bool:
        """Counts a float32 array's values; False, and nothing counted, if one is not finite."""
        low, high = float(array.min()), float(array.max())
        if not np.isfinite(low) or not np.isfinite(high):
            return False
        self._cover(low, high)
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        flat = np.ascontiguousarray(array, dtype=np.float32).reshape(1, -1)
        counted = cv2.calcHist([flat], [0], None, [len(self.counts)], [self.low, self.low + self.width])
        self.counts += counted.reshape(-1)
        return True

    def range(self) -> Range:
        return Range(self.minimum, self.maximum, self.low, self.low + self.width, self.counts)

    def _cover(self, low: float, high: float) -> None:
        if not self.width:
            # OpenCV's upper bound is exclusive: leave room above, and a span even where all values are equal.
            self.low = low
            self.width = max((high - low) * 1.001, abs(high) * 1e-6, 1e-12)
        while low < self.low:
            self.low -= self.width
            self._merge(upper=True)
        while high >= self.low + self.width:
            self._merge(upper=False)

    def _merge(self, upper: bool) -> None:
        """Doubles the span; what was counted lands in its upper or lower half."""
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        empty = np.zeros_like(merged)
        self.counts = np.concatenate([empty, merged] if upper else [merged, empty])
        self.width *= 2


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
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # we count between the runs
        self.session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        return self.session.run(self.names, {self.input: picture})


def _observe(runners: list[_Runner], picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for runner in runners:
        yield from zip(runner.names, runner.run(picture), strict=True)
