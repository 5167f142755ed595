# SPDX-License-Identifier: Apache-2.0
"""How far the raw tensors of two heads are apart, in what counts for a detection: boxes and scores where the teacher
is confident."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from yoloq_quantize.head import Head

FAINT = 1e-6  # probabilities are kept this far from 0 and 1
SMALLEST = 1.0  # pixels, of a side that an error is compared with


@dataclass(frozen=True)
class Decoded:
    """Boxes [n, candidates, 4] x1 y1 x2 y2 in pixels from the cell's corner, class logits [n, candidates, C]."""

    boxes: Tensor
    logits: Tensor


def decode(head: Head, outputs: dict[str, Tensor]) -> Decoded:
    """All candidates, level by level. The formulas are those of docs/package-format.md, without the cells' places,
    which two decodings of one picture share."""
    boxes, logits = [], []
    for level in sorted({output.level for output in head.outputs}):
        parts = {
            output.role: _rows(outputs[output.name], output.channel_axis)
            for output in head.outputs
            if output.level == level
        }
        if "combined" in parts:
            parts = _separate(head, parts["combined"])
        stride = head.strides[level] if head.strides else 1
        boxes.append(_boxes(head, parts["box"], level) * stride)
        logits.append(_logits(head, parts["score"], parts.get("objectness")))
    return Decoded(torch.cat(boxes, 1), torch.cat(logits, 1))


def _rows(raw: Tensor, channel_axis: int) -> Tensor:
    """[n, candidates, channels]."""
    last = raw.movedim(channel_axis, -1)
    return last.reshape(last.shape[0], -1, last.shape[-1])


def _separate(head: Head, rows: Tensor) -> dict[str, Tensor]:
    box = 4 * head.reg_max if head.box == "ltrb" else 4
    width = box + int(head.objectness) + head.classes
    rows = rows.reshape(rows.shape[0], -1, width)
    parts = {"box": rows[..., :box], "score": rows[..., width - head.classes :]}
    if head.objectness:
        parts["objectness"] = rows[..., box : box + 1]
    return parts


def _boxes(head: Head, raw: Tensor, level: int) -> Tensor:
    if head.box == "xyxy":
        return raw
    if head.box == "ltrb":
        sides = raw
        if head.reg_max > 1:
            bins = torch.arange(head.reg_max, dtype=raw.dtype)
            sides = raw.reshape(*raw.shape[:2], 4, head.reg_max).softmax(-1) @ bins
        return torch.cat([-sides[..., :2], sides[..., 2:]], -1)
    if head.box == "exp":
        centre, size = raw[..., :2], raw[..., 2:].exp()
    elif head.box == "anchor":
        stride, anchors = head.strides[level], torch.tensor(head.anchors[level], dtype=raw.dtype)
        unit = raw.sigmoid()
        centre = 2 * unit[..., :2] - 0.5
        size = (2 * unit[..., 2:]) ** 2 * anchors.repeat(raw.shape[1] // len(anchors), 1) / stride
    else:
        centre, size = raw[..., :2], raw[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def _logits(head: Head, scores: Tensor, objectness: Tensor | None) -> Tensor:
    if head.score == "logit" and objectness is None:
        return scores
    if head.score == "logit":
        joint = functional.logsigmoid(scores) + functional.logsigmoid(objectness)
    else:
        joint = (scores if objectness is None else scores * objectness).clamp(FAINT, 1).log()
    return joint - torch.log(-torch.expm1(joint.clamp(max=-FAINT)))


def losses(teacher: Decoded, student: Decoded) -> tuple[Tensor, Tensor]:
    """Errors of the boxes, relative to the teacher's sides, and of the squared logits; both means over the candidates,
    weighted by the teacher's confidence."""
    probabilities = teacher.logits.sigmoid()
    confidence = probabilities.amax(-1)
    sides = (teacher.boxes[..., 2:] - teacher.boxes[..., :2]).clamp(min=SMALLEST)
    apart = (student.boxes - teacher.boxes).abs() / torch.cat([sides, sides], -1)
    box = (apart.mean(-1) * confidence).sum() / confidence.sum().clamp(min=FAINT)
    weight = probabilities.sqrt()
    score = ((student.logits - teacher.logits) ** 2 * weight).sum() / weight.sum().clamp(min=FAINT)
    return box, score
