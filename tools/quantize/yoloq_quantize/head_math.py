# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of head structures in NumPy, float64: what a hypothesis says the model's output should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

PIXELS = 0.02  # boxes agree within this, in input pixels: a wrong offset or stride is off by whole pixels
SCORE = 1e-4


@dataclass(frozen=True)
class Roles:
    """Which convolution of a level plays which role. `by_role`: (role, index among the level's convolutions)."""

    by_role: tuple[tuple[str, int], ...]
    reg_max: int
    forms: tuple[str, ...]

    def roles_by_channels(self, channels: list[int]) -> tuple[object, ...]:
        """Equal for levels that agree: the forms, and each role's channels."""
        return (self.forms, self.reg_max, tuple((role, channels[index]) for role, index in self.by_role))


@dataclass(frozen=True)
class Hypothesis:
    """One structure. `tensors`: by level, (role, name) pairs; `grids`: by level, (rows, columns)."""

    form: str
    reg_max: int
    strides: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    tensors: tuple[tuple[tuple[str, str], ...], ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...] | None

    def classes(self, raws: dict[str, tuple[int, ...]]) -> int:
        for role, name in self.tensors[0]:
            if role == "score":
                return raws[name][1]
            if role == "combined":
                return raws[name][1] // len(self.anchors[0]) - 5
        raise AssertionError("a hypothesis has scores")


def channel_roles(channels: list[int]) -> list[Roles]:
    """The roles that a level's channel counts allow."""
    found = []
    if len(channels) == 1:
        found.append(Roles((("combined", 0),), 1, ("anchor",)))
    if len(channels) == 2:
        for box, score in permutations(range(2)):
            if channels[box] % 4 == 0:
                found.append(Roles((("box", box), ("score", score)), channels[box] // 4, ("ltrb",)))
    if len(channels) == 3:
        for box, objectness, score in permutations(range(3)):
            if channels[box] == 4 and channels[objectness] == 1:
                by_role = (("box", box), ("objectness", objectness), ("score", score))
                found.append(Roles(by_role, 1, ("exp", "ltrb")))
    return found


def anchors_from_probe(
    hypothesis: Hypothesis, run: Callable[[dict[str, np.ndarray]], np.ndarray], channels: list[list[int]]
) -> Hypothesis | None:
    """Anchor sizes in pixels from the tail's answer to all-zero raws, where (2 sigmoid(0))^2 a = a; None if it is
    no dense [1, rows, 5 + classes] anchor head."""
    raws = {}
    for ((_, name),), (count,), grid in zip(hypothesis.tensors, channels, hypothesis.grids, strict=True):
        raws[name] = np.zeros((1, count, *grid), np.float32)
    rows = run(raws)
    if rows.ndim != 3 or rows.shape[2] < 6 or any(count[0] % rows.shape[2] for count in channels):
        return None
    anchors, start = [], 0
    for (count,), (height, width) in zip(channels, hypothesis.grids, strict=True):
        level, cells = [], height * width
        for _ in range(count // rows.shape[2]):
            if start + cells > rows.shape[1]:
                return None
            sizes = rows[0, start : start + cells, 2:4]
            if np.ptp(sizes, axis=0).max() > 1e-3:
                return None
            # Exporters write anchors in single precision; the trainer's are whole or tidy numbers.
            level.append((round(float(sizes[0, 0]), 4), round(float(sizes[0, 1]), 4)))
            start += cells
        anchors.append(tuple(level))
    return replace(hypothesis, anchors=tuple(anchors))


def explains(hypothesis: Hypothesis, raws: dict[str, np.ndarray], result: np.ndarray, has_nms: bool) -> str | None:
    """The form, "dense" or "end2end", in which the decoded `raws` are the model's `result` [1, ...]; else None."""
    boxes, scores, objectness = decode(hypothesis, raws)
    if result.ndim != 3 or result.shape[0] != 1:
        return None
    rows = result[0]
    count = len(boxes)
    for table in (rows, rows.T):
        if len(table) == count and not has_nms:
            return "dense" if _explains_dense(table, boxes, scores, objectness) else None
    joint = scores if objectness is None else scores * objectness
    return "end2end" if rows.shape[1] == 6 and _explains_end2end(rows, boxes, joint, has_nms) else None


def decode(hypothesis: Hypothesis, raws: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Boxes [n, 4] x1 y1 x2 y2 in input pixels, class scores [n, C] and objectness [n, 1] or None, 0 to 1."""
    boxes, scores, objectness = [], [], []
    for level, tensors in enumerate(hypothesis.tensors):
        parts = {role: raws[name][0].astype(np.float64) for role, name in tensors}
        if hypothesis.form == "anchor":
            level_boxes, level_scores, level_objectness = _anchor_level(hypothesis, level, parts["combined"])
        else:
            level_boxes = _grid_boxes(hypothesis, level, parts["box"])
            level_scores = _sigmoid(_cells(parts["score"]))
            level_objectness = _sigmoid(_cells(parts["objectness"])) if "objectness" in parts else None
        boxes.append(level_boxes)
        scores.append(level_scores)
        objectness.append(level_objectness)
    return (
        np.concatenate(boxes),
        np.concatenate(scores),
        None if objectness[0] is None else np.concatenate(objectness),
    )


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _cells(raw: np.ndarray) -> np.ndarray:
    """[channels, h, w] -> [h * w, channels]."""
    return raw.reshape(raw.shape[0], -1).T


def _grid(height: int, width: int) -> np.ndarray:
    """Column and row of each cell, [h * w, 2]."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)


def _grid_boxes(hypothesis: Hypothesis, level: int, raw: np.ndarray) -> np.ndarray:
    stride, grid = hypothesis.strides[level], _grid(*hypothesis.grids[level])
    if hypothesis.form == "exp":
        values = _cells(raw)
        return _corners((values[:, :2] + grid) * stride, np.exp(values[:, 2:]) * stride)
    sides = raw.reshape(4, hypothesis.reg_max, -1)
    if hypothesis.reg_max > 1:
        weights = np.exp(sides - sides.max(axis=1, keepdims=True))
        bins = np.arange(hypothesis.reg_max)[None, :, None]
        sides = (weights * bins).sum(axis=1) / weights.sum(axis=1)
    distances = sides.reshape(4, -1).T
    centre = grid + 0.5
    return np.concatenate([(centre - distances[:, :2]) * stride, (centre + distances[:, 2:]) * stride], axis=1)


def _anchor_level(hypothesis: Hypothesis, level: int, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stride, anchors = hypothesis.strides[level], np.array(hypothesis.anchors[level])
    per_anchor = raw.reshape(len(anchors), raw.shape[0] // len(anchors), -1).transpose(0, 2, 1)  # [a, cells, 5 + C]
    values = _sigmoid(per_anchor)
    centres = (2 * values[..., :2] - 0.5 + _grid(*hypothesis.grids[level])[None]) * stride
    sizes = (2 * values[..., 2:4]) ** 2 * anchors[:, None]
    flat = values.reshape(-1, values.shape[-1])
    return _corners(centres.reshape(-1, 2), sizes.reshape(-1, 2)), flat[:, 5:], flat[:, 4:5]


def _corners(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def _explains_dense(table: np.ndarray, boxes: np.ndarray, scores: np.ndarray, objectness: np.ndarray | None) -> bool:
    said = scores if objectness is None else np.concatenate([objectness, scores], axis=1)
    if table.shape[1] != 4 + said.shape[1] or not np.allclose(table[:, 4:], said, atol=SCORE):
        return False
    middle = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    return any(np.allclose(table[:, :4], form, rtol=1e-4, atol=PIXELS) for form in (boxes, middle))


def _explains_end2end(rows: np.ndarray, boxes: np.ndarray, scores: np.ndarray, has_nms: bool) -> bool:
    """Each row must be a candidate of ours; without NMS, the rows' scores are our best, in order."""
    if not np.array_equal(rows[:, 5], np.round(rows[:, 5])) or rows[:, 5].max() >= scores.shape[1]:
        return False
    if not has_nms:
        best = np.sort(scores.ravel())[::-1][: len(rows)]
        if len(best) != len(rows) or not np.allclose(np.sort(rows[:, 4])[::-1], best, atol=SCORE):
            return False
    rows = rows[rows[:, 4] > 0]
    if not len(rows):
        return False
    for x1, y1, x2, y2, score, label in rows:
        near = np.abs(scores[:, int(label)] - score) < SCORE
        if not (np.abs(boxes[near] - [x1, y1, x2, y2]) < PIXELS + 1e-4 * max(abs(x2), abs(y2))).all(axis=1).any():
            return False
    return True
