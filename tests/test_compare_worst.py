# SPDX-License-Identifier: Apache-2.0
"""Which pictures count as the worst, by hand, and how they are drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from yoloq_quantize.compare.worst import draw_worst, find_worst, overlaps
from yoloq_quantize.dataset import Dataset, Sample
from yoloq_quantize.metrics import Detections

A, B = [10.0, 10.0, 50.0, 50.0], [60.0, 60.0, 100.0, 100.0]
MOVED = [15.0, 10.0, 55.0, 50.0]  # IoU with A 35 / 45


def sample(path: Path, boxes: list, ids: list, crowd: list | None = None) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.array(crowd or [False] * len(ids), bool)
    return Sample(path, path.name, 120, 120, array, np.array(ids), np.full(len(ids), 1600.0), flags, True)


def found(boxes: list, scores: list, ids: list) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(ids, np.int64))


def test_overlap_by_hand() -> None:
    truth = sample(Path("a"), [A, B], [0, 1])
    assert overlaps(truth, found([MOVED, B], [0.9, 0.9], [0, 1])).tolist() == pytest.approx([35 / 45, 1])
    assert overlaps(truth, found([MOVED, B], [0.9, 0.2], [0, 1])).tolist() == pytest.approx([35 / 45, 0])  # not visible
    assert overlaps(truth, found([A, B], [0.9, 0.9], [1, 0])).tolist() == [0, 0]  # wrong class
    crowd = sample(Path("a"), [A, B], [0, 1], [True, False])
    assert overlaps(crowd, found([A, B], [0.9, 0.9], [0, 1])).tolist() == [1]


def test_a_lost_object_is_worse_than_a_moved_one_and_gains_are_left_out() -> None:
    both = found([A, B], [0.9, 0.9], [0, 1])
    samples = tuple(sample(Path(name), [A, B], [0, 1]) for name in "abcd")
    data = Dataset(Path("d"), "val", ("x", "y"), samples)
    after = [both, found([MOVED, B], [0.9, 0.9], [0, 1]), found([B], [0.9], [1]), both]
    before = [both, both, both, found([A], [0.9], [0])]
    rows = find_worst(data, before, after)
    assert [row[0] for row in rows] == [2, 1]
    assert [row[1] for row in rows] == pytest.approx([1, 10 / 45])
    assert rows[0][2:] == (2, 2, 1)


def test_large_pictures_are_drawn_small_side_by_side_with_chinese_names(tmp_path: Path) -> None:
    path = tmp_path / "大图.png"
    path.write_bytes(cv2.imencode(".png", np.full((1200, 2400, 3), 90, np.uint8))[1].tobytes())
    box = [400.0, 400.0, 1200.0, 800.0]
    truth = Sample(
        path, "大图", 2400, 1200, np.array([box], np.float32), np.zeros(1, int), np.ones(1), np.zeros(1, bool), True
    )
    data = Dataset(tmp_path, "val", ("划痕",), (truth,))
    worst = draw_worst(data, ("FP32", [found([box], [0.9], [0])]), ("INT8", [found([], [], [])]), tmp_path)
    assert (worst[0].file, worst[0].lost, worst[0].found_float, worst[0].found_int8) == (
        "pictures/worst-1.jpg",
        1,
        1,
        0,
    )
    image = np.asarray(Image.open(tmp_path / worst[0].file).convert("RGB")).astype(int)
    assert image.shape[1] == 2 * 900 + 6
    assert 450 < image.shape[0] < 520
    red = (image[..., 0] > 150) & (image[..., 1] < 90)  # the first class's colour: only on the float side
    assert red[:, :900].sum() > 200 and red[:, 906:].sum() == 0
