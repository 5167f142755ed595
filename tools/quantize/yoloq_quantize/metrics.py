# SPDX-License-Identifier: Apache-2.0
"""Detection accuracy by COCO's rules, and agreement of two models where there are no labels.

AP is the mean of 101 interpolated precisions, over IoU 0.50 to 0.95 in steps of 0.05, with at most 300 detections per
picture and class. Figures are points, 0 to 100; None where there is no ground truth to measure on.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.errors import QuantizeError

MAX_DETECTIONS = 300
AGREEMENT_SCORE = 0.25  # detections that a user sees by default
AGREEMENT_SCORE_TOLERANCE = 0.05
AGREEMENT_IOU = 0.9
RATIO_IOU = 0.5
RATIO_OBJECTS = 50  # found ones, for a ratio of labels to boxes: the median of fewer is known to a percent or two
RATIO_TOLD = 0.02  # from 1, that people are told of

Scale = tuple[float, float]  # of width and of height


@dataclass(frozen=True)
class Detections:
    """One picture's detections: boxes float32 (n, 4) x1 y1 x2 y2 in pixels, scores float32 (n,), class_ids int (n,)."""

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.class_ids[keep])

    @staticmethod
    def empty() -> Detections:
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class ClassAccuracy:
    """One class: AP at IoU 0.5 and over IoU 0.5 to 0.95, in points; instances in the ground truth."""

    name: str
    ap50: float | None
    ap50_95: float | None
    instances: int


@dataclass(frozen=True)
class Accuracy:
    """A model on labelled pictures. Sizes are COCO's: small below 32² square pixels, large above 96²."""

    map50: float | None
    map75: float | None
    map50_95: float | None
    small: float | None  # mAP50-95
    medium: float | None
    large: float | None
    per_class: tuple[ClassAccuracy, ...]
    pictures: int
    instances: int
    detections: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Agreement:
    """How far two models say the same, in points: shares of detections that the other model confirms."""

    candidate_confirmed: float | None  # of the candidate's detections
    reference_confirmed: float | None  # of the reference's detections
    candidate_detections: int
    reference_detections: int
    pictures: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_accuracy(dataset: Dataset, predictions: Sequence[Detections]) -> Accuracy:
    """Accuracy of `predictions`, one for each of `dataset.samples` in their order.

    Deterministic, whatever the order of pictures and detections: equal scores are put in a fixed order first.
    """
    evaluation = match_coco(dataset, predictions)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # float64 (10 IoUs, 101 recalls, classes, 4 areas)
    instances = np.zeros(len(dataset.class_names), np.int64)
    for sample in dataset.samples:
        np.add.at(instances, sample.class_ids[~sample.crowd], 1)
    every, small, medium, large = (precision[:, :, :, area] for area in range(4))
    return Accuracy(
        map50=_mean_points(every[0]),
        map75=_mean_points(every[5]),
        map50_95=_mean_points(every),
        small=_mean_points(small),
        medium=_mean_points(medium),
        large=_mean_points(large),
        per_class=tuple(
            ClassAccuracy(name, _mean_points(every[0, :, k]), _mean_points(every[:, :, k]), int(instances[k]))
            for k, name in enumerate(dataset.class_names)
        ),
        pictures=len(dataset.samples),
        instances=int(instances.sum()),
        detections=sum(len(p) for p in predictions),
    )


def _mean_points(precision: np.ndarray) -> float | None:
    """The mean of a slice of COCO's precision array, in points; -1 marks classes without ground truth."""
    valid = precision[precision > -1]
    return float(valid.mean() * 100) if valid.size else None


def match_coco(dataset: Dataset, predictions: Sequence[Detections], *, sizes: bool = True) -> COCOeval:
    """Detections matched with the truth, picture by picture in the order of their keys: `evalImgs` by (class, area,
    picture). sizes: for small, medium and large objects too, not only for all."""
    if len(predictions) != len(dataset.samples):
        raise ValueError(f"{len(predictions)} predictions for {len(dataset.samples)} pictures; give one per picture")
    class_count = len(dataset.class_names)
    order = sorted(range(len(predictions)), key=lambda i: dataset.samples[i].key)
    truth, found = [], []
    for image_id, i in enumerate(order, 1):
        truth += _truth_rows(dataset.samples[i], image_id, len(truth))
        found += _found_rows(predictions[i], image_id, len(found), class_count)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        reference = COCO()
        reference.dataset = {
            "images": [{"id": i} for i in range(1, len(order) + 1)],
            "categories": [{"id": k} for k in range(class_count)],
            "annotations": truth,
        }
        reference.createIndex()
        results = COCO()
        results.dataset = {**reference.dataset, "annotations": found}
        results.createIndex()
        evaluation = COCOeval(reference, results, "bbox")
        # The values come from the precision array: summarize() would look for 100 detections in several places.
        evaluation.params.maxDets = [MAX_DETECTIONS]
        if not sizes:
            evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.evaluate()
    return evaluation


def _truth_rows(sample: Sample, image_id: int, first: int) -> list[dict[str, Any]]:
    x1, y1, x2, y2 = sample.boxes.astype(np.float64).T
    boxes = np.stack([x1, y1, x2 - x1, y2 - y1], 1)
    return [
        {
            "id": first + i + 1,  # from 1: pycocotools takes 0 for "not matched"
            "image_id": image_id,
            "category_id": int(sample.class_ids[i]),
            "bbox": boxes[i].tolist(),
            "area": float(sample.areas[i]),
            "iscrowd": int(sample.crowd[i]),
        }
        for i in range(len(boxes))
    ]


def _found_rows(prediction: Detections, image_id: int, first: int, class_count: int) -> list[dict[str, Any]]:
    x1, y1, x2, y2 = prediction.boxes.astype(np.float64).reshape(-1, 4).T
    order = np.lexsort((y2, x2, y1, x1, prediction.class_ids, -prediction.scores.astype(np.float64)))
    rows = []
    for i in order:
        class_id = int(prediction.class_ids[i])
        if not 0 <= class_id < class_count:
            raise QuantizeError(f"the model found class {class_id}, the data set has {class_count}; use the right data")
        width, height = x2[i] - x1[i], y2[i] - y1[i]
        rows.append(
            {
                "id": first + len(rows) + 1,
                "image_id": image_id,
                "category_id": class_id,
                "bbox": [x1[i], y1[i], width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": float(prediction.scores[i]),
            }
        )
    return rows


def measure_agreement(candidate: Sequence[Detections], reference: Sequence[Detections]) -> Agreement:
    """Shares of detections (score >= 0.25) that the other model confirms: same class, IoU >= 0.9, score within 0.05.

    Give detections down to a score of 0.2 or lower: one just below 0.25 may confirm one just above.
    """
    confirmed, confirming = [0, 0], [0, 0]
    for ours, theirs in zip(candidate, reference, strict=True):
        for side, (subject, witness) in enumerate(((ours, theirs), (theirs, ours))):
            subject = subject.above(AGREEMENT_SCORE)
            confirming[side] += len(subject)
            confirmed[side] += len(match_pairs(subject, witness, AGREEMENT_IOU, AGREEMENT_SCORE_TOLERANCE))
    share = [100.0 * hit / total if total else None for hit, total in zip(confirmed, confirming, strict=True)]
    return Agreement(share[0], share[1], confirming[0], confirming[1], len(candidate))


def match_pairs(a: Detections, b: Detections, min_iou: float, max_score_gap: float = 1.0) -> np.ndarray:
    """One-to-one pairs of the same class, best IoU first: int64 (pairs, 2), indices into `a` and `b`."""
    iou = box_iou(a.boxes, b.boxes)
    gap = np.abs(a.scores[:, None].astype(np.float64) - b.scores[None, :])
    allowed = (a.class_ids[:, None] == b.class_ids[None, :]) & (iou >= min_iou) & (gap <= max_score_gap)
    rows, columns = np.nonzero(allowed)
    order = np.lexsort((columns, rows, -iou[rows, columns]))
    taken_a, taken_b, pairs = set(), set(), []
    for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            pairs.append((i, j))
    return np.array(pairs, np.int64).reshape(-1, 2)


def box_ratios(found: Detections, truth: Sample) -> np.ndarray:
    """Label through box of one picture's objects that are found (score >= 0.25, same class, IoU >= 0.5): float64
    (n, 2), of widths and of heights."""
    seen, plain = found.above(AGREEMENT_SCORE), ~truth.crowd
    labels = Detections(truth.boxes[plain], np.ones(int(plain.sum()), np.float32), truth.class_ids[plain])
    pairs = match_pairs(seen, labels, RATIO_IOU)
    ours, theirs = seen.boxes[pairs[:, 0]].astype(np.float64), labels.boxes[pairs[:, 1]].astype(np.float64)
    return (theirs[:, 2:] - theirs[:, :2]) / (ours[:, 2:] - ours[:, :2])


def median_ratio(ratios: Sequence[np.ndarray]) -> Scale:
    """The medians over all pictures' `box_ratios`: factors that boxes lack to be as large as labels."""
    width, height = np.median(np.concatenate(ratios), axis=0)
    return round(float(width), 4), round(float(height), 4)


def size_hint(found: Sequence[Detections], samples: Sequence[Sample]) -> str | None:
    """What to say where all boxes are a little too large or too small, which costs mAP50-95 and is mended for nothing;
    None where they are not, or too few objects are found."""
    ratios = [box_ratios(boxes, sample) for boxes, sample in zip(found, samples, strict=True)]
    if sum(map(len, ratios)) < RATIO_OBJECTS:
        return None
    width, height = median_ratio(ratios)
    if max(abs(width - 1), abs(height - 1)) < RATIO_TOLD:
        return None
    return f"labels are {width:.3f} times as wide and {height:.3f} times as high as boxes; see quantize --fit-boxes"


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every pair, float64 (len(a), len(b)); boxes without area have IoU 0."""
    a, b = a.astype(np.float64).reshape(-1, 1, 4), b.astype(np.float64).reshape(1, -1, 4)
    side = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    inter = side[..., 0] * side[..., 1]
    union = _area(a) + _area(b) - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[..., 2] - boxes[..., 0], 0, None) * np.clip(boxes[..., 3] - boxes[..., 1], 0, None)
