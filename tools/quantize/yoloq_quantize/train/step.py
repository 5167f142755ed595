# SPDX-License-Identifier: Apache-2.0
"""What an operator gets: its node as a `Step`, its inputs, and the `Extent` of what is fed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from torch import Tensor

from yoloq_quantize.errors import QuantizeError


@dataclass(frozen=True)
class Extent:
    """Pictures in the batch, and the ratios of the fed height and width to the graph's own."""

    batch: int
    height: float
    width: float


@dataclass(frozen=True)
class Step:
    """One node. `shape`, `result`: static shapes of its first input and output, where known. `zero_type`: of the zero
    point of a QuantizeLinear."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    shape: tuple[int, ...] | None
    result: tuple[int, ...] | None
    zero_type: ir.DataType | None

    @staticmethod
    def of(node: ir.Node) -> Step:
        inputs = [value.name if value is not None else "" for value in node.inputs]
        zero = node.inputs[2] if node.op_type == "QuantizeLinear" and len(node.inputs) > 2 else None
        return Step(
            node.name or node.outputs[0].name,
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}",
            tuple(inputs),
            tuple(value.name for value in node.outputs),
            {name: attribute.value for name, attribute in node.attributes.items()},
            _shape(node.inputs[0]) if node.inputs else None,
            _shape(node.outputs[0]),
            zero.dtype if zero is not None else None,
        )

    def ints(self, name: str, default: Sequence[int]) -> list[int]:
        return [int(number) for number in self.attributes.get(name, default)]

    def fail(self, why: str) -> QuantizeError:
        return QuantizeError(f"{self.op} {self.name!r} {why}; use a recipe without learned recovery")


Inputs = list[Tensor | None]
Operator = Callable[[Step, Inputs, Extent], Sequence[Tensor]]


def _shape(value: ir.Value | None) -> tuple[int, ...] | None:
    if value is None or value.shape is None or not all(isinstance(side, int) for side in value.shape):
        return None
    return tuple(int(side) for side in value.shape)


def optional(inputs: Inputs, index: int) -> Tensor | None:
    return inputs[index] if index < len(inputs) else None


def numbers(step: Step, inputs: Inputs, index: int, attribute: str) -> list[int] | None:
    """A list that older opsets have as an attribute and newer ones as an input."""
    tensor = optional(inputs, index)
    if tensor is not None:
        return [int(number) for number in tensor.reshape(-1).tolist()]
    return step.ints(attribute, ()) if attribute in step.attributes else None
