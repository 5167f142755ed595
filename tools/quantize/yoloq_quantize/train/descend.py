# SPDX-License-Identifier: Apache-2.0
"""What reconstruction and distillation share: settings, and the descent (Adam, rates that fall as a cosine)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.train.fakequant import FakeQuantized

LAST_RATE = 0.01  # of the first


@dataclass(frozen=True)
class Settings:
    """How much is learned, and how fast. Figures behind the defaults: docs/quantisation-study.md.

    `side`: of a crop, pixels. `crops`: to learn from; `held_out`: to judge by. `block_convolutions`: at most, in one
    block. `block_steps`: for each block; `distil_steps`: for the whole network; 0 leaves a stage out. Rates: of a
    weight's place between two integers, of the logarithm of an activation's scale, of a bias relative to the size of
    its node's biases; a rate of 0 leaves these as they are. `drop`: share of the activations that blocks see unrounded.
    """

    side: int = 320
    crops: int = 640
    held_out: int = 32
    batch: int = 4
    block_convolutions: int = 6
    block_steps: int = 40
    distil_steps: int = 600
    rounding_rate: float = 3e-3
    scale_rate: float = 3e-4
    bias_rate: float = 3e-4
    drop: float = 0.0
    seed: int = 0


def learned(student: FakeQuantized, weighted: Iterable[str], values: Iterable[str], settings: Settings) -> list[dict]:
    """Adam's groups: roundings and biases of the nodes `weighted`, scales of the quantised `values`."""
    weighted = list(weighted)
    biases = [bias for name in weighted if (bias := student.bias(name)) is not None]
    scales = list(dict.fromkeys(student.quantizer(value).log_scale for value in values))
    groups = [
        {"params": [student.weight(name).place for name in weighted], "lr": settings.rounding_rate},
        *(
            {"params": [bias], "lr": settings.bias_rate * float(bias.detach().square().mean().sqrt())}
            for bias in biases
        ),
        {"params": scales if student.scales_are_free else [], "lr": settings.scale_rate},
    ]
    return [group for group in groups if group["params"] and group["lr"] > 0]


def descend(
    groups: list[dict], batches: Sequence[Tensor] | Iterable[Tensor], steps: int, loss_of: Callable[[Tensor], Tensor]
) -> None:
    """Minimises `loss_of(indices)` over the groups' parameters, which need no gradient before and after."""
    parameters: list[Parameter] = [parameter for group in groups for parameter in group["params"]]
    if not parameters:
        return
    optimizer = torch.optim.Adam(groups)
    rates = [group["lr"] for group in groups]
    for parameter in parameters:
        parameter.requires_grad_(True)
    for step, indices in enumerate(batches):
        share = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share
        loss = loss_of(indices)
        if not torch.isfinite(loss):
            raise QuantizeError("learned recovery diverges; use a recipe without it")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
