# SPDX-License-Identifier: Apache-2.0
"""An independent decoder and NMS in NumPy float64, written from docs/package-format.md; the native ones must agree.

It works the other way round than the library: every box and every score of the head is computed, densely, and
the caller compares those that reach the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CANDIDATE = np.dtype(
    [("x1", "f4"), ("y1", "f4"), ("x2", "f4"), ("y2", "f4"), ("score", "f4"), ("class_id", "i4"), ("position", "u4")]
)


@dataclass
class Tensor:
    """An output of an artefact, as the manifest describes it. scale 0: stored values are real."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    channel_axis: int
    scale: float = 0.0
    zero_point: int = 0


@dataclass
class Output:
    """What a tensor (by its index) holds."""

    tensor: int
    role: str
    level: int = 0


@dataclass
class Head:
    """A head, its tensors and the model's input size in pixels."""

    box: str
    classes: int
    width: int
    height: int
    score: str = "logit"
    reg_max: int = 1
    objectness: bool = False
    nms: bool = False
    strides: list[int] = field(default_factory=list)
    anchors: list[list[tuple[float, float]]] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)

    @property
    def box_channels(self) -> int:
        """Channels of the box regression, per anchor."""
        return 4 * self.reg_max if self.box == "ltrb" else 4

    @property
    def channels(self) -> int:
        """Channels of a combined tensor, per anchor."""
        return self.box_channels + int(self.objectness) + self.classes


@dataclass
class Dense:
    """Everything a head says about one picture: boxes [positions, 4] in pixels, scores [positions, classes]."""

    boxes: np.ndarray
    scores: np.ndarray


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, float64, exact in both tails."""
    return np.exp(-np.logaddexp(0, -x))


def real_values(tensor: Tensor, stored: np.ndarray) -> np.ndarray:
    """Stored elements as float64."""
    values = stored.astype(np.float64)
    if tensor.dtype in ("int8", "uint8") and tensor.scale != 0:
        values = (values - tensor.zero_point) * float(np.float32(tensor.scale))
    return values


def channel_first(tensor: Tensor, stored: np.ndarray, anchors: int) -> np.ndarray:
    """One picture's part of a tensor as real values [anchors, channels, cells]."""
    values = real_values(tensor, stored)
    axis = tensor.channel_axis % len(tensor.shape) - 1  # the batch axis is gone
    if values.ndim == 4:
        return np.moveaxis(values, axis, 1).reshape(anchors, values.shape[axis], -1)
    values = np.moveaxis(values, axis, 0)
    return values.reshape(anchors, values.shape[0] // anchors, -1)


def center_form(cx: np.ndarray, cy: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Boxes [..., 4] from their centres and sizes."""
    return np.stack([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2], axis=-1)


def level_boxes(head: Head, raw: np.ndarray, level: int, center: float) -> np.ndarray:
    """Boxes [anchors, cells, 4] of raw box channels [anchors, box channels, cells]."""
    if head.box == "xyxy":
        return np.moveaxis(raw, 1, -1)
    if head.box == "cxcywh":
        return center_form(*np.moveaxis(raw, 1, 0))
    stride = head.strides[level]
    rows, columns = np.divmod(np.arange(raw.shape[2]), head.width // stride)
    if head.box == "ltrb":
        bins = raw.reshape(raw.shape[0], 4, head.reg_max, -1)
        if head.reg_max > 1:
            weights = np.exp(bins - bins.max(axis=2, keepdims=True))
            weights /= weights.sum(axis=2, keepdims=True)
            distance = np.einsum("asbc,b->asc", weights, np.arange(head.reg_max))
        else:
            distance = bins[:, :, 0]
        left, top, right, bottom = np.moveaxis(distance, 1, 0)
        x, y = columns + center, rows + center
        return np.stack([x - left, y - top, x + right, y + bottom], axis=-1) * stride
    if head.box == "exp":
        x, y, width, height = np.moveaxis(raw, 1, 0)
        return center_form(x + columns, y + rows, np.exp(width), np.exp(height)) * stride
    x, y, width, height = np.moveaxis(2 * sigmoid(raw), 1, 0)
    sizes = np.array(head.anchors[level], dtype=np.float64)[:, :, None]
    return center_form(
        (x - 0.5 + columns) * stride, (y - 0.5 + rows) * stride, width**2 * sizes[:, 0], height**2 * sizes[:, 1]
    )


def decode_dense(head: Head, arrays: list[np.ndarray], picture: int, *, center: float = 0.5) -> Dense:
    """All boxes and scores of one picture, by position. center: a cell's centre; others make wrong references."""
    boxes, scores = [], []
    for level in range(max(1, len(head.strides))):
        anchors = len(head.anchors[level]) if head.anchors else 1
        parts = {
            output.role: channel_first(head.tensors[output.tensor], arrays[output.tensor][picture], anchors)
            for output in head.outputs
            if output.level == level
        }
        if "combined" in parts:
            at = head.box_channels
            parts["box"] = parts["combined"][:, :at]
            if head.objectness:
                parts["objectness"] = parts["combined"][:, at : at + 1]
                at += 1
            parts["score"] = parts["combined"][:, at:]
        factors = [parts[role] for role in ("score", "objectness") if role in parts]
        if head.score == "logit":
            factors = [sigmoid(factor) for factor in factors]
        score = factors[0] * factors[1] if head.objectness else factors[0]
        # positions run cell by cell, and through the anchors within a cell
        boxes.append(np.moveaxis(level_boxes(head, parts["box"], level, center), 0, 1).reshape(-1, 4))
        scores.append(np.moveaxis(score, (2, 0), (0, 1)).reshape(-1, head.classes))
    return Dense(np.concatenate(boxes), np.concatenate(scores))


def decode_rows(head: Head, array: np.ndarray, picture: int, threshold: float) -> np.ndarray:
    """Candidates of an end-to-end output, sorted."""
    rows = real_values(head.tensors[0], array[picture])
    with np.errstate(invalid="ignore"):
        label = rows[:, 5]
        good = np.isfinite(rows).all(axis=1) & (rows[:, 4] >= threshold)
        good &= (label >= 0) & (label < head.classes) & (np.floor(label) == label)
    out = np.zeros(int(good.sum()), CANDIDATE)
    for i, name in enumerate(("x1", "y1", "x2", "y2", "score", "class_id")):
        out[name] = rows[good, i]
    out["position"] = np.flatnonzero(good)
    return in_order(out)


def in_order(candidates: np.ndarray) -> np.ndarray:
    """Candidates sorted by score (high first), class, position."""
    return candidates[np.lexsort((candidates["position"], candidates["class_id"], -candidates["score"]))]


def iou_matrix(candidates: np.ndarray) -> np.ndarray:
    """IoU of every pair, float64; 0 where a box has no area."""
    x1, y1, x2, y2 = (candidates[name].astype(np.float64) for name in ("x1", "y1", "x2", "y2"))
    width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    common = np.clip(width, 0, None) * np.clip(height, 0, None)
    area = np.clip(x2 - x1, 0, None) * np.clip(y2 - y1, 0, None)
    union = area[:, None] + area - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def nms(candidates: np.ndarray, iou_threshold: float, max_detections: int) -> np.ndarray:
    """Greedy class-aware NMS over all pairs; candidates in any order, result sorted."""
    candidates = in_order(candidates)
    iou = iou_matrix(candidates)
    rivals = (candidates["class_id"][:, None] == candidates["class_id"]) & (iou > np.float32(iou_threshold))
    alive = np.ones(len(candidates), bool)
    for i in range(len(candidates)):
        if alive[i]:
            alive[i + 1 :] &= ~rivals[i, i + 1 :]
    return candidates[alive][:max_detections]


def voted_boxes(candidates: np.ndarray, iou_threshold: float, max_detections: int) -> np.ndarray:
    """Boxes float64 (n, 4) of what nms() keeps, with box voting: every candidate votes for the first kept one of its
    class that it overlaps by more than the threshold, if by more than 0.7 too, or for itself if it is kept; with its
    score times the IoU."""
    candidates, kept = in_order(candidates), nms(candidates, iou_threshold, max_detections)
    boxes = np.stack([candidates[name] for name in ("x1", "y1", "x2", "y2")], 1).astype(np.float64)
    places = [int(np.flatnonzero(candidates["position"] == one["position"])[0]) for one in kept]
    iou = iou_matrix(candidates)
    votes: dict[int, list[tuple[float, np.ndarray]]] = {place: [] for place in places}
    for index, one in enumerate(candidates):
        for place in [index] if index in votes else places:
            share = 1.0 if place == index else iou[place, index]
            rival = candidates["class_id"][place] == one["class_id"] and share > np.float32(iou_threshold)
            if share > 0.7 and (place == index or rival):
                votes[place].append((float(one["score"]) * share, boxes[index]))
            if place == index or rival:
                break
    return np.array([
        sum(weight * box for weight, box in votes[place]) / sum(weight for weight, _ in votes[place])
        for place in places
    ]).reshape(-1, 4)  # fmt: skip
