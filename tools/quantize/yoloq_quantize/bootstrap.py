# SPDX-License-Identifier: Apache-2.0
"""How sure a loss of accuracy is: a paired bootstrap over the pictures of a data set.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval). Every round draws as
many pictures as there are, with replacement, and measures both models on the same draw. Detections are matched with
the truth once (COCO's rules match within a picture); a draw only weighs the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yoloq_quantize.dataset import Dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.metrics import Detections, match_coco

CONFIDENCE = 95.0  # percent of the rounds that the interval holds
_CHUNK = 16  # rounds at once: what is in work stays in the processor's cache


@dataclass(frozen=True)
class Interval:
    """A figure in points and its 95 % confidence interval; the interval is None where one picture has all the truth."""

    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """Reference minus candidate on the same pictures, points: what the candidate loses; negative where it gains."""

    map50: Interval
    map50_95: Interval
    rounds: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def paired_bootstrap(
    dataset: Dataset,
    reference: Sequence[Detections],
    candidate: Sequence[Detections],
    rounds: int = 1000,
    seed: int = 0,
) -> Difference:
    """The loss of `candidate` against `reference`; detections of each of the data set's pictures, in its order.

    The estimates equal the differences of `measure_accuracy`. Deterministic. QuantizeError without labelled objects.
    """
    return compare(Matches.of(dataset, reference), Matches.of(dataset, candidate), rounds, seed)


def compare(reference: Matches, candidate: Matches, rounds: int = 1000, seed: int = 0) -> Difference:
    """`paired_bootstrap` of detections that are matched already, for several candidates on one reference."""
    if rounds < 1:
        raise ValueError(f"{rounds} rounds; give 1 or more")
    if not np.array_equal(reference.truth, candidate.truth):
        raise ValueError("the two sides were matched on different pictures")
    if not reference.truth.any():
        raise QuantizeError("no labelled object in the pictures; a loss of accuracy cannot be measured")
    pictures = reference.truth.shape[1]
    ones = np.ones((1, pictures), np.int64)
    estimates = (reference.sample(ones) - candidate.sample(ones))[:, 0]
    draws = np.random.default_rng(seed).integers(0, pictures, (rounds, pictures))
    weights = np.stack([np.bincount(draw, minlength=pictures) for draw in draws])
    losses = reference.sample(weights) - candidate.sample(weights)
    single = np.count_nonzero(reference.truth.any(0)) < 2
    return Difference(*(_interval(e, row, single) for e, row in zip(estimates, losses, strict=True)), rounds)


def _interval(estimate: float, losses: np.ndarray, single: bool) -> Interval:
    """`losses`: of each round, NaN where it drew no labelled object."""
    if single or np.isnan(losses).all():
        return Interval(float(estimate), None, None)
    tail = (100 - CONFIDENCE) / 2
    low, high = np.nanpercentile(losses, [tail, 100 - tail])
    return Interval(float(estimate), float(low), float(high))


@dataclass(frozen=True)
class _ClassMatches:
    """One class's detections in every picture, best score first; those below the last hit count for nothing and are
    not kept. `picture`: int64 (n,). `hits`: for each IoU threshold, where the true positives are in it. `counted`: for
    each, bool (n,), or None if all detections count (those on crowd regions do not)."""

    picture: np.ndarray
    hits: tuple[np.ndarray, ...]
    counted: tuple[np.ndarray | None, ...]


class Matches:
    """A model's detections matched with the truth of a data set, to be measured on any draw of its pictures.

    `truth`: int64 (classes, pictures), labelled objects, without crowd regions. Pictures are in the order of keys.
    """

    def __init__(self, truth: np.ndarray, classes: Sequence[_ClassMatches], recalls: np.ndarray) -> None:
        self.truth, self._classes, self._recalls = truth, tuple(classes), recalls

    @staticmethod
    def of(dataset: Dataset, predictions: Sequence[Detections]) -> Matches:
        """`predictions`: one for each of the data set's pictures, in its order."""
        evaluation = match_coco(dataset, predictions, sizes=False)
        count, pictures = len(dataset.class_names), len(dataset.samples)
        truth = np.zeros((count, pictures), np.int64)
        classes = []
        for k in range(count):
            row = evaluation.evalImgs[k * pictures : (k + 1) * pictures]  # None where a picture has nothing of it
            for i, found in enumerate(row):
                truth[k, i] = 0 if found is None else np.count_nonzero(~found["gtIgnore"].astype(bool))
            classes.append(_class_matches(row, len(evaluation.params.iouThrs)))
        return Matches(truth, classes, evaluation.params.recThrs)

    def sample(self, weights: np.ndarray) -> np.ndarray:
        """mAP50 and mAP50-95 in points, float64 (2, rounds); weights: int64 (rounds, pictures), how often each counts.

        NaN for a round without labelled objects. A class without any in a round is left out of its mean.
        """
        instances = weights @ self.truth.T  # (rounds, classes)
        total = np.zeros((2, len(weights)))
        for start in range(0, len(weights), _CHUNK):
            part = slice(start, start + _CHUNK)
            for k, matches in enumerate(self._classes):
                precision = _average_precision(matches, weights[part], instances[part, k], self._recalls)
                total[:, part] += precision[0], precision.mean(0)
        classes = np.count_nonzero(instances, axis=1)
        return np.divide(100 * total, classes, out=np.full_like(total, np.nan), where=classes > 0)


def _class_matches(row: Sequence[dict[str, Any] | None], thresholds: int) -> _ClassMatches:
    """`row`: what COCOeval found for one class in each picture."""
    present = [(i, found) for i, found in enumerate(row) if found is not None]
    if not present:
        nothing = np.zeros(0, np.int64)
        return _ClassMatches(nothing, (nothing,) * thresholds, (None,) * thresholds)
    scores = np.concatenate([found["dtScores"] for _, found in present])
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools orders equal scores
    picture = np.concatenate([np.full(len(found["dtScores"]), i) for i, found in present])[order]
    ignored = np.concatenate([found["dtIgnore"] for _, found in present], axis=1)[:, order].astype(bool)
    hit = np.concatenate([found["dtMatches"] for _, found in present], axis=1)[:, order].astype(bool) & ~ignored
    used = np.flatnonzero(hit.any(0))
    end = used[-1] + 1 if len(used) else 0
    return _ClassMatches(
        picture[:end],
        tuple(np.flatnonzero(row) for row in hit),
        tuple(~row[:end] if row[:end].any() else None for row in ignored),
    )


def _average_precision(
    matches: _ClassMatches, weights: np.ndarray, instances: np.ndarray, recalls: np.ndarray
) -> np.ndarray:
    """Average precision, 0 to 1, float64 (IoU thresholds, rounds); 0 where a round has no instance.

    COCO interpolates precision at 101 recalls: at each, the best precision at that recall or a higher one. It only
    rises at a true positive, so that looking there is enough: each answers for the recalls that it is first to reach.
    """
    weight = weights[:, matches.picture]  # (rounds, detections)
    seen = np.cumsum(weight, axis=1)
    result = np.zeros((len(matches.hits), len(weights)))
    for t, (hits, counted) in enumerate(zip(matches.hits, matches.counted, strict=True)):
        if not len(hits):
            continue
        true = np.cumsum(weight[:, hits], axis=1)
        all_seen = seen if counted is None else np.cumsum(weight * counted, axis=1)
        precision = true / np.maximum(all_seen[:, hits], 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = true / np.maximum(instances, 1)[:, None]
        reached = np.searchsorted(recalls, recall, side="right")
        result[t] = (best * np.diff(reached, axis=1, prepend=0)).sum(1) / len(recalls)
    return result
