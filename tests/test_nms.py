# SPDX-License-Identifier: Apache-2.0
"""Native NMS and candidate list against plain NumPy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import native_decode
import reference_decode
from conftest import dummy_manifest
from native_abi import Detector
from reference_decode import CANDIDATE


@pytest.fixture(scope="module")
def library(testing_library: str) -> ctypes.CDLL:
    """The testing library, loaded."""
    return ctypes.CDLL(testing_library)


def random_candidates(seed: int, count: int, classes: int, *, score_levels: int = 0) -> np.ndarray:
    """Overlapping boxes in 200 x 200 px; a few scores only, for ties, if score_levels is given."""
    rng = np.random.default_rng(seed)
    out = np.zeros(count, CANDIDATE)
    center, size = rng.uniform(0, 200, (2, count)), rng.uniform(5, 60, (2, count))
    out["x1"], out["y1"] = center - size / 2
    out["x2"], out["y2"] = center + size / 2
    scores = rng.uniform(0.001, 1, count)
    out["score"] = np.ceil(scores * score_levels) / score_levels if score_levels else scores
    out["class_id"] = rng.integers(0, classes, count)
    out["position"] = rng.permutation(count)
    return out


def box(x1: float, y1: float, x2: float, y2: float, score: float, class_id: int = 0, position: int = 0) -> tuple:
    """A candidate's fields in order."""
    return (x1, y1, x2, y2, score, class_id, position)


@pytest.mark.parametrize("iou", [0.05, 0.45, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("classes", [1, 5, 80])
@pytest.mark.parametrize("score_levels", [0, 7])
def test_equals_plain_reference(library: ctypes.CDLL, iou: float, classes: int, score_levels: int) -> None:
    for seed in range(5):
        candidates = random_candidates(seed, 600, classes, score_levels=score_levels)
        expected = reference_decode.nms(candidates, iou, 10000)
        assert native_decode.nms(library, candidates, iou, 10000).tobytes() == expected.tobytes()
        assert len(expected) == 600 if iou == 1.0 else iou > 0.5 or len(expected) < 600


def test_reference_without_classes_is_told_apart(library: ctypes.CDLL) -> None:
    candidates = random_candidates(1, 600, 5)
    mixed = candidates.copy()
    mixed["class_id"] = 0
    kept = native_decode.nms(library, candidates, 0.45, 10000)
    assert len(kept) > len(reference_decode.nms(mixed, 0.45, 10000))
    assert kept.tobytes() != reference_decode.nms(candidates, 0.55, 10000).tobytes()


@pytest.mark.parametrize("limit", [0, 1, 7, 50, 300])
def test_max_detections_cuts_the_tail(library: ctypes.CDLL, limit: int) -> None:
    candidates = random_candidates(3, 900, 4)
    everything = reference_decode.nms(candidates, 0.5, 10000)
    assert len(everything) > limit
    assert native_decode.nms(library, candidates, 0.5, limit).tobytes() == everything[:limit].tobytes()


def test_threshold_is_not_suppressed_itself(library: ctypes.CDLL) -> None:
    # the IoU is exactly one half: 50 / 100
    pair = np.array([box(0, 0, 10, 10, 0.9), box(0, 0, 10, 5, 0.8)], CANDIDATE)
    assert len(native_decode.nms(library, pair, 0.5, 10)) == 2
    assert len(native_decode.nms(library, pair, float(np.nextafter(np.float32(0.5), np.float32(0))), 10)) == 1


def test_degenerate_boxes_suppress_nothing(library: ctypes.CDLL) -> None:
    boxes = [
        box(0, 0, 10, 10, 0.9, 0, 0),
        box(5, 5, 5, 8, 0.8, 0, 1),  # no width
        box(5, 5, 5, 8, 0.7, 0, 2),
        box(8, 8, 2, 2, 0.6, 0, 3),  # inside out: the product of its sides would be positive
        box(8, 8, 2, 2, 0.5, 0, 4),
        box(4, 4, 4, 4, 0.4, 0, 5),  # a point
        box(0, 8, 10, 2, 0.38, 0, 6),  # upside down
        box(0, 8, 10, 2, 0.36, 0, 7),
        box(8, 0, 2, 10, 0.34, 0, 8),  # left side right
        box(8, 0, 2, 10, 0.32, 0, 9),
        box(-3e38, -3e38, 3e38, 3e38, 0.3, 0, 10),  # its area overflows
        box(-3e38, -3e38, 3e38, 3e38, 0.2, 0, 11),
        box(0, 0, 1e-30, 1e-30, 0.15, 0, 12),  # its area underflows
        box(0, 0, 1e-30, 1e-30, 0.1, 0, 13),
    ]
    kept = native_decode.nms(library, np.array(boxes, CANDIDATE), 0.01, 100)
    assert kept["position"].tolist() == list(range(14))


@pytest.mark.parametrize("seed", range(20))
def test_threshold_one_keeps_all(library: ctypes.CDLL, seed: int) -> None:
    candidates = random_candidates(seed, 200, 1)
    rng = np.random.default_rng(seed)
    copies = candidates[rng.integers(0, len(candidates), 400)].copy()
    copies["position"] = np.arange(400)
    nudged = copies["x2"].copy()
    copies["x2"] = np.where(rng.random(400) < 0.5, nudged, np.nextafter(nudged, np.float32(1e9)))
    assert len(native_decode.nms(library, copies, 1.0, 10000)) == 400


def crowd(seed: int) -> np.ndarray:
    """Objects that several candidates see, each a little elsewhere."""
    rng = np.random.default_rng(seed)
    seen = np.repeat(random_candidates(seed, 60, 2), 6)
    for name in ("x1", "y1", "x2", "y2"):
        seen[name] += rng.uniform(-2, 2, len(seen)).astype(np.float32)
    seen["score"] = rng.uniform(0.001, 1, len(seen))
    seen["position"] = rng.permutation(len(seen))
    return seen


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("limit", [3, 40, 10000])
def test_voting_moves_boxes_as_the_plain_reference_does(library: ctypes.CDLL, iou: float, limit: int) -> None:
    for seed in range(3):
        candidates = crowd(seed)
        plain = native_decode.nms(library, candidates, iou, limit)
        voted = native_decode.nms(library, candidates, iou, limit, box_voting=True)
        assert voted[["score", "class_id", "position"]].tolist() == plain[["score", "class_id", "position"]].tolist()
        boxes = np.stack([voted[name] for name in ("x1", "y1", "x2", "y2")], 1)
        np.testing.assert_allclose(boxes, reference_decode.voted_boxes(candidates, iou, limit), atol=1e-3)
        assert (voted["x1"] != plain["x1"]).mean() > 0.3


def test_votes_weigh_by_score_and_overlap(library: ctypes.CDLL) -> None:
    pair = np.array([box(0, 0, 10, 10, 0.8), box(0, 0, 10, 8, 0.4), box(0, 0, 10, 8, 0.7, 1)], CANDIDATE)
    kept = native_decode.nms(library, pair, 0.7, 10, box_voting=True)
    assert kept["y2"][0] == pytest.approx((0.8 * 10 + 0.4 * 0.8 * 8) / (0.8 + 0.4 * 0.8))
    assert (kept["y2"][1], kept["score"].tolist()) == (8, pytest.approx([0.8, 0.7]))  # another class has no say


def test_what_overlaps_little_is_suppressed_without_a_vote(library: ctypes.CDLL) -> None:
    three = np.array([box(0, 0, 10, 10, 0.8), box(0, 0, 10, 6, 0.7), box(0, 0, 10, 8, 0.4)], CANDIDATE)
    (kept,) = native_decode.nms(library, three, 0.45, 10, box_voting=True)
    assert kept["y2"] == pytest.approx((0.8 * 10 + 0.4 * 0.8 * 8) / (0.8 + 0.4 * 0.8))


def test_without_rivals_voting_changes_no_bit(library: ctypes.CDLL) -> None:
    candidates = random_candidates(7, 200, 1)
    assert native_decode.nms(library, candidates, 1.0, 300, box_voting=True).tobytes() == (
        native_decode.nms(library, candidates, 1.0, 300).tobytes()
    )
    huge = np.array([box(-3e38, -3e38, 3e38, 3e38, 0.3), box(5, 5, 5, 8, 0.2, 0, 1)], CANDIDATE)
    assert native_decode.nms(library, huge, 0.5, 9, box_voting=True).tobytes() == huge.tobytes()


def test_a_package_asks_for_votes(make_dummy_package: Callable[..., Path]) -> None:
    head = dummy_manifest("v", ["bolt", "nut", "washer"], 320, {}, nms=True)["head"]
    picture = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    plain, voted = (
        Detector(make_dummy_package(head={**head, "box_voting": voting})).infer(picture, iou_threshold=0.3).detections
        for voting in (False, True)
    )
    assert len(plain) > 30
    assert voted[["score", "class_id"]].tolist() == plain[["score", "class_id"]].tolist()
    assert (voted["x1"] != plain["x1"]).mean() > 0.1


def test_empty(library: ctypes.CDLL) -> None:
    assert len(native_decode.nms(library, np.zeros(0, CANDIDATE), 0.5, 10)) == 0


@pytest.mark.parametrize("limit", [1, 2, 10, 333, 1000, 5000])
@pytest.mark.parametrize("score_levels", [0, 1, 9])
def test_list_keeps_the_best_in_any_order(library: ctypes.CDLL, limit: int, score_levels: int) -> None:
    candidates = random_candidates(5, 3000, 6, score_levels=score_levels)
    expected = reference_decode.in_order(candidates)[:limit]
    rng = np.random.default_rng(0)
    orders = [np.arange(3000), np.argsort(candidates["score"]), np.argsort(-candidates["score"])]
    orders += [rng.permutation(3000) for _ in range(5)]
    for order in orders:
        kept, floor = native_decode.collect(library, candidates[order].copy(), limit)
        assert kept.tobytes() == expected.tobytes()
        overflowed = 2 * limit <= 3000
        assert (floor > 0) == overflowed
        assert floor <= expected["score"][-1]


def test_list_of_nothing_is_refused(library: ctypes.CDLL) -> None:
    assert native_decode.collect(library, random_candidates(0, 3, 1), 0) is None
