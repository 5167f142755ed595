# SPDX-License-Identifier: Apache-2.0
"""Block-wise reconstruction: each block learns to give what the float block gives, from what the quantised blocks
before it hand on (after BRECQ, Li et al. 2021, and QDrop, Wei et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from yoloq_quantize.subject import Progress
from yoloq_quantize.train.blocks import Block, find_blocks
from yoloq_quantize.train.crops import batches
from yoloq_quantize.train.descend import Settings, descend, learned
from yoloq_quantize.train.executor import Executor
from yoloq_quantize.train.fakequant import FakeQuantized

CACHE_BYTES = 1 << 30  # of values between blocks
CHUNK = 8  # crops that are run at once without gradients
QUIET = 1e-12  # power of a value that never changes

Values = dict[str, Tensor]


def learn_blocks(
    student: FakeQuantized, teacher: Executor, crops: Tensor, settings: Settings, progress: Progress
) -> None:
    """Learns the student's blocks one after the other; `crops` uint8 [n, h, w, 3]."""
    blocks = find_blocks(student, settings.block_convolutions)
    crops = crops[: _affordable(student, blocks, crops)]
    quantised = real = {student.inputs[0]: crops}
    last_use = {name: index for index, block in enumerate(blocks) for name in block.inputs}
    seen: set[str] = set()
    for index, block in enumerate(progress(blocks, "reconstructing")):
        target = run_all(teacher, real, block.inputs, block.outputs)
        fresh = [value for value in student.values_read(block.steps) if value not in seen]
        seen.update(value for group in student.plan.placement.groups if set(group) & set(fresh) for value in group)
        if settings.block_steps:
            _learn(student, block, fresh, quantised, target, settings, settings.seed + index)
        result = run_all(student, quantised, block.inputs, block.outputs)
        real, quantised = ({**old, **new} for old, new in ((real, target), (quantised, result)))
        done = [name for name in real if last_use.get(name, -1) <= index]
        for name in done:
            del real[name], quantised[name]


def _learn(
    student: FakeQuantized,
    block: Block,
    fresh: list[str],
    inputs: Values,
    target: Values,
    settings: Settings,
    seed: int,
) -> None:
    count = len(next(iter(target.values())))
    power = {name: float(value.var(correction=0)) + QUIET for name, value in target.items()}

    def loss_of(indices: Tensor) -> Tensor:
        result = student.run({name: inputs[name][indices] for name in block.inputs}, block.outputs)
        return sum(((result[name] - target[name][indices]) ** 2).mean() / power[name] for name in block.outputs)

    student.drop(settings.drop)
    steps = settings.block_steps
    descend(
        learned(student, block.weighted, fresh, settings), batches(count, settings.batch, steps, seed), steps, loss_of
    )
    student.drop(0.0)


def run_all(executor: Executor, values: Values, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Values:
    """The outputs for all crops of `values`, a few at a time, without gradients."""
    count = len(values[inputs[0]])
    parts = []
    with torch.no_grad():
        for start in range(0, count, CHUNK):
            parts.append(executor.run({name: values[name][start : start + CHUNK] for name in inputs}, outputs))
    return {name: torch.cat([part[name] for part in parts]) for name in outputs}


def _affordable(student: FakeQuantized, blocks: list[Block], crops: Tensor) -> int:
    """How many crops' values fit into CACHE_BYTES, for both networks, where most are alive."""
    shapes = student.shapes
    _, height, width, _ = shapes[student.inputs[0]]
    share = crops.shape[1] * crops.shape[2] / (height * width)
    alive: dict[str, float] = {}
    most = 1.0
    for index, block in enumerate(blocks):
        for name in block.outputs:
            alive[name] = 2 * 4 * share * torch.Size(shapes[name] or ()).numel()
        most = max(most, sum(alive.values()))
        later = {name for other in blocks[index + 1 :] for name in other.inputs}
        alive = {name: size for name, size in alive.items() if name in later}
    return max(1, min(len(crops), int(CACHE_BYTES / most)))
