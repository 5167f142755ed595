# SPDX-License-Identifier: Apache-2.0
"""Distillation of the whole network: the quantised head must say what the float head says, box for box."""

from __future__ import annotations

import torch
from torch import Tensor

from yoloq_quantize.head import Head
from yoloq_quantize.subject import Progress
from yoloq_quantize.train.blockwise import run_all
from yoloq_quantize.train.crops import batches
from yoloq_quantize.train.descend import Settings, descend, learned
from yoloq_quantize.train.executor import Executor
from yoloq_quantize.train.fakequant import FakeQuantized
from yoloq_quantize.train.headloss import decode, losses

ALIKE = 1e-9  # a loss that is as good as none
TARGET_BYTES = 1 << 29  # of the teacher's raw tensors

Values = dict[str, Tensor]


class Distillation:
    """Student against teacher on crops uint8 [n, h, w, 3], as many of them as the teacher's raw tensors, which are
    kept, leave room for."""

    def __init__(self, head: Head, student: FakeQuantized, teacher: Executor, crops: Tensor) -> None:
        self.head, self.student = head, student
        self.source = student.inputs[0]
        one = run_all(teacher, {self.source: crops[:1]}, (self.source,), student.outputs)
        self.crops = crops = crops[: max(1, TARGET_BYTES // sum(4 * value.numel() for value in one.values()))]
        self.target = run_all(teacher, {self.source: crops}, (self.source,), student.outputs)

    def losses(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Of boxes and scores, see headloss."""
        outputs = self.student(self.crops[indices])
        target = {name: value[indices] for name, value in self.target.items()}
        return losses(decode(self.head, target), decode(self.head, outputs))

    def measure(self, count: int | None = None) -> tuple[float, float]:
        """Mean losses over the first `count` crops."""
        with torch.no_grad():
            found = [self.losses(indices) for indices in torch.arange(count or len(self.crops)).split(8)]
        return tuple(float(sum(part)) / len(found) for part in zip(*found, strict=True))


def distil(task: Distillation, settings: Settings, progress: Progress) -> None:
    """Learns the student's roundings, scales and biases together. Boxes and scores weigh alike: each loss counts
    relative to what it was at first."""
    student, count, steps = task.student, len(task.crops), settings.distil_steps
    first = [max(loss, ALIKE) for loss in task.measure(min(count, 4 * settings.batch))]

    def loss_of(indices: Tensor) -> Tensor:
        return sum(loss / scale for loss, scale in zip(task.losses(indices), first, strict=True))

    groups = learned(student, student.weighted, student.plan.placement.edges, settings)
    order = list(batches(count, settings.batch, steps, settings.seed))
    descend(groups, progress(order, "distilling"), steps, loss_of)
