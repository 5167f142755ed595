# SPDX-License-Identifier: Apache-2.0
"""What a detection gives, and what a detector tells about itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True)
class Detection:
    """One object. The box is in pixels of the whole picture; 0 is the left or top edge of the first pixel."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    class_id: int
    name: str
    angle: float = 0.0
    """Radians, clockwise, about the box centre, x1..y2 before rotation; 0 for upright boxes."""


class Timings(NamedTuple):
    """What a call took, in milliseconds; for a batch the sums over its pictures."""

    queue_ms: float
    preprocess_ms: float
    engine_ms: float
    decode_ms: float


class Result:
    """The objects of one picture, best score first. Owns its numbers; len() and iteration go over `detections`."""

    def __init__(self, rows: np.ndarray, names: tuple[str, ...], found: int, timings: Timings | None):
        """rows: float32 [n, 8], one yq_detection each."""
        self._rows = rows
        self._names = names
        self.found = found
        """How many objects there were before `max_detections` cut them; in a batch just len(), see BatchResult."""
        self.timings = timings
        """What the call took; None in a batch, whose sums are in BatchResult.timings."""

    @property
    def boxes(self) -> np.ndarray:
        """float32 [n, 4]: x1, y1, x2, y2 in pixels (a view)."""
        return self._rows[:, :4]

    @property
    def scores(self) -> np.ndarray:
        """float32 [n], 0 to 1 (a view)."""
        return self._rows[:, 4]

    @property
    def class_ids(self) -> np.ndarray:
        """int32 [n], 0-based (a view)."""
        return self._rows.view(np.int32)[:, 5]

    @property
    def angles(self) -> np.ndarray:
        """float32 [n], radians (a view); 0 for upright boxes."""
        return self._rows[:, 6]

    @cached_property
    def detections(self) -> list[Detection]:
        """The same as a list of Detection, with class names."""
        names = self._names
        return [
            Detection(*row[:5], class_id, names[class_id], row[6])
            for row, class_id in zip(self._rows.tolist(), self.class_ids.tolist(), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.detections)

    def __getitem__(self, index: int) -> Detection:
        return self.detections[index]

    def __repr__(self) -> str:
        return f"<yoloq.Result: {len(self)} of {self.found} detections>"


class BatchResult(list[Result]):
    """The Results of a batch, in the order of its pictures."""

    found: int = 0
    """The sum over the pictures of how many objects there were before `max_detections` cut them."""
    timings: Timings = Timings(0.0, 0.0, 0.0, 0.0)
    """The sums over the pictures of what they took."""


@dataclass(frozen=True)
class Info:
    """What a detector is (yq_info)."""

    format: int
    name: str
    task: str
    precision: str
    chip: str
    backend: str
    backend_version: str
    device: str
    input_width: int
    input_height: int
    input_channels: int
    class_count: int
    streams: int
    batch: int
    needs_nms: bool
    score_threshold: float
    iou_threshold: float
    max_detections: int
    timeout_ms: int


@dataclass(frozen=True)
class StageStats:
    """One stage's times since the detector was made, in ms; percentiles are within 4 %."""

    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Stats:
    """A detector's counters and times since it was made (yq_stats). What the device does not tell is None."""

    streams: int
    streams_busy: int
    streams_quarantined: int
    pictures: int
    errors: int
    timeouts: int
    device_lost: int
    device_recovered: int
    detections: int
    total: StageStats
    queue: StageStats
    preprocess: StageStats
    engine: StageStats
    decode: StageStats
    device_temperature_c: float | None
    device_power_w: float | None
    device_utilization_percent: float | None
    device_memory_used: int | None
    device_memory_total: int | None


@dataclass(frozen=True)
class Backend:
    """A backend module beside the library, and whether it can run here."""

    name: str
    version: str
    usable: bool
    reason: str
