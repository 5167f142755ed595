# SPDX-License-Identifier: Apache-2.0
"""The recipe: choose, swap, fit by least squares, distil. The result is a float subject for the usual quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.swap_activations import SwapActivations
from yoloq_quantize.subject import Subject
from yoloq_quantize.swap.augment import Views
from yoloq_quantize.swap.distill import Schedule, distill
from yoloq_quantize.swap.fit import fit_convolutions
from yoloq_quantize.swap.which import choose
from yoloq_quantize.train.executor import Executor, write_back

FIRST_OPSET = {"HardSwish": 14, "Relu": 1}  # below, HardSwish is two nodes, which engines do not fuse: slower than SiLU
FITTED = 12  # pictures for the least squares
STEPS = 800


def swap_activations(
    subject: Subject,
    *,
    to: str = "HardSwish",
    which: str | Sequence[str] = "auto",
    train_pictures: Sequence[Path] | None = None,
    steps: int = STEPS,
    seed: int = 0,
    checkpoint: str | Path | None = None,
) -> Subject:
    """A subject whose graph has `to` ("HardSwish", "Relu") in place of the activations `which` (see which.choose).

    train_pictures: files of further pictures without labels; the calibration pictures are learned from as well.
    steps: of training; 0: only the least squares. checkpoint: file to go on from, and to save to.
    """
    opset = subject.graph.graph.opset_imports.get("", 0)
    if opset < FIRST_OPSET.get(to, 0):
        raise QuantizeError(f"opset {opset} has no {to}; export the model with opset {FIRST_OPSET[to]} or later")
    if steps < 0:
        raise QuantizeError(f"{steps} training steps; give 0 or more")
    names = choose(subject.graph, which)
    graph = run_passes(subject.graph.clone(), SwapActivations(names, to))
    student, teacher = Executor(graph), Executor(subject.graph)
    few = subject.pictures.spread(FITTED)
    fit_convolutions(student, teacher, torch.from_numpy(np.concatenate(list(few))))
    if steps:
        files = [*subject.pictures.files, *(train_pictures or ())]
        views = Views(files, subject.size, subject.pictures.color, seed)
        schedule = Schedule(steps, half_size(subject), subject.size)
        path = None if checkpoint is None else Path(checkpoint)
        distill(student, teacher, subject.head, views, schedule, checkpoint=path, progress=subject.progress)
    return replace(subject, graph=write_back(student, graph))


def half_size(subject: Subject) -> tuple[int, int]:
    """Half of the input's width and height, in whole cells of the coarsest level: a step costs a quarter."""
    cell = max(subject.head.strides, default=32)
    return tuple(max(cell, round(side / 2 / cell) * cell) for side in subject.size)
