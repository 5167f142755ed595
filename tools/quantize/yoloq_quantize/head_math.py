# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of head structures in NumPy, float64: what a hypothesis says the model's output should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

PIXELS = 0.02  # boxes agree within this, in input pixels: a wrong offset or stride is off by whole pixels
SCORE = 1e-4
BINS = (1, 16, 17, 8, 32)  # bins per side to try where box and scores share a tensor: v8's 16, v6's 17, others
ROLES = ("box", "objectness", "score")


@dataclass(frozen=True)
class Roles:
    """Which convolution of a level plays which role. `by_role`: (role, index among the level's convolutions)."""

    by_role: tuple[tuple[str, int], ...]
    form: str
    reg_max: int
    objectness: bool

    def agree(self, channels: list[int]) -> tuple[object, ...]:
        """Equal for levels that agree: form, bins, and each role's channels."""
        return (self.form, self.reg_max, self.objectness, tuple((role, channels[i]) for role, i in self.by_role))


@dataclass(frozen=True)
class Hypothesis:
    """One structure. `tensors`: by level, (role, name) pairs; `grids`: by level, (rows, columns); `anchors`: by level,
    (width, height) in pixels."""

    form: str
    reg_max: int
    objectness: bool
    strides: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    tensors: tuple[tuple[tuple[str, str], ...], ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...] | None = None

    @property
    def box_channels(self) -> int:
        return 4 * self.reg_max

    def classes(self, raws: dict[str, tuple[int, ...]]) -> int:
        """From the shapes of the raw tensors."""
        tensors = dict(self.tensors[0])
        if "score" in tensors:
            return raws[tensors["score"]][1]
        anchors = len(self.anchors[0]) if self.anchors else 1
        return raws[tensors["combined"]][1] // anchors - self.box_channels - self.objectness


@dataclass(frozen=True)
class Level:
    """One level decoded. Anchors outside, cells inside: boxes [a, cells, 4] x1 y1 x2 y2 in input pixels, scores
    [a, cells, C] and objectness [a, cells, 1] or None, 0 to 1."""

    boxes: np.ndarray
    scores: np.ndarray
    objectness: np.ndarray | None


@dataclass(frozen=True)
class Table:
    """Every candidate in some order: boxes [n, 4], scores [n, C], objectness [n, 1] or None."""

    boxes: np.ndarray
    scores: np.ndarray
    objectness: np.ndarray | None

    @property
    def joint(self) -> np.ndarray:
        return self.scores if self.objectness is None else self.scores * self.objectness


def channel_roles(channels: list[int]) -> list[Roles]:
    """The roles that a level's channel counts allow, likelier ones first."""
    found = []
    if len(channels) == 1:
        found.append(Roles((("combined", 0),), "anchor", 1, True))
        for bins, objectness in product(BINS, (False, True)):
            if channels[0] > 4 * bins + objectness:
                forms = ("ltrb", "exp") if bins == 1 else ("ltrb",)
                found += [Roles((("combined", 0),), form, bins, objectness) for form in forms]
    if len(channels) == 2:
        for box, score in permutations(range(2)):
            if channels[box] % 4 == 0:
                bins = channels[box] // 4
                forms = ("ltrb", "exp") if bins == 1 else ("ltrb",)
                found += [Roles((("box", box), ("score", score)), form, bins, False) for form in forms]
    if len(channels) == 3:
        for box, objectness, score in permutations(range(3)):
            if channels[box] % 4 == 0 and channels[objectness] == 1:
                by_role, bins = (("box", box), ("objectness", objectness), ("score", score)), channels[box] // 4
                forms = ("exp", "ltrb") if bins == 1 else ("ltrb",)
                found += [Roles(by_role, form, bins, True) for form in forms]
    return found


def explains(hypothesis: Hypothesis, raws: dict[str, np.ndarray], results: list[np.ndarray], nms: bool) -> str | None:
    """The form, "dense" or "end2end", in which the decoded `raws` are the model's `results`; else None.

    nms: the graph suppresses boxes itself, so that only some candidates come out.
    """
    size = (hypothesis.grids[0][1] * hypothesis.strides[0], hypothesis.grids[0][0] * hypothesis.strides[0])
    levels = decode(hypothesis, raws)
    count = sum(level.scores.shape[0] * level.scores.shape[1] for level in levels)
    for rows in tables(results):
        whole = len(rows) == count and not nms
        if whole and any(_explains_dense(rows, table, size) for table in _orders(levels)):
            return "dense"
        if rows.shape[1] in (6, 7) and _explains_end2end(*_detections(rows), next(_orders(levels)), nms):
            return "end2end"
    return None


def tables(results: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Float64 tables [rows, columns] that a model's output, or its boxes and scores apart, can be read as."""
    flat = [np.asarray(result, np.float64).reshape(-1, result.shape[-1]) for result in results if result.ndim > 1]
    if len(flat) != len(results):
        return
    if len(flat) == 1:
        yield from (flat[0], flat[0].T)
    elif len(flat) == 2:
        for one, other in (flat, flat[::-1]):
            for boxes, scores in product((one, one.T), (other, other.T)):
                if len(boxes) == len(scores) and boxes.shape[1] == 4:
                    yield np.concatenate([boxes, scores], axis=1)


def decode(hypothesis: Hypothesis, raws: dict[str, np.ndarray]) -> list[Level]:
    """Each level's candidates from its raw tensors [1, channels, h, w]."""
    levels = []
    for index, tensors in enumerate(hypothesis.tensors):
        parts = {role: raws[name][0].astype(np.float64) for role, name in tensors}
        anchors = hypothesis.anchors[index] if hypothesis.anchors else None
        if "combined" in parts:
            parts = _apart(hypothesis, parts["combined"], 1 if anchors is None else len(anchors))
        else:
            parts = {role: part.reshape(1, part.shape[0], -1).transpose(0, 2, 1) for role, part in parts.items()}
        boxes = _boxes(hypothesis, index, parts["box"])
        gate = sigmoid(parts["objectness"]) if hypothesis.objectness else None
        levels.append(Level(boxes, sigmoid(parts["score"]), gate))
    return levels


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _apart(hypothesis: Hypothesis, combined: np.ndarray, anchors: int) -> dict[str, np.ndarray]:
    """[a * ch, h, w] to [a, cells, ch] by role."""
    rows = combined.reshape(anchors, combined.shape[0] // anchors, -1).transpose(0, 2, 1)
    cuts = [hypothesis.box_channels, hypothesis.box_channels + hypothesis.objectness]
    return dict(zip(ROLES, np.split(rows, cuts, axis=2), strict=True))


def _boxes(hypothesis: Hypothesis, level: int, raw: np.ndarray) -> np.ndarray:
    """Raw box channels [a, cells, B] to corners; formulas: docs/package-format.md."""
    stride, (height, width) = hypothesis.strides[level], hypothesis.grids[level]
    rows, columns = np.mgrid[:height, :width]
    grid = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)
    if hypothesis.form == "exp":
        return _corners((raw[..., :2] + grid) * stride, np.exp(raw[..., 2:]) * stride)
    if hypothesis.form == "anchor":
        unit, anchors = sigmoid(raw), np.array(hypothesis.anchors[level])
        return _corners((2 * unit[..., :2] - 0.5 + grid) * stride, (2 * unit[..., 2:]) ** 2 * anchors[:, None])
    sides = raw.reshape(*raw.shape[:2], 4, hypothesis.reg_max)
    if hypothesis.reg_max > 1:
        weights = np.exp(sides - sides.max(axis=-1, keepdims=True))
        sides = weights @ np.arange(hypothesis.reg_max) / weights.sum(axis=-1)
    sides, centre = sides.reshape(*raw.shape[:2], 4), grid + 0.5
    return np.concatenate([(centre - sides[..., :2]) * stride, (centre + sides[..., 2:]) * stride], axis=-1)


def _corners(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


def _orders(levels: list[Level]) -> Iterator[Table]:
    """The candidates in the orders that exporters write: fine or coarse level first, anchor or cell outside."""
    orders = [(list(levels), False), (list(levels), True), (levels[::-1], False), (levels[::-1], True)]
    for ordered, cells_outside in orders:
        if cells_outside and levels[0].boxes.shape[0] == 1:
            continue  # the same as the one before

        def joined(parts: list[np.ndarray], swap: bool = cells_outside) -> np.ndarray:
            parts = [part.swapaxes(0, 1) if swap else part for part in parts]
            return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])

        gates = [level.objectness for level in ordered]
        yield Table(
            joined([level.boxes for level in ordered]),
            joined([level.scores for level in ordered]),
            None if gates[0] is None else joined(gates),
        )


def _explains_dense(rows: np.ndarray, table: Table, size: tuple[int, int]) -> bool:
    """Columns: four of the box, then scores as exporters write them."""
    ones = np.ones((len(rows), 1))
    best = np.stack([table.joint.max(axis=1), table.joint.argmax(axis=1)], axis=1)
    said = [table.joint, np.concatenate([ones, table.joint], axis=1), best]
    if table.objectness is not None:
        said.append(np.concatenate([table.objectness, table.scores], axis=1))
    if not any(_equal(rows[:, 4:], each, SCORE) for each in said):
        return False
    low, high = table.boxes[:, :2], table.boxes[:, 2:]
    forms = [table.boxes, np.concatenate([(low + high) / 2, high - low], 1), np.concatenate([low, high - low], 1)]
    return any(_equal(rows[:, :4] * unit, form, PIXELS) for form in forms for unit in (1.0, np.array([*size, *size])))


def _equal(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=tolerance)


def _detections(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and class numbers of rows x1 y1 x2 y2 score class, or picture x1 y1 x2 y2 class score."""
    if rows.shape[1] == 7:
        return rows[:, 1:5], rows[:, 6], rows[:, 5]
    return rows[:, :4], rows[:, 4], rows[:, 5]


def _explains_end2end(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, table: Table, nms: bool) -> bool:
    """Each row must be a candidate of ours; without NMS, the rows' scores are our best, in order."""
    joint = table.joint
    if not len(boxes) or not np.array_equal(labels, np.round(labels)):
        return False
    if labels.min() < 0 or labels.max() >= joint.shape[1]:
        return False
    if not nms:
        best = np.sort(joint.ravel())[::-1][: len(boxes)]
        if len(best) != len(boxes) or not np.allclose(np.sort(scores)[::-1], best, atol=SCORE):
            return False
    shown = np.flatnonzero(scores > 0)
    for index in shown:
        near = np.abs(joint[:, int(labels[index])] - scores[index]) < SCORE
        limit = PIXELS + 1e-4 * np.abs(boxes[index, 2:]).max()
        if not (np.abs(table.boxes[near] - boxes[index]) < limit).all(axis=1).any():
            return False
    return len(shown) > 0
