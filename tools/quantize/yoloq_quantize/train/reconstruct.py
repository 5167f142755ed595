# SPDX-License-Identifier: Apache-2.0
"""Step `reconstruct`: learns a plan's roundings, scales and biases from the float model, on unlabelled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.runner import thread_count
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.train.blockwise import learn_blocks
from yoloq_quantize.train.crops import cut_crops
from yoloq_quantize.train.descend import Settings
from yoloq_quantize.train.distil import Distillation, distil
from yoloq_quantize.train.executor import Executor
from yoloq_quantize.train.fakequant import FakeQuantized

COARSEST = 32  # pixels: crops are whole cells of any level of a YOLO head, where its strides are not known


def reconstruct(
    subject: Subject, plan: Plan, *, pictures: PictureStream | None = None, settings: Settings | None = None
) -> Plan:
    """The plan with learned numbers: stored weights, activation scales and biases; the placement stays.

    `pictures`: to learn from, the subject's own unless given. Never worse than `plan` on crops that were not learned
    from: if neither stage helps there, `plan` comes back. Same inputs, versions, CPU and threads: same numbers.
    """
    settings = settings or Settings()
    with _deterministic(settings.seed):
        student, teacher = FakeQuantized(subject, plan), Executor(subject.graph)
        for parameter in (*student.parameters(), *teacher.parameters()):
            parameter.requires_grad_(False)
        multiple = max((*subject.head.strides, COARSEST))
        count = settings.crops + settings.held_out
        crops = cut_crops(pictures or subject.pictures, count, settings.side, multiple, settings.seed)
        judge = Distillation(subject.head, student, teacher, crops[settings.crops :])
        first = judge.measure()
        best, least = plan, 2.0
        stages = (
            lambda part: learn_blocks(student, teacher, part, settings, subject.progress),
            lambda part: distil(Distillation(subject.head, student, teacher, part), settings, subject.progress),
        )
        for stage, steps in zip(stages, (settings.block_steps, settings.distil_steps), strict=True):
            if not steps:
                continue
            stage(crops[: settings.crops])
            score = sum(now / max(before, 1e-12) for now, before in zip(judge.measure(), first, strict=True))
            if score < least:
                best, least = student.to_plan(), score
    return best


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
