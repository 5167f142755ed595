# SPDX-License-Identifier: Apache-2.0
"""How far a student is from its teacher: what it detects, and what it computes on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from yoloq_quantize.head import Head
from yoloq_quantize.train.headloss import decode

BOX = 2.0  # weight of the boxes beside the scores
SMALLEST = 4.0  # pixels, of a side that an error is compared with


def head_loss(head: Head, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Scores: Kullback-Leibler divergence of each class from the teacher's, which by itself counts little where both
    see nothing. Boxes: shift of the corners in parts of the box, weighted by the teacher's score. Both as for one
    object of score 1, however many there are."""
    ours, theirs = decode(head, dict(student)), decode(head, dict(teacher))
    sure = theirs.logits.sigmoid()
    scores = binary_cross_entropy_with_logits(ours.logits, sure, reduction="sum")
    scores = scores - binary_cross_entropy_with_logits(theirs.logits, sure, reduction="sum")
    seen = sure.amax(-1)
    sides = (theirs.boxes[..., 2:] - theirs.boxes[..., :2]).clamp(min=SMALLEST)
    shift = ((ours.boxes - theirs.boxes).abs() / torch.cat([sides, sides], -1)).sum(-1)
    return (scores + BOX * (shift * seen).sum()) / (seen.sum() + 1)


def feature_loss(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Mean over the named values of the squared error, in parts of the teacher's variance."""
    terms = [((student[name] - teacher[name]) ** 2).mean() / (teacher[name].var() + 1e-6) for name in names]
    return torch.stack(terms).mean()
