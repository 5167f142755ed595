# SPDX-License-Identifier: Apache-2.0
"""Step `reconstruct`: learns a plan's roundings, scales and biases from the float model, on unlabelled pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.runner import thread_count
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.train.blockwise import learn_blocks
from yoloq_quantize.train.crops import cut_crops
from yoloq_quantize.train.descend import Settings
from yoloq_quantize.train.distil import ALIKE, Distillation, distil
from yoloq_quantize.train.executor import Executor
from yoloq_quantize.train.fakequant import FakeQuantized

COARSEST = 32  # pixels: crops are whole cells of any level of a YOLO head, where its strides are not known


def reconstruct(
    subject: Subject, plan: Plan, *, pictures: Sequence[Path] | None = None, settings: Settings | None = None
) -> Plan:
    """The plan with learned numbers: stored weights, activation scales and biases; the placement stays.

    `pictures`: files of more pictures to learn from, beside the subject's own. Never worse than `plan` on crops that
    were not learned from: a stage that does not help there is undone. Same inputs, versions, CPU and threads: same
    numbers.
    """
    settings = _fitted(settings or Settings(), subject)
    with _deterministic(settings.seed):
        student, teacher = FakeQuantized(subject, plan), Executor(subject.graph)
        for parameter in (*student.parameters(), *teacher.parameters()):
            parameter.requires_grad_(False)
        multiple = max((*subject.head.strides, COARSEST))
        count = settings.crops + settings.held_out
        crops = cut_crops(_joined(subject.pictures, pictures or ()), count, settings.side, multiple, settings.seed)
        judge = Distillation(subject.head, student, teacher, crops[settings.crops :])
        crops = crops[: settings.crops]
        best, first = plan, judge.measure()
        least = float(len(first))
        stages = (
            (settings.block_steps, lambda: learn_blocks(student, teacher, crops, settings, subject.progress)),
            (
                settings.distil_steps,
                lambda: distil(Distillation(subject.head, student, teacher, crops), settings, subject.progress),
            ),
        )
        for steps, stage in stages:
            if not steps:
                continue
            before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
            stage()
            score = sum(now / max(was, ALIKE) for now, was in zip(judge.measure(), first, strict=True))
            if score < least:
                best, least = student.to_plan(), score
            else:
                student.load_state_dict(before)
    return best


def _joined(pictures: PictureStream, more: Sequence[Path]) -> PictureStream:
    files = dict.fromkeys((*pictures.files, *more))
    return PictureStream(tuple(files), *pictures.size, pictures.color, pictures.align) if more else pictures


def _fitted(settings: Settings, subject: Subject) -> Settings:
    """A head that is decoded in the graph knows its own cells only: whole pictures then, as few as crops make up."""
    if subject.head.strides:
        return settings
    width, height = subject.size
    share = min(1.0, settings.side**2 / (width * height))
    fewer = {name: max(1, round(getattr(settings, name) * share)) for name in ("batch", "crops", "held_out")}
    return replace(settings, side=max(width, height), **fewer)


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Torch as this machine repeats it; the caller's settings come back."""
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.get_rng_state()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(thread_count())
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])
        torch.set_rng_state(before[2])
