# SPDX-License-Identifier: Apache-2.0
"""A plan's QDQ graph as a module that learns: rounding of weights, scales of activations, biases.

In the forward pass numbers are rounded as QuantizeLinear does; the gradient of an activation passes straight through
where it was not clipped. Scales learn by the gradient of their own rounding error (LSQ, Esser et al. 2020), weights
choose between the two nearest integers (AdaRound, Nagel et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from yoloq_quantize.params import WeightParams, weight_axis
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.train.executor import Executor
from yoloq_quantize.train.step import Step

EDGE = 1e-3  # how far past the middle a weight starts that lies in it and is rounded up


class _FakeQuantize(torch.autograd.Function):
    """(clamp(round(x / scale) + zero, low, high) - zero) * scale."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, zero: int, low: int, high: int) -> Tensor:
        rounded = torch.ops.aten.fake_quantize_per_tensor_affine_cachemask(x, float(scale), zero, low, high)
        ctx.save_for_backward(x, scale, *rounded)
        return rounded[0]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, result, unclipped = ctx.saved_tensors
        through = gradient * unclipped
        # d result / d scale: the rounding error where not clipped, else the limit; both over the scale.
        learned = (_dot(gradient, result) - _dot(through, x)) / scale if ctx.needs_input_grad[1] else None
        return through, learned, None, None, None


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return torch.dot(one.reshape(-1), other.reshape(-1))


class ActivationQuantizer(torch.nn.Module):
    """One scale for all values of a group; the zero point stays. `share`: of the values left as they are (QDrop)."""

    def __init__(self, scale: float, zero_point: int, limits: tuple[int, int]) -> None:
        super().__init__()
        self.log_scale = Parameter(torch.zeros(()))  # relative to where it starts
        self.start, self.zero_point, self.limits = scale, zero_point, limits
        self.share = 0.0

    @property
    def scale(self) -> Tensor:
        return self.start * torch.exp(self.log_scale)

    def forward(self, x: Tensor) -> Tensor:
        result = _FakeQuantize.apply(x, self.scale, self.zero_point, *self.limits)
        if self.share:
            return torch.where(torch.rand(x.shape) < self.share, x, result)
        return result


class WeightQuantizer(torch.nn.Module):
    """Weights on fixed scales, each rounded to one of the two integers around it.

    `place` is where a weight lies between them, 0 to 1, free to move. In the forward pass it is rounded, and its
    gradient passes straight through; with `soft` it is not rounded, but bent towards both ends (rectified sigmoid).
    """

    def __init__(self, weight: Tensor, params: WeightParams, axis: int, limits: tuple[int, int]) -> None:
        super().__init__()
        scale = torch.from_numpy(params.scales)
        if len(params.scales) > 1:
            scale = scale.reshape([-1 if side == axis else 1 for side in range(weight.ndim)])
        steps = weight.detach() / scale
        stored = torch.from_numpy(params.stored.astype(np.float32))
        # The two integers around the weight; around what the plan stores, if an earlier step chose another one.
        low = torch.where((stored - steps).abs() < 1, steps.floor(), stored - (steps < stored).float())
        low = low.clamp(limits[0], limits[1] - 1)
        place = (steps - low).clamp(0, 1)
        up = stored > low
        # One that is rounded against its nature starts as far on its side as it lies on the other: in the middle, the
        # first step would turn all of them back.
        place = torch.where((place > 0.5) == up, place, torch.where(up, (1 - place).clamp(min=0.5 + EDGE), 1 - place))
        self.register_buffer("scale", scale)
        self.register_buffer("low", low)
        self.place = Parameter(place)
        self.soft = False

    def stored(self) -> Tensor:
        """The integers, as floats."""
        return self.low + (self.place.detach() > 0.5).float()

    def forward(self) -> Tensor:
        place = self.place.clamp(0, 1)
        if not self.soft:
            place = place + (self.stored() - self.low - place).detach()
        return (self.low + place) * self.scale


class FakeQuantized(Executor):
    """The QDQ graph of `plan` over the subject's float graph."""

    def __init__(self, subject: Subject, plan: Plan) -> None:
        super().__init__(subject.graph)
        self.plan, self.edges = plan, {}
        params, self._quantizer_of = plan.params, {}
        for value, edges in plan.placement.edges.items():
            self.edges.update({(edge.node, edge.index): value for edge in edges})
        limits = np.iinfo(subject.target.activations.dtype)
        limits = (int(limits.min), int(limits.max))
        self.scales_are_free = subject.target.activations.scale_form == "float"
        self.quantizers = torch.nn.ModuleList()
        for names in plan.placement.groups:
            chosen = params.activations[names[0]]
            self._quantizer_of.update(dict.fromkeys(names, len(self.quantizers)))
            self.quantizers.append(ActivationQuantizer(chosen.scale, chosen.zero_point, limits))
        steps = {step.name: step for step in self.steps}
        nodes = {node.name: node for node in subject.graph.graph}
        self.weighted: dict[str, int] = {}
        self.weights = torch.nn.ModuleList()
        for name in plan.placement.weighted:
            self.weighted[name] = len(self.weights)
            weight, axis = self.constant(steps[name].inputs[1]), weight_axis(nodes[name])
            self.weights.append(WeightQuantizer(weight, params.weights[name], axis, subject.target.weights.limits))
        self.biases = torch.nn.ParameterDict()
        self._bias_of: dict[str, str] = {}
        for name in plan.placement.weighted:
            bias = self._first_bias(steps[name])
            if bias is not None:
                self._bias_of[name] = f"bias_{self.weighted[name]}"
                self.biases[self._bias_of[name]] = Parameter(bias)

    def _first_bias(self, step: Step) -> Tensor | None:
        if step.name in self.plan.params.biases:
            return torch.from_numpy(self.plan.params.biases[step.name].astype(np.float32))
        if len(step.inputs) > 2 and step.inputs[2]:
            return self.constant(step.inputs[2]).detach().clone()
        return None

    def quantizer(self, value: str) -> ActivationQuantizer:
        return self.quantizers[self._quantizer_of[value]]

    def values_read(self, steps: Iterable[Step]) -> list[str]:
        """The values that these nodes read quantised."""
        found = (self.edges.get((step.name, position)) for step in steps for position in range(len(step.inputs)))
        return list(dict.fromkeys(value for value in found if value is not None))

    def drop(self, share: float) -> None:
        """From now on, this share of the activations stays as it is, at random."""
        for quantizer in self.quantizers:
            quantizer.share = share

    def weight(self, node: str) -> WeightQuantizer:
        return self.weights[self.weighted[node]]

    def bias(self, node: str) -> Parameter | None:
        return self.biases[self._bias_of[node]] if node in self._bias_of else None

    def read(self, step: Step, position: int, values: dict[str, Tensor]) -> Tensor | None:
        if step.name in self.weighted and position == 1:
            return self.weight(step.name)()
        if step.name in self._bias_of and position == 2:
            return self.bias(step.name)
        value = self.edges.get((step.name, position))
        if value is None:
            return super().read(step, position, values)
        real = f"{value}/real"
        if real not in values:
            values[real] = self.quantizer(value)(values[value])
        return values[real]

    def to_plan(self) -> Plan:
        """What was learned, as numbers for InsertQdq."""
        activations = {}
        for names in self.plan.placement.groups:
            scale = float(np.float32(self.quantizer(names[0]).scale.detach()))
            for name in names:
                activations[name] = replace(self.plan.params.activations[name], scale=scale)
        weights = {}
        for name in self.weighted:
            old = self.plan.params.weights[name]
            stored = self.weight(name).stored().detach().numpy().astype(old.stored.dtype)
            weights[name] = replace(old, stored=stored)
        biases = dict(self.plan.params.biases)
        biases |= {name: self.bias(name).detach().numpy().copy() for name in self._bias_of}
        return replace(
            self.plan, params=replace(self.plan.params, activations=activations, weights=weights, biases=biases)
        )
