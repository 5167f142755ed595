# SPDX-License-Identifier: Apache-2.0
"""Decoded heads beside the reference decoder, which shares no code; the losses beside plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yoloq_quantize import reference
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.train.headloss import Decoded, decode, losses

CLASSES = 3
SIZE = (64, 32)  # width, height, pixels
ANCHORS = (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0)))


def head(box: str, *, reg_max: int = 1, objectness: bool = False, score: str = "logit", separate: bool = True) -> Head:
    width = {"ltrb": 4 * reg_max}.get(box, 4)
    per_anchor = width + objectness + CLASSES
    outputs = []
    dense = box in ("xyxy", "cxcywh")
    for level, stride in enumerate([1] if dense else [8, 16]):
        grid = (1, 50) if dense else (SIZE[1] // stride, SIZE[0] // stride)
        roles = {"box": width, "objectness": 1 if objectness else 0, "score": CLASSES}
        if not separate:
            roles = {"combined": per_anchor * (2 if box == "anchor" else 1)}
        for role, channels in roles.items():
            if channels:
                shape = (1, channels, 50) if dense else (1, channels, *grid)
                outputs.append(HeadOutput(f"{role}_{level}", f"{role}_{level}", role, level, shape))
    strides = () if dense else (8, 16)
    anchors = ANCHORS if box == "anchor" else None
    return Head(box, score, reg_max, objectness, True, strides, anchors, tuple(outputs), CLASSES, "test")


HEADS = {
    "distances": head("ltrb"),
    "bins": head("ltrb", reg_max=8),
    "bins, joined": head("ltrb", reg_max=8, separate=False),
    "anchors": head("anchor", objectness=True, separate=False),
    "exponential": head("exp", objectness=True),
    "corners, decoded": head("xyxy", score="probability", separate=False),
    "centre, decoded": head("cxcywh", score="probability", objectness=True, separate=False),
}


def raws(head: Head) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    found = {output.name: rng.normal(0, 1, (2, *output.shape[1:])).astype(np.float32) for output in head.outputs}
    if head.score == "probability":
        found = {name: rng.uniform(0.01, 0.99, raw.shape).astype(np.float32) for name, raw in found.items()}
    return found


def by_reference(head: Head, raws: dict[str, np.ndarray]) -> reference.Candidates:
    outputs = tuple((output.role, output.level) for output in head.outputs)
    axes = tuple(output.channel_axis for output in head.outputs)
    described = reference.Head(
        head.box, head.score, head.nms, outputs, axes, head.reg_max, head.objectness, head.strides, head.anchors or ()
    )
    return reference.decode(described, [raws[output.name][:1] for output in head.outputs], CLASSES, SIZE, 0.0)


@pytest.mark.parametrize("name", HEADS)
def test_sides_and_scores_are_those_of_the_reference(name: str) -> None:
    """Sorted by score, which both sides compute from the same numbers; boxes are compared by their sides."""
    numbers = raws(HEADS[name])
    found = decode(HEADS[name], {key: torch.from_numpy(raw) for key, raw in numbers.items()})
    wanted = by_reference(HEADS[name], numbers)
    scores = found.logits[0].sigmoid().numpy()
    assert scores.size == len(wanted.scores)
    np.testing.assert_allclose(np.sort(scores.ravel())[::-1], wanted.scores, atol=1e-5)
    order = np.argsort(-scores.ravel(), kind="stable")
    boxes = np.repeat(found.boxes[0].numpy(), CLASSES, axis=0)[order]
    sides = boxes[:, 2:] - boxes[:, :2]
    distinct = np.diff(wanted.scores, prepend=2.0, append=-1.0)
    sure = (np.abs(distinct[:-1]) > 1e-5) & (np.abs(distinct[1:]) > 1e-5)
    np.testing.assert_allclose(sides[sure], (wanted.boxes[:, 2:] - wanted.boxes[:, :2])[sure], rtol=1e-3, atol=1e-3)
    assert sure.sum() > 20


def test_equal_heads_have_no_loss() -> None:
    numbers = {key: torch.from_numpy(raw) for key, raw in raws(HEADS["bins"]).items()}
    decoded = decode(HEADS["bins"], numbers)
    assert [float(loss) for loss in losses(decoded, decoded)] == [0.0, 0.0]


def test_losses_are_weighted_by_the_teachers_confidence() -> None:
    teacher = Decoded(torch.tensor([[[0.0, 0, 20, 10], [0, 0, 40, 40]]]), torch.tensor([[[2.0, -3], [-1, -9]]]))
    student = Decoded(torch.tensor([[[1.0, 0, 20, 12], [0, 4, 40, 40]]]), torch.tensor([[[2.5, -3], [-1, -8]]]))
    p = 1 / (1 + np.exp(-np.array([[2.0, -3], [-1, -9]])))
    confidence = p.max(axis=1)
    box = (np.array([(1 / 20 + 2 / 10) / 4, (4 / 40) / 4]) * confidence).sum() / confidence.sum()
    score = (np.array([[0.25, 0], [0, 1]]) * np.sqrt(p)).sum() / np.sqrt(p).sum()
    found = [float(loss) for loss in losses(teacher, student)]
    np.testing.assert_allclose(found, [box, score], rtol=1e-5)
    turned = [float(loss) for loss in losses(student, teacher)]
    assert abs(turned[0] - found[0]) > 1e-4  # the student's confidence is not what counts


def test_nothing_to_see_is_no_division_by_zero() -> None:
    empty = Decoded(torch.zeros(1, 4, 4), torch.full((1, 4, 2), -1000.0))
    assert all(torch.isfinite(loss) for loss in losses(empty, Decoded(torch.ones(1, 4, 4), torch.zeros(1, 4, 2))))
