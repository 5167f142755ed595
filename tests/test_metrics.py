# SPDX-License-Identifier: Apache-2.0
"""COCO accuracy and agreement against figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.metrics import Detections, box_iou, match_pairs, measure_accuracy, measure_agreement

BOX = [10.0, 10.0, 50.0, 50.0]  # 1600 square pixels: medium
FAR = [100.0, 100.0, 140.0, 140.0]
FARTHER = [200.0, 200.0, 240.0, 240.0]


def sample(key: str, boxes: list, ids: list, crowd: list | None = None) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    areas = (array[:, 2] - array[:, 0]).astype(np.float64) * (array[:, 3] - array[:, 1])
    flags = np.array(crowd if crowd is not None else [False] * len(ids), bool)
    return Sample(Path(key), key, 640, 640, array, np.array(ids, np.int64), areas, flags, True)


def dataset(*samples: Sample, classes: int = 2) -> Dataset:
    return Dataset(Path("data.yaml"), "val", tuple(f"c{i}" for i in range(classes)), samples)


def found(boxes: list, scores: list, ids: list) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(ids, np.int64))


def points(recall_points: int, precision: float = 1.0) -> float:
    """AP in points if `recall_points` of the 101 have this precision and the others 0."""
    return 100.0 * recall_points * precision / 101


def test_perfect_detections_score_100() -> None:
    data = dataset(sample("a", [BOX, FAR], [0, 1]), sample("b", [], []))
    accuracy = measure_accuracy(data, [found([BOX, FAR], [0.9, 0.8], [0, 1]), Detections.empty()])
    for value in (accuracy.map50, accuracy.map75, accuracy.map50_95, accuracy.medium):
        assert value == pytest.approx(100)
    assert (accuracy.small, accuracy.large) == (None, None)
    assert (accuracy.pictures, accuracy.instances, accuracy.detections) == (2, 2, 2)


def test_a_miss_leaves_the_recall_points_it_reaches() -> None:
    accuracy = measure_accuracy(dataset(sample("a", [BOX, FAR], [0, 0])), [found([BOX], [0.9], [0])])
    assert accuracy.map50_95 == pytest.approx(points(51))  # recall 0.00 to 0.50
    assert [c.ap50 for c in accuracy.per_class] == [pytest.approx(points(51)), None]
    assert [c.instances for c in accuracy.per_class] == [2, 0]


def test_a_duplicate_is_a_false_positive() -> None:
    data = dataset(sample("a", [BOX, FAR], [0, 0]))
    boxes = [BOX, BOX, FAR]
    accuracy = measure_accuracy(data, [found(boxes, [0.9, 0.8, 0.7], [0, 0, 0])])
    # Precision 1 up to recall 0.5, then 2 of 3.
    assert accuracy.map50 == pytest.approx(points(51) + points(50, 2 / 3))
    late = measure_accuracy(data, [found(boxes, [0.9, 0.6, 0.7], [0, 0, 0])])
    assert late.map50 == pytest.approx(100)  # behind the last hit it costs nothing


def test_a_wrong_class_counts_for_neither() -> None:
    accuracy = measure_accuracy(dataset(sample("a", [BOX, FAR], [0, 1])), [found([BOX, FAR], [0.9, 0.9], [0, 0])])
    assert [c.ap50 for c in accuracy.per_class] == [pytest.approx(100), pytest.approx(0)]
    assert accuracy.map50 == pytest.approx(50)


def test_overlap_decides_which_thresholds_are_passed() -> None:
    moved = [BOX[0] + 5, BOX[1], BOX[2] + 5, BOX[3]]  # IoU 35 / 45 = 0.777...: passes 0.50 to 0.75, six of ten
    accuracy = measure_accuracy(dataset(sample("a", [BOX], [0])), [found([moved], [0.9], [0])])
    assert (accuracy.map50, accuracy.map75) == (pytest.approx(100), pytest.approx(100))
    assert accuracy.map50_95 == pytest.approx(60)


def test_300_detections_of_a_class_count_and_no_more() -> None:
    data = dataset(sample("a", [BOX], [0]))

    def ap(false_positives: int) -> float:
        boxes = [FAR] * false_positives + [BOX]
        scores = [0.9] * false_positives + [0.5]
        return measure_accuracy(data, [found(boxes, scores, [0] * len(boxes))]).map50

    assert ap(299) == pytest.approx(points(101, 1 / 300))
    assert ap(300) == 0


def test_small_and_large_objects_are_told_apart() -> None:
    small, large = [0.0, 0.0, 20.0, 20.0], [300.0, 300.0, 500.0, 500.0]
    data = dataset(sample("a", [small, large], [0, 0]))
    accuracy = measure_accuracy(data, [found([large], [0.9], [0])])
    assert (accuracy.small, accuracy.medium, accuracy.large) == (0, None, pytest.approx(100))


def test_crowd_regions_are_neither_hit_nor_miss() -> None:
    data = dataset(sample("a", [BOX, FAR], [0, 0], crowd=[False, True]))
    accuracy = measure_accuracy(data, [found([FAR, BOX], [0.9, 0.8], [0, 0])])
    assert (accuracy.map50, accuracy.instances) == (pytest.approx(100), 1)


def test_no_detections_and_no_truth() -> None:
    assert measure_accuracy(dataset(sample("a", [BOX], [0])), [Detections.empty()]).map50_95 == 0
    assert measure_accuracy(dataset(sample("a", [], [])), [found([BOX], [0.9], [0])]).map50_95 is None


def test_order_of_pictures_and_detections_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    samples, predictions = [], []
    for i in range(12):
        corner = rng.uniform(0, 500, (6, 2))
        boxes = np.hstack([corner, corner + rng.uniform(10, 120, (6, 2))])
        ids = rng.integers(0, 3, 6)
        samples.append(sample(f"{i:02}", boxes.tolist(), ids.tolist()))
        near = np.vstack([boxes + rng.normal(0, 4, boxes.shape), boxes[:2]])
        scores = rng.integers(1, 4, 8) / 4  # many equal scores
        predictions.append(found(near.tolist(), scores.tolist(), [*ids.tolist(), 0, 1]))
    expected = measure_accuracy(dataset(*samples, classes=3), predictions)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(samples))
        mixed = []
        for i in order:
            p, inner = predictions[i], rng.permutation(len(predictions[i]))
            mixed.append(Detections(p.boxes[inner], p.scores[inner], p.class_ids[inner]))
        assert measure_accuracy(dataset(*(samples[i] for i in order), classes=3), mixed) == expected
    assert 0 < expected.map50_95 < 100


def test_it_prints_nothing_and_is_json(capfd: pytest.CaptureFixture) -> None:
    accuracy = measure_accuracy(dataset(sample("a", [BOX], [0])), [found([BOX], [0.9], [0])])
    assert capfd.readouterr().out == ""
    assert json.loads(json.dumps(accuracy.to_json(), allow_nan=False))["per_class"][0]["ap50"] == pytest.approx(100)


def test_misuse_is_refused() -> None:
    data = dataset(sample("a", [BOX], [0]))
    with pytest.raises(ValueError, match="0 predictions for 1 pictures"):
        measure_accuracy(data, [])
    with pytest.raises(QuantizeError, match="found class 2, the data set has 2"):
        measure_accuracy(data, [found([BOX], [0.9], [2])])


def test_agreement_counts_both_ways() -> None:
    ours = found([BOX, FAR, FARTHER], [0.90, 0.80, 0.24], [0, 0, 0])
    theirs = found([BOX, FAR, FARTHER], [0.87, 0.70, 0.26], [0, 0, 0])
    agreement = measure_agreement([ours], [theirs])
    # FAR differs by 0.1 in score; FARTHER is visible in one model only, and confirmed by the other's 0.24.
    assert agreement.candidate_confirmed == pytest.approx(100 * 1 / 2)
    assert agreement.reference_confirmed == pytest.approx(100 * 2 / 3)
    assert (agreement.candidate_detections, agreement.reference_detections) == (2, 3)


def test_agreement_needs_class_overlap_and_one_to_one() -> None:
    shifted = [BOX[0] + 3, *BOX[1:]]  # IoU 37 / 40 = 0.925
    far_shifted = [BOX[0] + 5, *BOX[1:]]  # IoU 35 / 40 = 0.875
    one = found([BOX], [0.9], [0])
    assert measure_agreement([one], [found([shifted], [0.9], [0])]).candidate_confirmed == 100
    assert measure_agreement([one], [found([far_shifted], [0.9], [0])]).candidate_confirmed == 0
    assert measure_agreement([one], [found([BOX], [0.9], [1])]).candidate_confirmed == 0
    assert measure_agreement([found([BOX, BOX], [0.9, 0.9], [0, 0])], [one]).candidate_confirmed == 50
    assert measure_agreement([Detections.empty()], [Detections.empty()]).candidate_confirmed is None


def test_pairs_take_the_best_overlap_first() -> None:
    near = [BOX[0] + 1, *BOX[1:]]
    pairs = match_pairs(found([near, BOX], [0.9, 0.8], [0, 0]), found([BOX], [0.9], [0]), min_iou=0.5)
    assert pairs.tolist() == [[1, 0]]


def test_iou_of_boxes_without_area_is_0() -> None:
    line = np.array([[10, 10, 10, 50]])
    np.testing.assert_array_equal(box_iou(line, np.array([BOX, [10, 10, 10, 50]])), [[0, 0]])
    np.testing.assert_allclose(box_iou(np.array([BOX]), np.array([BOX, [30, 10, 70, 50]])), [[1, 1 / 3]])
