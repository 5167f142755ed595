# SPDX-License-Identifier: Apache-2.0
"""The bootstrap against pycocotools on data sets that were really drawn, and its interval against known cases."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yoloq_quantize.bootstrap import Matches, compare, paired_bootstrap
from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.metrics import Detections, measure_accuracy


def scene(pictures: int, classes: int, seed: int, objects: int = 5) -> tuple[Dataset, list[Detections]]:
    """Random objects, some crowd regions, some pictures empty; detections that miss, move, double and invent some."""
    rng = np.random.default_rng(seed)
    samples, predictions = [], []
    for i in range(pictures):
        count = int(rng.integers(0, objects + 1))
        corner = rng.uniform(0, 500, (count, 2))
        boxes = np.hstack([corner, corner + rng.uniform(10, 120, (count, 2))]).astype(np.float32)
        ids = rng.integers(0, classes, count)
        areas = (boxes[:, 2] - boxes[:, 0]).astype(np.float64) * (boxes[:, 3] - boxes[:, 1])
        crowd = rng.uniform(size=count) < 0.1
        key = f"{(i * 7) % pictures:04}"  # not in the order of keys
        samples.append(Sample(Path(key), key, 640, 640, boxes, ids, areas, crowd, True))
        seen = rng.uniform(size=count) < 0.8
        noise = rng.uniform(0, 600, (3, 2))
        every = np.vstack([boxes[seen], boxes[:1], np.hstack([noise, noise + 30])])
        every = every + rng.normal(0, 3, every.shape)
        scores = rng.uniform(0.01, 1, len(every))
        kinds = np.concatenate([ids[seen], ids[:1], rng.integers(0, classes, 3)])
        predictions.append(Detections(every.astype(np.float32), scores.astype(np.float32), kinds))
    return Dataset(Path("data.yaml"), "val", tuple(f"c{k}" for k in range(classes)), tuple(samples)), predictions


def worse(predictions: list[Detections], seed: int = 9, spread: float = 6) -> list[Detections]:
    rng = np.random.default_rng(seed)
    return [replace(p, boxes=p.boxes + rng.normal(0, spread, p.boxes.shape).astype(np.float32)) for p in predictions]


@pytest.mark.parametrize(("classes", "seed"), [(1, 1), (3, 2), (9, 3)])
def test_estimates_equal_pycocotools(classes: int, seed: int) -> None:
    data, before = scene(14, classes, seed)
    after = worse(before)
    a, b = measure_accuracy(data, before), measure_accuracy(data, after)
    loss = paired_bootstrap(data, before, after, rounds=3)
    assert a.map50_95 - b.map50_95 > 1
    assert loss.map50.estimate == pytest.approx(a.map50 - b.map50, abs=1e-9)
    assert loss.map50_95.estimate == pytest.approx(a.map50_95 - b.map50_95, abs=1e-9)


def test_a_draw_equals_pycocotools_on_the_pictures_drawn() -> None:
    """Weighing pictures is the same as writing them down as often as they were drawn."""
    data, found = scene(10, 4, 5)
    matches = Matches.of(data, found)
    order = sorted(range(10), key=lambda i: data.samples[i].key)
    rng = np.random.default_rng(0)
    for draw in rng.integers(0, 10, (12, 10)):
        drawn = [replace(data.samples[order[i]], key=f"{n:04}") for n, i in enumerate(sorted(draw))]
        expected = measure_accuracy(replace(data, samples=tuple(drawn)), [found[order[i]] for i in sorted(draw)])
        measured = matches.sample(np.bincount(draw, minlength=10)[None])[:, 0]
        np.testing.assert_allclose(measured, [expected.map50, expected.map50_95], atol=1e-9)


def test_the_interval_is_the_spread_of_draws_that_are_measured_one_by_one() -> None:
    data, before = scene(12, 2, 6)
    after = worse(before)
    loss = paired_bootstrap(data, before, after, rounds=40, seed=3)
    order = sorted(range(12), key=lambda i: data.samples[i].key)
    losses = []
    for draw in np.random.default_rng(3).integers(0, 12, (40, 12)):
        part = replace(data, samples=tuple(replace(data.samples[order[i]], key=f"{n}") for n, i in enumerate(draw)))
        a, b = (measure_accuracy(part, [side[order[i]] for i in draw]) for side in (before, after))
        losses.append((a.map50 - b.map50, a.map50_95 - b.map50_95))
    low, high = np.percentile(losses, [2.5, 97.5], axis=0)
    for interval, i in ((loss.map50, 0), (loss.map50_95, 1)):
        assert (interval.low, interval.high) == (pytest.approx(low[i]), pytest.approx(high[i]))
        assert interval.low < interval.high


def test_equal_sides_lose_nothing_and_the_same_seed_says_the_same() -> None:
    data, before = scene(12, 3, 7)
    same = paired_bootstrap(data, before, before, rounds=50)
    for interval in (same.map50, same.map50_95):
        assert (interval.estimate, interval.low, interval.high) == (0, 0, 0)
    after = worse(before)
    assert paired_bootstrap(data, before, after, 50, 4) == paired_bootstrap(data, before, after, 50, 4)
    assert paired_bootstrap(data, before, after, 50, 4) != paired_bootstrap(data, before, after, 50, 5)


def test_more_pictures_narrow_the_interval() -> None:
    def width(pictures: int) -> float:
        data, before = scene(pictures, 1, 8)
        loss = paired_bootstrap(data, before, worse(before), rounds=200).map50_95
        assert loss.low < loss.estimate < loss.high
        return loss.high - loss.low

    assert width(160) < 0.6 * width(20)


def test_no_interval_where_one_picture_has_all_the_truth() -> None:
    data, found = scene(1, 2, 10, objects=9)
    loss = paired_bootstrap(data, found, [Detections.empty()], rounds=10)
    assert loss.map50.estimate > 0
    assert (loss.map50.low, loss.map50.high, loss.map50_95.low) == (None, None, None)


def test_misuse_is_refused() -> None:
    data, found = scene(3, 2, 11, objects=0)
    with pytest.raises(QuantizeError, match="no labelled object"):
        paired_bootstrap(data, found, found)
    data, found = scene(6, 2, 12)
    with pytest.raises(ValueError, match="5 predictions for 6 pictures"):
        paired_bootstrap(data, found, found[:5])
    other, theirs = scene(6, 2, 13)
    with pytest.raises(ValueError, match="different pictures"):
        compare(Matches.of(data, found), Matches.of(other, theirs))


def test_1000_rounds_are_quick() -> None:
    """The weighing, not pycocotools' matching, is what a thousand rounds repeat. CPU time: the machine is shared."""
    data, before = scene(60, 5, 14)
    a, b = Matches.of(data, before), Matches.of(data, worse(before))
    start = time.process_time()
    compare(a, b, rounds=1000)
    assert time.process_time() - start < 5
