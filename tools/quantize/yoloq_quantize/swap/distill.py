# SPDX-License-Identifier: Apache-2.0
"""Trains a student graph to answer as its teacher does, on pictures without labels.

Resumable: what a step sees depends on the seed and its number alone, so a run that was stopped and goes on from its
checkpoint ends in the same numbers as one that was not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head
from yoloq_quantize.report import replacing
from yoloq_quantize.subject import Progress
from yoloq_quantize.swap.augment import Views
from yoloq_quantize.swap.loss import feature_loss, head_loss
from yoloq_quantize.train.executor import Executor


@dataclass(frozen=True)
class Schedule:
    """`size`: (width, height) of most steps, in pixels; `full`: of the last `finish` of them, with batches so much
    smaller. `rate`: of learning, in parts of a tensor's own size, see `_groups`. `features`: how many inner values are
    compared. `save`: steps between checkpoints."""

    steps: int
    size: tuple[int, int]
    full: tuple[int, int]
    batch: int = 8
    finish: float = 0.15
    rate: float = 4e-3
    warmup: float = 0.03
    features: int = 24
    feature_weight: float = 1.0
    averaged: float = 0.995
    save: int = 100

    def at(self, step: int) -> tuple[int, tuple[int, int]]:
        """Pictures, and their size, of a step."""
        if step < self.steps * (1 - self.finish):
            return self.batch, self.size
        area = self.size[0] * self.size[1] / (self.full[0] * self.full[1])
        return max(1, round(self.batch * area)), self.full

    def pace(self, step: int) -> float:
        """The rate of a step in parts of `rate`: a short rise, then half a cosine down to 0."""
        rise = max(1, round(self.steps * self.warmup))
        if step < rise:
            return (step + 1) / rise
        return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, self.steps - rise))


def distill(
    student: Executor,
    teacher: Executor,
    head: Head,
    views: Views,
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    progress: Progress = lambda items, _: items,
) -> list[float]:
    """Trains `student` in place; the loss of each step that was run here. The result is a running mean of the weights.

    `checkpoint`: a file to go on from and to save to; one of another run is refused.
    """
    names = features(student, teacher, schedule.features)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam(_groups(student, schedule.rate), betas=(0.9, 0.99))
    averages = [parameter.detach().clone() for parameter in student.parameters()]
    run = _Run(student, averages, optimizer, _fingerprint(student, teacher, views, schedule))
    first = run.load(checkpoint)
    losses = []
    for step in progress(range(first, schedule.steps), "distilling"):
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * schedule.pace(step)
        count, size = schedule.at(step)
        loss = _loss(student, teacher, head, torch.from_numpy(views.batch(step, count, size)), names, schedule)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise QuantizeError(f"training diverged at step {step}; use a lower rate, or pictures like the model's own")
        run.average(min(schedule.averaged, (step + 1) / (step + 10)))
        if checkpoint is not None and ((step + 1) % schedule.save == 0 or step + 1 == schedule.steps):
            run.save(checkpoint, step + 1)
    run.finish()
    return losses


def features(student: Executor, teacher: Executor, count: int) -> list[str]:
    """Results of convolutions that both have, `count` of them spread evenly over the graph, outputs left out."""
    names = [
        step.outputs[0]
        for step in student.steps
        if step.op == "Conv" and step.outputs[0] in teacher.producer and step.outputs[0] not in student.outputs
    ]
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def _loss(
    student: Executor, teacher: Executor, head: Head, pictures: Tensor, names: list[str], schedule: Schedule
) -> Tensor:
    with torch.no_grad():
        theirs = teacher(pictures, names)
    ours = student(pictures, names)
    loss = head_loss(head, ours, theirs)
    return loss + schedule.feature_weight * feature_loss(ours, theirs, names) if names else loss


def _groups(student: Executor, rate: float) -> list[dict[str, Any]]:
    """One group a tensor: Adam's steps are all of one size, tensors are not, so each learns in parts of its own size
    (root of the mean square), as in Adafactor (Shazeer and Stern 2018)."""
    groups = []
    for parameter in student.parameters():
        size = float(parameter.detach().pow(2).mean().sqrt())
        groups.append({"params": [parameter], "full_rate": rate * max(size, 1e-3), "lr": 0.0})
    return groups


def _fingerprint(student: Executor, teacher: Executor, views: Views, schedule: Schedule) -> str:
    """Of everything that a run depends on: both graphs' numbers, the pictures, the schedule."""
    digest = hashlib.sha256(repr((asdict(schedule), views.seed, views.full, views.color)).encode())
    for file in views.files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    for tensor in _tensors(student, teacher):
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _tensors(*executors: Executor) -> Iterable[Tensor]:
    for executor in executors:
        yield from executor.parameters()


class _Run:
    """What changes while training."""

    def __init__(
        self, student: Executor, averages: list[Tensor], optimizer: torch.optim.Optimizer, fingerprint: str
    ) -> None:
        self.student, self.averages, self.optimizer, self.fingerprint = student, averages, optimizer, fingerprint

    @torch.no_grad()
    def average(self, kept: float) -> None:
        torch._foreach_lerp_(self.averages, [parameter.detach() for parameter in self.student.parameters()], 1 - kept)

    @torch.no_grad()
    def finish(self) -> None:
        for parameter, average in zip(self.student.parameters(), self.averages, strict=True):
            parameter.copy_(average)

    def save(self, path: Path, step: int) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "step": step,
            "student": [parameter.detach() for parameter in self.student.parameters()],
            "averages": self.averages,
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(path) as part, part.open("wb") as stream:  # by name, PyTorch refuses those that begin with a dot
            torch.save(state, stream)

    @torch.no_grad()
    def load(self, path: Path | None) -> int:
        """The step to go on from."""
        if path is None or not path.is_file():
            return 0
        try:
            state = torch.load(path, weights_only=True)
            wrong = state["fingerprint"] != self.fingerprint
        except Exception as error:  # torch raises many types for a damaged file
            raise QuantizeError(f"{path}: not a checkpoint that can be read; remove it to start anew") from error
        if wrong:
            raise QuantizeError(f"{path}: checkpoint of another run (model, pictures or settings differ); remove it")
        for parameter, saved in zip(self.student.parameters(), state["student"], strict=True):
            parameter.copy_(saved)
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        return state["step"]
