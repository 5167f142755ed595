# SPDX-License-Identifier: Apache-2.0
"""Expected accuracy against pycocotools on the very labels that were drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.metrics import Detections, measure_accuracy
from yoloq_quantize.mixed import belief
from yoloq_quantize.mixed.belief import Belief


def scene(seed: int, count: int = 12) -> Detections:
    """Boxes of 40 to 90 px in 400 px, scores of all sizes, three classes; best score first."""
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(40, 90, (count, 2))], 1).astype(np.float32)
    scores = np.sort(generator.uniform(0.02, 0.98, count))[::-1].astype(np.float32)
    return Detections(boxes, scores, generator.integers(0, 3, count))


def moved(found: Detections, seed: int, pixels: float) -> Detections:
    generator = np.random.default_rng(seed)
    scores = np.clip(found.scores + generator.normal(0, 0.1, len(found)), 0.01, 1).astype(np.float32)
    boxes = (found.boxes + generator.normal(0, pixels, found.boxes.shape)).astype(np.float32)
    order = np.argsort(-scores)
    return Detections(boxes[order], scores[order], found.class_ids[order])


def by_coco(judge: Belief, found: list[Detections], drawing: int) -> tuple[float, float]:
    samples = []
    for index, drawn in enumerate(judge._pictures):
        real = drawn.real[drawing]
        boxes = drawn.boxes[drawing][real].astype(np.float64)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        key, crowd = f"{index:03}", np.zeros(len(boxes), bool)
        samples.append(Sample(Path(key), key, 400, 400, boxes, drawn.class_ids[real], areas, crowd, True))
    accuracy = measure_accuracy(Dataset(Path(), "", ("a", "b", "c"), tuple(samples)), found)
    return accuracy.map50, accuracy.map50_95


def test_it_is_cocos_mean_over_the_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belief, "IGNORED", 0.0)
    pictures = [scene(seed) for seed in range(6)]
    judge = Belief(pictures, 3)
    for found in (pictures, [moved(one, seed, 4) for seed, one in enumerate(pictures)]):
        expected = np.mean([by_coco(judge, found, drawing) for drawing in range(belief.DRAWINGS)], axis=0)
        assert judge.measure(found) == pytest.approx(tuple(expected), abs=0.02)


def test_small_moves_cost_less_than_large_ones() -> None:
    pictures = [scene(seed) for seed in range(10)]
    judge = Belief(pictures, 3)
    losses = [
        judge.measure(pictures)[1] - judge.measure([moved(p, s, pixels) for s, p in enumerate(pictures)])[1]
        for pixels in (0.5, 3, 9)
    ]
    assert losses[0] < losses[1] < losses[2]


def test_drawings_are_the_same_each_time() -> None:
    pictures = [scene(seed) for seed in range(3)]
    assert Belief(pictures, 3).measure(pictures) == Belief(pictures, 3).measure(pictures)


def test_nothing_seen_means_no_objects() -> None:
    assert Belief([Detections.empty()], 3).objects == 0
    faint = replace(scene(0), scores=np.full(12, 0.01, np.float32))
    assert Belief([faint], 3).objects == 0
