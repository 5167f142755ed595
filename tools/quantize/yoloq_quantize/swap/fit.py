# SPDX-License-Identifier: Apache-2.0
"""Fits the convolutions of a changed graph to the original, one after another, by least squares on pictures.

For each convolution, in the graph's order, the inputs are those of the graph as it has become and the targets are the
original's results on the same pictures: a layer makes good what the layers before it changed. A ridge keeps the new
weights near the old ones. Closed form: no learning rate, and no chance but the places sampled, by a fixed seed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.train.executor import Executor
from yoloq_quantize.train.operators import OPERATORS
from yoloq_quantize.train.step import Step

PLACES = 8192  # samples for a convolution, over all pictures
RIDGE = 0.01  # of the mean power of an input


@torch.no_grad()
def fit_convolutions(changed: Executor, original: Executor, pictures: Tensor) -> None:
    """Gives the convolutions of `changed` new weights and biases, in place.

    `pictures`: uint8 [n, h, w, 3]. All go through at once; of both graphs only what is read later on is held.
    """
    generator = torch.Generator().manual_seed(0)
    ours, theirs = _Walk(changed, pictures), _Walk(original, pictures)
    for step in changed.steps:
        if _fits(step, changed) and step.outputs[0] in original.producer:
            _fit(changed, step, ours.values[step.inputs[0]], theirs.until(step.outputs[0]), generator)
        ours.advance()


class _Walk:
    """An executor's values from node to node."""

    def __init__(self, executor: Executor, pictures: Tensor) -> None:
        self.executor, self.values = executor, {executor.inputs[0]: pictures}
        self.extent = executor._extent(self.values)
        self.last = {name: index for index, step in enumerate(executor.steps) for name in step.inputs}
        self.next = 0

    def advance(self) -> None:
        step = self.executor.steps[self.next]
        inputs = [self.executor.read(step, index, self.values) for index in range(len(step.inputs))]
        self.values.update(zip(step.outputs, OPERATORS[step.op](step, inputs, self.extent), strict=False))
        for name in set(step.inputs):
            if self.last[name] == self.next:
                self.values.pop(name, None)
        self.next += 1

    def until(self, name: str) -> Tensor:
        while name not in self.values:
            self.advance()
        return self.values[name]


def _fits(step: Step, executor: Executor) -> bool:
    """Two-dimensional convolutions with written padding; others stay as they are, and later ones make it good."""
    plain = step.op == "Conv" and step.attributes.get("auto_pad", "NOTSET") == "NOTSET"
    return plain and step.inputs[1] not in executor.producer and executor.constant(step.inputs[1]).ndim == 4


def _fit(executor: Executor, step: Step, x: Tensor, target: Tensor, generator: torch.Generator) -> None:
    """Least squares for the change of the weights, group by group, and for the bias where there is one."""
    weight = executor.constant(step.inputs[1])
    bias = executor.constant(step.inputs[2]) if len(step.inputs) > 2 and step.inputs[2] else None
    groups = int(step.attributes.get("group", 1))
    patches, wanted = _samples(step, x, target, list(weight.shape[2:]), generator)
    patches, wanted = patches.unflatten(0, (groups, -1)), wanted.unflatten(0, (groups, -1))  # [g, rows, places]
    gap = wanted - weight.reshape(groups, -1, patches.shape[1]) @ patches
    if bias is not None:
        gap = gap - bias.reshape(groups, -1, 1)
        middle, shift = patches.mean(2, keepdim=True), gap.mean(2, keepdim=True)
        patches, gap = patches - middle, gap - shift
    places = patches.shape[2]
    gram = (patches @ patches.mT).double() / places
    if not (torch.isfinite(gram).all() and torch.isfinite(gap).all()):
        raise QuantizeError(f"the model computes NaN or infinity at {step.name!r}; it cannot be fitted")
    power = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    gram = gram + (RIDGE * power + 1e-12) * torch.eye(gram.shape[1], dtype=torch.float64)
    change = torch.linalg.solve(gram, (patches @ gap.mT).double() / places).mT.float()
    weight.add_(change.reshape(weight.shape))
    if bias is not None:
        bias.add_((shift - change @ middle).reshape(-1))


def _samples(
    step: Step, x: Tensor, target: Tensor, kernel: list[int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Input patches [C * kh * kw, places] and targets [out, places], at places drawn for each picture."""
    top, left, bottom, right = step.ints("pads", [0, 0, 0, 0])
    strides, dilations = step.ints("strides", [1, 1]), step.ints("dilations", [1, 1])
    each = -(-PLACES // len(x))
    patches, wanted = [], []
    for picture, goal in zip(x, target, strict=True):
        goal = goal.flatten(1)
        drawn = torch.arange(goal.shape[1])
        if len(drawn) > each:
            drawn = torch.randint(len(drawn), (each,), generator=generator)
        padded = functional.pad(picture, (left, right, top, bottom))
        if kernel == [1, 1]:
            flat = padded[:, :: strides[0], :: strides[1]].flatten(1)
        else:
            flat = functional.unfold(padded[None], kernel, dilations, 0, strides)[0]
        patches.append(flat[:, drawn])
        wanted.append(goal[:, drawn])
    return torch.cat(patches, 1), torch.cat(wanted, 1)
