# SPDX-License-Identifier: Apache-2.0
"""Step `boxes`: boxes that are all a little too large or too small, against labels.

A detector may learn where things are and miss how large they are by the same share everywhere: labels were drawn
tighter on this line than on the trainer's pictures, training stopped early, or ran at another size. No quantiser can
mend that; two factors, of width and of height, can. They are medians over labelled objects that the float model finds.
Each half of the pictures is tried with the other half's factors, and only if that gains are they taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yoloq_quantize.dataset import Dataset, Sample, load_labelled
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import IOU_THRESHOLD, SCORE_THRESHOLD
from yoloq_quantize.metrics import (
    MAX_DETECTIONS,
    RATIO_OBJECTS,
    Detections,
    Scale,
    box_ratios,
    measure_accuracy,
    median_ratio,
)
from yoloq_quantize.reference import Head, decode, keep, scale_boxes
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Subject

MOST = 1.5  # or its inverse: boxes that are so far from their labels were not labelled by the same rule


@dataclass(frozen=True)
class BoxFit:
    """`scale`: factors of width and height, (1, 1) where they gain nothing. `measured`: the medians, label through box.
    `pairs`: found objects that they come from. `gain`: points of mAP50-95, each half of the pictures by the other."""

    scale: Scale
    measured: Scale
    pairs: int
    gain: float


def boxes_to_labels(subject: Subject, classes: Sequence[str]) -> tuple[Subject, BoxFit]:
    """The subject whose head scales boxes as the labels beside its calibration pictures want them."""
    truth = load_labelled(subject.pictures.files, classes)
    truth = replace(truth, samples=tuple(sample for sample in truth.samples if sample.labelled))
    if not truth.samples:
        raise QuantizeError(
            "step 'boxes' needs labels of the calibration pictures, in labels/ for images/: add them, or leave it out"
        )
    fit = fit_boxes(_found(subject, truth.samples), truth)
    return replace(subject, head=replace(subject.head, box_scale=fit.scale)), fit


def _found(subject: Subject, samples: Sequence[Sample]) -> list[Detections]:
    """What the float model finds on the pictures, in their pixels."""
    head, runner = Head.of(subject.head), Runner(subject.graph)
    places = {file: place for place, file in enumerate(subject.pictures.files)}
    found = []
    for sample in subject.progress(samples, "boxes and labels"):
        outputs = runner.run(subject.pictures[places[sample.path]])
        tensors = [outputs[output.name] for output in subject.head.outputs]
        seen = decode(head, tensors, subject.head.classes, subject.size, SCORE_THRESHOLD)
        seen = keep(head, seen, IOU_THRESHOLD, MAX_DETECTIONS)
        size = (sample.width, sample.height)
        boxes = subject.pictures.letterbox(size).undo(seen.boxes, size)
        found.append(Detections(boxes, seen.scores, seen.class_ids))
    return found


def fit_boxes(found: Sequence[Detections], truth: Dataset) -> BoxFit:
    """found: the float model's boxes on each of the labelled pictures of `truth`, in its pixels."""
    ratios = [box_ratios(boxes, sample) for boxes, sample in zip(found, truth.samples, strict=True)]
    halves = ratios[0::2], ratios[1::2]
    pairs = sum(map(len, ratios))
    if pairs < RATIO_OBJECTS or not all(sum(map(len, half)) for half in halves):
        raise QuantizeError(
            f"step 'boxes': of the objects labelled on {len(ratios)} calibration pictures the model finds {pairs}; it"
            f" needs {RATIO_OBJECTS}, on two pictures or more: label more, or leave the step out"
        )
    measured = median_ratio(ratios)
    if not all(1 / MOST <= factor <= MOST for factor in measured):
        raise QuantizeError(
            f"step 'boxes': labels are {measured[0]:.2f} times as wide and {measured[1]:.2f} times as high as the"
            " model's boxes; look at the labels, or leave the step out"
        )
    crossed = median_ratio(halves[1]), median_ratio(halves[0])
    tried = [
        scaled(boxes, crossed[place % 2], sample)
        for place, (boxes, sample) in enumerate(zip(found, truth.samples, strict=True))
    ]
    gain = (measure_accuracy(truth, tried).map50_95 or 0.0) - (measure_accuracy(truth, found).map50_95 or 0.0)
    return BoxFit(measured if gain > 0 else (1.0, 1.0), measured, pairs, round(gain, 3))


def scaled(found: Detections, scale: Scale, sample: Sample) -> Detections:
    """The picture's detections with their boxes scaled."""
    return Detections(scale_boxes(found.boxes, scale, (sample.width, sample.height)), found.scores, found.class_ids)
