# SPDX-License-Identifier: Apache-2.0
"""Statistics of activations that grow with no picture: histograms, extremes, moving averages, moments of channels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from yoloq_quantize.errors import QuantizeError

SMOOTHING = 0.01  # weight of the newest picture in a moving average
BLOCK = 1 << 15  # values that are worked on while they are in the cache


@dataclass(frozen=True)
class Range:
    """The values of one group of tensors: extremes, and counts (float64) in equal bins between `low` and `high`,
    which enclose them. `moving_*`: moving average of each picture's extremes; None where none was collected."""

    minimum: float
    maximum: float
    low: float
    high: float
    histogram: np.ndarray
    moving_minimum: float | None = None
    moving_maximum: float | None = None


@dataclass(frozen=True)
class ChannelStats:
    """Of one value's channels (axis 1), over all pictures and positions: float64 [channels] each. `mean` and
    `second_moment` are the averages of the values and of their squares."""

    minimum: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    second_moment: np.ndarray


class Histogram:
    """Counts in equal bins over a span that doubles, upwards or downwards, when a value falls outside: pairs of bins
    merge, so that nothing observed is lost and the result does not depend on anything but the values' order."""

    def __init__(self, bins: int) -> None:
        """bins: even, 65536 at most."""
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
        self.counts += self._count(np.ascontiguousarray(array, dtype=np.float32).reshape(-1))
        return True

    def range(self) -> Range:
        return Range(self.minimum, self.maximum, self.low, self.low + self.width, self.counts)

    def _count(self, flat: np.ndarray) -> np.ndarray:
        """Numbers the bins here and counts the numbers: a third of the time that OpenCV takes for floats."""
        bins = len(self.counts)
        low, factor = np.float32(self.low), np.float32(bins / self.width)
        numbers, work = np.empty(flat.size, np.uint16), np.empty(BLOCK, np.float32)
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            place = work[: part.size]
            np.subtract(part, low, out=place)
            np.multiply(place, factor, out=place)
            np.clip(place, 0, bins - 1, out=place)
            numbers[start : start + BLOCK] = place
        return cv2.calcHist([numbers.reshape(1, -1)], [0], None, [bins], [0, bins]).reshape(-1)

    def _cover(self, low: float, high: float) -> None:
        if not self.width:
            # The upper bound is exclusive: leave room above, and a span even where all values are equal.
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


class MovingAverage:
    """Exponential moving average, free of the first value's excess weight: the plain mean of few values, the last
    1 / SMOOTHING of many (Kingma and Ba, "Adam", 2015, section 3)."""

    def __init__(self) -> None:
        self.total = self.weight = 0.0

    def add(self, value: float) -> None:
        self.total += SMOOTHING * (value - self.total)
        self.weight += SMOOTHING * (1 - self.weight)

    @property
    def value(self) -> float:
        return self.total / self.weight


class GroupObserver:
    """One group of tensors that share a scale; `end_picture` after all of a picture's tensors were added."""

    def __init__(self, bins: int) -> None:
        self._histogram = Histogram(bins)
        self._averages = MovingAverage(), MovingAverage()
        self._extremes = np.inf, -np.inf  # of the picture

    def add(self, array: np.ndarray) -> bool:
        """A float32 array of any shape; False if a value is not finite."""
        low, high = float(array.min()), float(array.max())
        self._extremes = min(self._extremes[0], low), max(self._extremes[1], high)
        return self._histogram.add(array)

    def end_picture(self) -> None:
        for average, extreme in zip(self._averages, self._extremes, strict=True):
            average.add(extreme)
        self._extremes = np.inf, -np.inf

    def range(self) -> Range:
        seen = self._histogram
        low, high = (average.value for average in self._averages)
        return Range(seen.minimum, seen.maximum, seen.low, seen.low + seen.width, seen.counts, low, high)


class ChannelObserver:
    """Extremes and moments along axis 1 of one value, float32 [n, channels, ...]."""

    def __init__(self, channels: int) -> None:
        self._minimum, self._maximum = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._sum, self._squares = np.zeros(channels), np.zeros(channels)
        self._count = 0

    def add(self, array: np.ndarray) -> bool:
        """False, and nothing counted, if a value is not finite."""
        rows = np.moveaxis(array, 1, 0).reshape(len(self._sum), -1)
        low, high = rows.min(axis=1), rows.max(axis=1)
        if not np.isfinite(low).all() or not np.isfinite(high).all():
            return False
        np.minimum(self._minimum, low, out=self._minimum)
        np.maximum(self._maximum, high, out=self._maximum)
        self._sum += rows.sum(axis=1)
        self._squares += np.einsum("ij,ij->i", rows, rows)
        self._count += rows.shape[1]
        return True

    def stats(self) -> ChannelStats:
        if not self._count:
            raise QuantizeError("no calibration pictures")
        return ChannelStats(self._minimum, self._maximum, self._sum / self._count, self._squares / self._count)
