# SPDX-License-Identifier: Apache-2.0
"""The loss is 0 for equal heads, weighs what the teacher sees, and is the formula that it names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.swap.loss import BOX, feature_loss, head_loss

SHAPES = {"box": (2, 4, 3, 3), "score": (2, 5, 3, 3)}
HEAD = Head(
    "ltrb", "logit", 1, False, False, (8,), None,
    tuple(HeadOutput(role, role, role, 0, (1, *shape[1:])) for role, shape in SHAPES.items()), 5, "test",
)  # fmt: skip


@pytest.fixture
def teacher() -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    box = generator.uniform(0.5, 3, SHAPES["box"])
    score = generator.normal(-4, 2, SHAPES["score"])
    return {"box": torch.tensor(box), "score": torch.tensor(score)}


def test_equal_heads_have_no_loss(teacher: dict[str, torch.Tensor]) -> None:
    assert float(head_loss(HEAD, teacher, teacher)) == pytest.approx(0, abs=1e-9)


def test_the_loss_is_divergence_of_scores_and_relative_shift_of_boxes(teacher: dict[str, torch.Tensor]) -> None:
    student = {name: tensor + 0.3 for name, tensor in teacher.items()}
    p, q = (1 / (1 + np.exp(-side["score"].numpy())) for side in (teacher, student))
    divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    box, seen = teacher["box"].numpy(), p.max(1)
    wide, high = (np.maximum(8 * (box[:, i] + box[:, i + 2]), 4) for i in (0, 1))
    shift = 2 * 8 * 0.3 / wide + 2 * 8 * 0.3 / high
    wanted = (divergence + BOX * (shift * seen).sum()) / (seen.sum() + 1)
    assert float(head_loss(HEAD, student, teacher)) == pytest.approx(wanted, rel=1e-6)


def test_a_box_where_the_teacher_sees_nothing_counts_nothing(teacher: dict[str, torch.Tensor]) -> None:
    teacher["score"][:] = -30.0
    teacher["score"][0, 2, 1, 1] = 4.0
    losses = {}
    for place in ((1, 1), (0, 0)):
        student = {name: tensor.clone() for name, tensor in teacher.items()}
        student["box"][0, :, place[0], place[1]] += 1
        losses[place] = float(head_loss(HEAD, student, teacher))
    assert losses[1, 1] > 0.1
    assert losses[0, 0] < 1e-6


def test_features_are_compared_in_parts_of_their_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    values = {"a": torch.randn(2, 3, 4, 4, generator=generator), "b": torch.randn(2, 3, 4, 4, generator=generator)}
    shifted = {name: tensor + 0.5 * tensor.std() for name, tensor in values.items()}
    large = {name: 100 * tensor for name, tensor in values.items()}
    shifted_large = {name: 100 * tensor for name, tensor in shifted.items()}
    assert float(feature_loss(shifted, values, ["a", "b"])) == pytest.approx(0.25, rel=1e-3)
    assert float(feature_loss(shifted_large, large, ["a", "b"])) == pytest.approx(0.25, rel=1e-3)
    assert float(feature_loss(values, values, ["a", "b"])) == 0
