# SPDX-License-Identifier: Apache-2.0
"""Runs a graph in PyTorch, so that gradients flow through it: any batch, and any input size that the strides divide.

A graph with fixed shapes bakes its batch of 1 and its size into constants (Reshape, Resize, Slice). The executor reads
them as the ratios that they stand for, see `Extent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.train.operators import OPERATORS
from yoloq_quantize.train.step import Extent, Step

TRAINED = {"Conv": (1, 2), "ConvTranspose": (1, 2)}  # operator -> the inputs that are trained


class Executor(torch.nn.Module):
    """An ir.Model as a module. Weights and biases of convolutions are parameters, all other constants buffers.

    Values go by their names in the graph; feeds and results are tensors of the graph's own layout, uint8 pictures
    [n, h, w, 3] included. Raises QuantizeError, with the node's name, for an operator that it does not know.
    """

    def __init__(self, model: ir.Model) -> None:
        super().__init__()
        graph = model.graph
        self.inputs = tuple(value.name for value in graph.inputs)
        self.outputs = tuple(value.name for value in graph.outputs)
        self.steps = tuple(Step.of(node) for node in graph)
        self.producer = {name: step for step in self.steps for name in step.outputs}
        self.shapes = {value.name: _static(value) for value in _values(graph)}
        unknown = [step for step in self.steps if step.op not in OPERATORS]
        if unknown:
            raise QuantizeError(
                f"{unknown[0].op} {unknown[0].name!r} cannot be trained through; use a recipe without learned recovery"
            )
        self._names: dict[str, str] = {}  # constant -> attribute that holds it
        self._plans: dict[tuple[frozenset[str], tuple[str, ...]], tuple[Step, ...]] = {}
        trained = _trained(graph)
        for index, (name, array) in enumerate(_constants(graph).items()):
            self._hold(f"constant_{index}", name, array, name in trained)

    def _hold(self, attribute: str, name: str, array: np.ndarray, trained: bool) -> None:
        self._names[name] = attribute
        tensor = torch.from_numpy(np.array(array))
        if trained and tensor.is_floating_point():
            self.register_parameter(attribute, torch.nn.Parameter(tensor))
        else:
            self.register_buffer(attribute, tensor)

    def constant(self, name: str) -> torch.Tensor:
        """The tensor behind a constant of the graph: a parameter or a buffer."""
        return getattr(self, self._names[name])

    def is_value(self, name: str) -> bool:
        """Whether a node's input is computed or fed, not constant and not left out."""
        return bool(name) and name not in self._names

    def forward(self, picture: torch.Tensor, keep: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        """The graph's outputs, and the inner values named in `keep`, from its only input."""
        return self.run({self.inputs[0]: picture}, [*self.outputs, *keep])

    def run(self, feeds: Mapping[str, torch.Tensor], wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        """The values `wanted`, from the values `feeds`; runs only the nodes in between."""
        wanted = tuple(dict.fromkeys(wanted))
        extent = self._extent(feeds)
        values = dict(feeds)
        steps = self.between(feeds.keys(), wanted)
        last_use = {name: index for index, step in enumerate(steps) for name in step.inputs}
        for index, step in enumerate(steps):
            inputs = [self.read(step, position, values) for position in range(len(step.inputs))]
            try:
                results = OPERATORS[step.op](step, inputs, extent)
            except RuntimeError as error:  # torch's own word for shapes that do not fit
                raise step.fail(f"cannot run: {str(error).splitlines()[0]}") from error
            values.update(zip(step.outputs, results, strict=False))
            for name in step.inputs:
                if last_use.get(name) == index and name not in wanted:
                    values.pop(name, None)
        return {name: values[name] for name in wanted}

    def read(self, step: Step, position: int, values: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """What a node reads at an input; fake quantisation steps in here."""
        name = step.inputs[position]
        if not name:
            return None
        return values[name] if name in values else self.constant(name)

    def between(self, given: Iterable[str], wanted: tuple[str, ...]) -> tuple[Step, ...]:
        """The nodes that lead from `given` to `wanted`, in the graph's order."""
        key = (frozenset(given), wanted)
        if key not in self._plans:
            self._plans[key] = self._slice(*key)
        return self._plans[key]

    def _slice(self, given: frozenset[str], wanted: tuple[str, ...]) -> tuple[Step, ...]:
        needed: set[str] = set()
        waiting = [name for name in wanted if name not in given]
        while waiting:
            name = waiting.pop()
            step = self.producer.get(name)
            if step is None:
                raise QuantizeError(f"{name!r} cannot be computed from {', '.join(sorted(given))}")
            if step.name in needed:
                continue
            needed.add(step.name)
            waiting.extend(source for source in step.inputs if source and source not in given | self._names.keys())
        return tuple(step for step in self.steps if step.name in needed)

    def _extent(self, feeds: Mapping[str, torch.Tensor]) -> Extent:
        """How much more there is of the fed values than the graph's shapes say."""
        for name, tensor in feeds.items():
            shape = self.shapes.get(name)
            if shape is None or len(shape) != 4 or tensor.ndim != 4:
                continue
            rows, columns = (1, 2) if name in self.inputs and shape[3] == 3 else (2, 3)
            return Extent(
                tensor.shape[0] // shape[0], tensor.shape[rows] / shape[rows], tensor.shape[columns] / shape[columns]
            )
        return Extent(1, 1.0, 1.0)


def write_back(executor: Executor, model: ir.Model) -> ir.Model:
    """A copy of `model` with the executor's parameters in place of the constants of the same names."""
    copy = model.clone()
    for value in list(copy.graph.initializers.values()):
        attribute = executor._names.get(value.name)
        if attribute is not None and isinstance(getattr(executor, attribute), torch.nn.Parameter):
            array = executor.constant(value.name).detach().numpy().copy()
            value.const_value = ir.tensor(array, name=value.name)
    return copy


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *(value for node in graph for value in node.outputs)]


def _static(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None or not all(isinstance(side, int) for side in value.shape):
        return None
    return tuple(int(side) for side in value.shape)


def _trained(graph: ir.Graph) -> set[str]:
    return {
        node.inputs[index].name
        for node in graph
        for index in TRAINED.get(node.op_type, ())
        if index < len(node.inputs) and node.inputs[index] is not None
    }


def _constants(graph: ir.Graph) -> dict[str, np.ndarray]:
    """Constants that nodes read, by name. Types of 4 bits become int32."""
    found: dict[str, np.ndarray] = {}
    for node in graph:
        for value in node.inputs:
            if value is not None and value.const_value is not None and value.name not in found:
                found[value.name] = plain(value.const_value.numpy())
    return found


def plain(array: np.ndarray) -> np.ndarray:
    """An array in a type that torch computes with: integers of 4 or 16 bits become int32, bfloat16 float32."""
    if array.dtype.kind in "bif" or array.dtype == np.uint8:
        return array
    return array.astype(np.float32 if array.dtype.name == "bfloat16" else np.int32)
