# SPDX-License-Identifier: Apache-2.0
"""The pictures on which INT8 loses most of what the float model found, drawn side by side with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.metrics import AGREEMENT_SCORE, Detections, match_pairs
from yoloq_quantize.plots import mark_truth, side_by_side
from yoloq_quantize.report import replacing

SHOWN = 6
MATCH_IOU = 0.5
MAX_SIDE = 900  # pixels of a drawn panel


@dataclass(frozen=True)
class WorstPicture:
    """`file`: relative to the report. `lost`: overlap with the truth that INT8 lost, summed over the objects; an object
    that is no longer found counts with all of its overlap, a box that moved with a little."""

    key: str
    file: str
    lost: float
    objects: int
    found_float: int
    found_int8: int


def overlaps(sample: Sample, found: Detections) -> np.ndarray:
    """For each labelled object the IoU of the visible detection of its class (score >= 0.25, IoU >= 0.5), else 0."""
    keep = ~sample.crowd
    truth = Detections(sample.boxes[keep], np.ones(int(keep.sum()), np.float32), sample.class_ids[keep])
    seen = found.above(AGREEMENT_SCORE)
    result = np.zeros(len(truth))
    for i, j in match_pairs(truth, seen, MATCH_IOU):
        result[i] = _iou(truth.boxes[i], seen.boxes[j])
    return result


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).astype(np.float64)
    inter = float(side.prod())
    areas = [float(np.prod((box[2:] - box[:2]).astype(np.float64))) for box in (a, b)]
    return inter / (sum(areas) - inter)


def find_worst(
    dataset: Dataset, reference: Sequence[Detections], candidate: Sequence[Detections]
) -> list[tuple[int, float, int, int, int]]:
    """(index, lost overlap, objects, found by the reference, found by the candidate), the worst first; only losses."""
    rows = []
    for i, (sample, before, after) in enumerate(zip(dataset.samples, reference, candidate, strict=True)):
        a, b = overlaps(sample, before), overlaps(sample, after)
        rows.append((i, float(a.sum() - b.sum()), len(a), int((a > 0).sum()), int((b > 0).sum())))
    rows.sort(key=lambda row: (-row[1], row[0]))
    return [row for row in rows[:SHOWN] if row[1] > 0]


def draw_worst(
    dataset: Dataset,
    reference: tuple[str, Sequence[Detections]],
    candidate: tuple[str, Sequence[Detections]],
    folder: Path,
) -> tuple[WorstPicture, ...]:
    """Writes the pictures into `folder`/pictures. `reference`, `candidate`: a caption, and the detections."""
    shown = []
    for rank, (i, lost, *counts) in enumerate(find_worst(dataset, reference[1], candidate[1]), 1):
        sample = dataset.samples[i]
        scale = min(1.0, MAX_SIDE / max(sample.width, sample.height))
        names = dataset.class_names
        panels = [(caption, _panel(sample, runs[i], names, scale)) for caption, runs in (reference, candidate)]
        file = f"pictures/worst-{rank}.jpg"
        with replacing(folder / file) as part:
            side_by_side(panels).save(part, quality=88)
        shown.append(WorstPicture(sample.key, file, lost, *counts))
    return tuple(shown)


def _panel(sample: Sample, found: Detections, names: Sequence[str], scale: float) -> Image.Image:
    image = Image.fromarray(cv2.cvtColor(sample.read(), cv2.COLOR_BGR2RGB))
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    marked = mark_truth(image, sample.boxes[~sample.crowd] * scale)
    return annotate(marked, Detections(found.boxes * scale, found.scores, found.class_ids), names)


def annotate(image: Image.Image, found: Detections, names: Sequence[str]) -> Image.Image:
    """What a user sees: the detections at the usual threshold."""
    import yoloq
    from yoloq.draw import draw

    found = found.above(AGREEMENT_SCORE)
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True)
    return draw(image, [yoloq.Detection(*box, score, class_id, names[class_id]) for box, score, class_id in rows])
