# SPDX-License-Identifier: Apache-2.0
"""Accuracy against labels drawn from what the float model believes: a drop in points of mAP without any labels.

Each detection of the float model is an object with the probability that is its score (a calibrated model's scores are
such), where its box is, every side moved at random by Laplace's distribution: a trained model's deviations from exact
labels are many small and few large, as no normal distribution is. The same drawings judge the float and the quantised
model, so most of the chance cancels in the difference. The rules are COCO's; they are written anew because dozens of
drawings of one picture share their detections, and are matched together here in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yoloq_quantize.metrics import Detections

DRAWINGS = 32  # of labels, per picture
LOWEST = 0.05  # score of a detection that may be an object
IGNORED = 0.005  # score below which a detection does not change the result
SPREAD = 0.045  # mean deviation of a side, in sides: that of the demo model from exact labels, and an IoU of 0.83
SEED = 26
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class _Drawn:
    """One picture: boxes float64 (drawings, objects, 4), real bool (drawings, objects), class_ids (objects,)."""

    boxes: np.ndarray
    real: np.ndarray
    class_ids: np.ndarray


class Belief:
    """The drawings of a list of pictures."""

    def __init__(self, found: Sequence[Detections], classes: int) -> None:
        """`found`: the float model's detections, in pixels, of each picture."""
        generator = np.random.default_rng(SEED)
        self._pictures = [_draw(one.above(LOWEST), generator) for one in found]
        self._positives = np.zeros((classes, DRAWINGS), np.int64)
        for drawn in self._pictures:
            for index, class_id in enumerate(drawn.class_ids):
                self._positives[class_id] += drawn.real[:, index]

    @property
    def objects(self) -> int:
        """Over all drawings."""
        return int(self._positives.sum())

    def measure(self, found: Sequence[Detections]) -> tuple[float, float]:
        """mAP50 and mAP50-95 in points, the mean over drawings, of detections of each picture, best score first."""
        found = [one.above(IGNORED) for one in found]
        precision = []
        for class_id, positives in enumerate(self._positives):
            if positives.any():
                of_class = [_of_class(one, class_id) for one in found]
                hits = [_match(d, one, class_id) for d, one in zip(self._pictures, of_class, strict=True)]
                scores = np.concatenate([one.scores for one in of_class])
                order = np.argsort(-scores, kind="stable")
                precision.append(_average_precision(np.concatenate(hits, axis=2)[:, :, order], positives))
        mean = np.nanmean(np.stack(precision), axis=(0, 2)) * 100
        return float(mean[0]), float(mean.mean())


def _draw(seen: Detections, generator: np.random.Generator) -> _Drawn:
    real = generator.random((DRAWINGS, len(seen))) < seen.scores
    sides = np.tile(seen.boxes[:, 2:] - seen.boxes[:, :2], 2).astype(np.float64)
    boxes = seen.boxes + generator.laplace(0, SPREAD, (DRAWINGS, len(seen), 4)) * sides
    return _Drawn(boxes, real, seen.class_ids)


def _of_class(found: Detections, class_id: int) -> Detections:
    keep = found.class_ids == class_id
    return Detections(found.boxes[keep], found.scores[keep], found.class_ids[keep])


def _match(drawn: _Drawn, found: Detections, class_id: int) -> np.ndarray:
    """Which detections hit an object: bool (thresholds, drawings, detections). Each takes the free object of its class
    that it overlaps most, best score first."""
    own = drawn.class_ids == class_id
    hits = np.zeros((len(THRESHOLDS), DRAWINGS, len(found)), bool)
    if not own.any() or not len(found):
        return hits
    overlap = _iou(found.boxes.astype(np.float64), drawn.boxes[:, own])
    free = np.broadcast_to(drawn.real[:, own], (len(THRESHOLDS), DRAWINGS, int(own.sum()))).copy()
    useful = np.flatnonzero((overlap >= THRESHOLDS[0]).any(axis=(0, 2)))
    for index in useful:
        candidate = np.where(free, overlap[:, index], -1)
        best = candidate.argmax(axis=2)[..., None]
        hit = np.take_along_axis(candidate, best, 2) >= THRESHOLDS[:, None, None]
        np.put_along_axis(free, best, np.take_along_axis(free, best, 2) & ~hit, 2)
        hits[:, :, index] = hit[..., 0]
    return hits


def _iou(boxes: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) with drawn (drawings, k, 4): (drawings, n, k)."""
    a, b = boxes[None, :, None], drawn[:, None]
    inter = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def _average_precision(hits: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """COCO's 101-point AP, 0 to 1, (thresholds, drawings), of hits in the order of scores; NaN without objects."""
    result = np.full(hits.shape[:2], np.nan)
    result[:, positives > 0] = 0
    if not hits.shape[2]:
        return result
    right = hits.cumsum(axis=2)
    envelope = right / np.arange(1, hits.shape[2] + 1)
    envelope = np.maximum.accumulate(envelope[..., ::-1], axis=2)[..., ::-1]
    for drawing in np.flatnonzero(positives):
        for threshold in range(len(THRESHOLDS)):
            at = np.searchsorted(right[threshold, drawing] / positives[drawing], RECALLS)
            result[threshold, drawing] = envelope[threshold, drawing, at[at < hits.shape[2]]].sum() / len(RECALLS)
    return result
