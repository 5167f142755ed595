# SPDX-License-Identifier: Apache-2.0
"""The comparison of the proof `exports` sees the mistakes that a wrong head would make."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from exports import JOBS, MOST, compare


def candidates() -> tuple[np.ndarray, np.ndarray]:
    """Boxes [50, 4] in pixels and scores [50, 3]."""
    generator = np.random.default_rng(0)
    low = generator.uniform(0, 300, (50, 2))
    return np.concatenate([low, low + generator.uniform(5, 90, (50, 2))], axis=1), generator.uniform(0, 1, (50, 3))


def test_equal_candidates_in_another_order() -> None:
    boxes, scores = candidates()
    assert [each.max() for each in compare((boxes, scores), (boxes[::-1], scores[::-1]))] == [0, 0]


@pytest.mark.parametrize("wrong", [
    lambda boxes, scores: (boxes + 4, scores),  # half a cell
    lambda boxes, scores: (boxes[:, [1, 0, 3, 2]], scores),
    lambda boxes, scores: (boxes, scores[:, ::-1]),
    lambda boxes, scores: (boxes, scores**1.01),
    lambda boxes, scores: (boxes[1:], scores[1:]),
])  # fmt: skip
def test_mistakes_are_seen(wrong: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    boxes, scores = candidates()
    pixels, score = compare((boxes, scores), wrong(boxes, scores))
    assert pixels.max() > MOST[0] or score.max() > MOST[1]


def test_every_family_opset_and_form_is_there() -> None:
    models = " ".join(job.model for job in JOBS)
    for family in ("v3", "v5", "v6", "v8", "v9", "v10", "yolo11", "yolo12", "yolo26", "hand-v7", "hand-yolox"):
        assert family in models
    assert {job.options.get("opset") for job in JOBS} >= set(range(11, 19)) | {20}
    for option in ("dynamic", "half", "nms", "simplify"):
        assert any(job.options.get(option) for job in JOBS)
    assert {job.classes for job in JOBS} >= {1, 2, 3, 80, 147}
    assert any(job.size[0] != job.size[1] for job in JOBS)
    assert len({job.name for job in JOBS}) == len(JOBS)
