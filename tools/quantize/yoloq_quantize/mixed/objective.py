# SPDX-License-Identifier: Apache-2.0
"""What a quantised graph loses, measured on calibration pictures; validation pictures are never touched.

Three measures, from sharp and noisy to smooth:

- accuracy on labels, where they lie beside the pictures (COCO's rules);
- expected accuracy: against labels drawn from what FP32 believes (belief.py); points of mAP without labels;
- error of the raw head: squared change of box sides and scores at the cells where FP32 sees something. Errors of
  independent quantisers add up in squares, so those of parts can be compared with that of the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.metrics import MAX_DETECTIONS, Detections, match_pairs, measure_accuracy, size_hint
from yoloq_quantize.mixed.belief import SPREAD, Belief
from yoloq_quantize.reference import Head as DecodeHead
from yoloq_quantize.reference import decode, decode_cells, keep
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Subject

SCORE_THRESHOLD, IOU_THRESHOLD = 0.001, 0.7  # of accuracy everywhere in the house
PICTURES = 64  # that a score reads
RAW_PICTURES = 8  # that a raw error reads
VISIBLE = 0.05  # cells of a lower score do not count as seen
SCORE_VARIANCE = 0.2  # p (1 - p) of an object seen with score p
NOISE = 0.2  # points that accuracy on PICTURES labelled pictures moves by chance
DOUBT = 0.5  # of an expected drop: how far it may be from the true one

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class NothingSeenError(QuantizeError):
    """There is nothing to measure a loss by."""


@dataclass(frozen=True)
class Points:
    """mAP50 and mAP50-95, in points."""

    map50: float
    map50_95: float

    def drop_to(self, other: Points) -> float:
        """The worse of the two drops, in points."""
        return max(self.map50 - other.map50, self.map50_95 - other.map50_95)


@dataclass(frozen=True)
class Raw:
    """Mean squares over seen cells, weighted by score: change of a box's sides (in sides), change of a score."""

    box: float
    score: float

    @staticmethod
    def of(sums: np.ndarray) -> Raw:
        """From sums over pictures: weighted squares of both changes, and weights."""
        weight = max(sums[2], np.finfo(np.float64).tiny)
        return Raw(float(sums[0] / weight), float(sums[1] / weight))

    @property
    def error(self) -> float:
        """Both against the variance that a trained model's answers have anyway."""
        return self.box / SPREAD**2 + self.score / SCORE_VARIANCE


@dataclass(frozen=True)
class Score:
    """A graph's accuracy on the calibration pictures, and its drops against FP32's in points, the worse of mAP50 and
    mAP50-95. labelled, labelled_drop: None without labels. `loss` is what a search should judge by."""

    labelled: Points | None
    expected: Points
    labelled_drop: float | None
    expected_drop: float
    loss: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Objective:
    """FP32's answers, computed once, and the measures against them."""

    def __init__(self, subject: Subject, dataset: Dataset | None = None, pictures: int = PICTURES) -> None:
        """`dataset`: labels of calibration pictures, found by path; None: there are none. `pictures`: to read."""
        self.subject, self.head = subject, DecodeHead.of(subject.head)
        self.stream = subject.pictures.spread(pictures)
        runner = Runner(subject.graph)
        self._tensors = [self._ordered(runner.run(p)) for p in subject.progress(self.stream, "float answers")]
        samples = {} if dataset is None else {sample.path.resolve(): sample for sample in dataset.samples}
        found = [samples.get(file.resolve()) for file in self.stream.files]
        self._truth = [self._in_input(s) if s is not None and s.labelled else None for s in found]
        self.labelled = sum(truth is not None for truth in self._truth)
        own = [self._detect(tensors) for tensors in self._tensors]
        self._belief = Belief(own, self._classes)
        if not self._belief.objects:
            raise NothingSeenError(
                "the float model finds nothing on the calibration pictures; give pictures of its objects, or leave out"
                " what searches: --recipe fast"
            )
        self.float_labelled, self.float_expected = self._measure(own)
        seen = [(one, truth) for one, truth in zip(own, self._truth, strict=True) if truth is not None]
        self.size_hint = size_hint([one for one, _ in seen], [truth for _, truth in seen])

    def score(self, run: Run) -> Score:
        """`run`: a picture to the raw tensors by name, as `Runner.run` does."""
        found = [self._detect(self._ordered(run(p))) for p in self.subject.progress(self.stream, "measuring")]
        labelled, expected = self._measure(found)
        drop = self.float_expected.drop_to(expected)
        if labelled is None:
            return Score(None, expected, None, drop, drop)
        measured = self.float_labelled.drop_to(labelled)
        return Score(labelled, expected, measured, drop, combined_loss(measured, drop, self.labelled))

    def raw(self, run: Run, pictures: int = RAW_PICTURES) -> Raw:
        """The raw head's error on `pictures` pictures, spread evenly; 0 for FP32 itself."""
        return Raw.of(sum(self.raw_sums(place, run(self.stream[place])) for place in self.places(pictures)))

    def places(self, pictures: int) -> list[int]:
        """Which of the stream's pictures a raw error reads: so many, spread evenly."""
        count = min(pictures, len(self.stream))
        return [i * len(self.stream) // count for i in range(count)]

    def raw_sums(self, place: int, outputs: dict[str, np.ndarray]) -> np.ndarray:
        """What a picture adds to `Raw.of`."""
        return self._cells_error(self._tensors[place], self._ordered(outputs))

    @property
    def _classes(self) -> int:
        return self.subject.head.classes

    def _ordered(self, outputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [outputs[output.name] for output in self.subject.head.outputs]

    def _detect(self, tensors: list[np.ndarray]) -> Detections:
        """In input pixels."""
        found = decode(self.head, tensors, self._classes, self.subject.size, SCORE_THRESHOLD)
        found = keep(self.head, found, IOU_THRESHOLD, MAX_DETECTIONS)
        return Detections(found.boxes, found.scores, found.class_ids)

    def _in_input(self, sample: Sample) -> Sample:
        """The sample with its boxes in input pixels."""
        size = (sample.width, sample.height)
        fitted = self.subject.pictures.letterbox(size)
        scale = np.array([fitted.width / size[0], fitted.height / size[1]] * 2)
        boxes = sample.boxes * scale + np.array([fitted.left, fitted.top] * 2)
        return replace(sample, boxes=boxes.astype(np.float32))

    def _measure(self, found: list[Detections]) -> tuple[Points | None, Points]:
        expected = Points(*self._belief.measure(found))
        if not self.labelled:
            return None, expected
        pairs = [(truth, one) for truth, one in zip(self._truth, found, strict=True) if truth is not None]
        names = tuple(map(str, range(self._classes)))
        dataset = Dataset(self.stream.files[0].parent, "", names, tuple(truth for truth, _ in pairs))
        return _points(dataset, [one for _, one in pairs]), expected

    def _cells_error(self, ours: list[np.ndarray], theirs: list[np.ndarray]) -> np.ndarray:
        """Weighted sums of a picture: squared change of sides, squared change of scores, weights."""
        if self.head.outputs[0][0] == "end2end":
            return self._rows_error(ours, theirs)
        (boxes, scores), (moved, changed) = (
            decode_cells(self.head, tensors, self._classes, self.subject.size) for tensors in (ours, theirs)
        )
        weights = np.maximum(scores, changed).astype(np.float64)
        cells, classes = np.nonzero(weights >= VISIBLE)
        weights = weights[cells, classes]
        sides = np.maximum(np.tile(boxes[cells, 2:] - boxes[cells, :2], 2), 1)  # pixels
        shift = (np.clip((moved[cells] - boxes[cells]) / sides, -1, 1) ** 2).mean(1)
        gap = (changed[cells, classes].astype(np.float64) - scores[cells, classes]) ** 2
        return np.array([(weights * shift).sum(), (weights * gap).sum(), weights.sum()])

    def _rows_error(self, ours: list[np.ndarray], theirs: list[np.ndarray]) -> np.ndarray:
        """The same for end-to-end tables, whose rows come in any order: pairs that overlap; a lost row counts whole."""
        seen, found = self._detect(ours).above(VISIBLE), self._detect(theirs)
        weights = seen.scores.astype(np.float64)
        shift, gap = np.ones(len(seen)), weights**2
        pairs = match_pairs(seen, found, 0.3)
        a, b = seen.boxes[pairs[:, 0]].astype(np.float64), found.boxes[pairs[:, 1]]
        sides = np.maximum(np.tile(a[:, 2:] - a[:, :2], 2), 1)
        shift[pairs[:, 0]] = (np.clip((b - a) / sides, -1, 1) ** 2).mean(1)
        gap[pairs[:, 0]] = (found.scores[pairs[:, 1]] - weights[pairs[:, 0]]) ** 2
        return np.array([(weights * shift).sum(), (weights * gap).sum(), weights.sum()])


def combined_loss(labelled: float, expected: float, pictures: int) -> float:
    """The best guess of the loss from a noisy and a smooth measurement, each weighted by its certainty; points."""
    noise = NOISE * np.sqrt(PICTURES / max(1, pictures))
    doubt = DOUBT * max(abs(expected), 0.1)
    share = doubt**2 / (doubt**2 + noise**2)
    return float(share * labelled + (1 - share) * expected)


def _points(dataset: Dataset, found: list[Detections]) -> Points:
    accuracy = measure_accuracy(dataset, found)
    return Points(accuracy.map50 or 0.0, accuracy.map50_95 or 0.0)
