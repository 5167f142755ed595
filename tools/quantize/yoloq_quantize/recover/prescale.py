# SPDX-License-Identifier: Apache-2.0
"""A scale for each channel of an activation, where a chip's convolutions take one scale per tensor.

A tensor is divided by a vector, one number per channel, right before it is quantised, and the weights that read it are
multiplied by the same: sum_c w_c x_c = sum_c (w_c s_c)(x_c / s_c). Quiet channels then use all integers, not the few
that the loudest leaves them. It is exact in float, and free where the engine multiplies by a vector while it quantises
(the target's `prescale`): OpenVINO folds the Mul into the convolution before it. The idea is SmoothQuant's (Xiao et
al. 2023), whose factors must pass the layer before; here they need not, so SiLU is no obstacle, and all of the
imbalance can go: weights have a scale per output channel, and lose little.

Tensors that share a scale through Concat, Split, MaxPool and Resize are scaled together; what reads one of them in
float gets the factors back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.place import Placement, stored_values
from yoloq_quantize.recover.equalize import scaled_inputs
from yoloq_quantize.recover.twins import reduced
from yoloq_quantize.scheme import ActivationScheme
from yoloq_quantize.subject import Subject

CHANNEL_WISE = ("Concat", "Split", "MaxPool", "Resize")  # hand channels on, each by itself
SMALLEST = 1 / 256  # of the loudest channel's factor: what calibration hardly saw may be louder elsewhere
FEW = 2  # pictures: as many know half of what a channel reaches
ZERO_STEP = 4  # of the zero points that are tried


@dataclass(frozen=True)
class Scaled:
    """A subject whose float graph computes the same, and the values that are quantised with a scale per channel."""

    subject: Subject
    values: tuple[str, ...]


def prescale(subject: Subject, placement: Placement) -> Scaled:
    """Scales every group of `placement` that can be; the new graph must be placed anew. All calibration pictures are
    read once; the fewer they are, the more the factors are drawn towards 1."""
    work = _Work(subject, placement)
    groups = [group for group in placement.groups if work.can_scale(group)]
    names = [name for group in groups for name in group]
    if not names:
        return Scaled(subject, ())
    lows, highs = _extremes(subject, names)
    vectors, trust = {}, len(subject.pictures) / (len(subject.pictures) + FEW)
    for group in groups:
        low, high = (np.concatenate([found[name] for name in group]) for found in (lows, highs))
        factors = channel_factors(low, high, subject.target.activations) ** trust
        ends = np.cumsum([len(lows[name]) for name in group])[:-1]
        vectors.update(zip(group, np.split(factors, ends), strict=True))
    return Scaled(replace(subject, graph=_Rewrite(work, vectors).graph), tuple(names))


def channel_factors(low: np.ndarray, high: np.ndarray, scheme: ActivationScheme) -> np.ndarray:
    """float32 [C], 1 for the channel that needs the widest steps. `low`, `high`: [C], how far each channel goes.

    All channels have the zero point in common: with the share z of the integers below it, a channel needs steps of
    max(high / (1 - z), -low / z). The z whose steps have the least sum of squares, which is the noise, is taken.
    """
    low, high = np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64)
    best = np.maximum(-low, high)
    if not scheme.symmetric:
        smallest, largest = scheme.limits
        shares = np.arange(0 if not low.any() else 1, (largest - smallest) // 2, ZERO_STEP) / (largest - smallest)
        needs = [np.maximum(high / (1 - z), -low / z if z else 0) for z in shares]
        best = min(needs, key=lambda need: float(np.square(need).sum()))
    if not best.any():
        return np.ones(len(best), np.float32)
    return np.maximum(best / best.max(), SMALLEST).astype(np.float32)


def _extremes(subject: Subject, names: list[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Each channel's smallest and largest value, the mean over the pictures, by value name: one picture's outlier
    must not make a channel coarse. How far beyond the integers reach is the calibration's to say."""
    runner = reduced(subject.graph, ("ReduceMin", "ReduceMax"), names)
    sums: list[np.ndarray] = []
    for picture in subject.progress(subject.pictures, "channels"):
        values = [array.reshape(-1).astype(np.float64) for array in runner.run(picture).values()]
        for name, value in zip(names * 2, values, strict=True):
            if not np.isfinite(value).all():
                raise QuantizeError(f"the model computes NaN or infinity at {name!r}; it cannot be quantised")
        sums = [one + value for one, value in zip(sums, values, strict=True)] if sums else values
    means = [one / len(subject.pictures) for one in sums]
    return dict(zip(names, means[: len(names)], strict=True)), dict(zip(names, means[len(names) :], strict=True))


class _Work:
    """Which values carry a group's scale, and who reads them."""

    def __init__(self, subject: Subject, placement: Placement) -> None:
        self.graph, self.placement = subject.graph, placement
        self.values = {value.name: value for node in self.graph.graph for value in node.outputs}
        _, passed = stored_values(self.graph.graph, placement)
        self.passed = {value.name for value in passed}
        self.weighted = set(placement.weighted)
        self.quantised = {(edge.node, edge.index) for edges in placement.edges.values() for edge in edges}

    def carriers(self, group: tuple[str, ...]) -> list[ir.Value]:
        """The group's values and those that are made of them by moving numbers."""
        waiting, found = [self.values[name] for name in group], []
        while waiting:
            value = waiting.pop()
            if value not in found:
                found.append(value)
                waiting.extend(out for node, _ in value.uses() for out in node.outputs if out.name in self.passed)
        return found

    def can_scale(self, group: tuple[str, ...]) -> bool:
        """All that reads the group's integers is a convolution or hands channels on."""
        for value in self.carriers(group):
            if not _four_axes(value) or (value.is_graph_output() and value.name in self.passed):
                return False
            for node, index in value.uses():
                if self.moves(node):
                    fits = _hands_on(node)
                elif node.name in self.weighted:
                    fits = _is_plain(node, index)
                else:  # in float: it is given the factors back
                    fits = (node.name, index) not in self.quantised
                if not fits:
                    return False
        return True

    def moves(self, node: ir.Node) -> bool:
        """Runs on integers and only moves them."""
        return any(output.name in self.passed for output in node.outputs)


def _four_axes(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 4


def _is_plain(node: ir.Node, index: int) -> bool:
    weight = node.inputs[1]
    return node.op_type == "Conv" and index == 0 and weight.const_value is not None and _four_axes(weight)


def _hands_on(node: ir.Node) -> bool:
    """By channel: the axis of Concat and Split is that of the channels."""
    axis = node.attributes.get_int("axis", 0) if node.op_type in ("Concat", "Split") else 1
    return node.op_type in CHANNEL_WISE and axis in (1, -3)


class _Rewrite:
    """Puts the vectors of the groups' values into a copy of the graph."""

    def __init__(self, work: _Work, vectors: dict[str, np.ndarray]) -> None:
        self.work, self.graph = work, work.graph.clone()
        self.known: dict[str, np.ndarray | None] = dict(vectors)
        self.nodes = {node.name: node for node in self.graph.graph}
        self.mine = {value.name: value for node in self.graph.graph for value in node.outputs}
        for name in vectors:
            self._divide(name)
        for node in work.graph.graph:
            for value in node.outputs:
                if value.name in work.passed and self.carried(value) is not None:
                    self._give_back(value)
            if node.name in work.weighted:
                self._multiply(node)

    def carried(self, value: ir.Value) -> np.ndarray | None:
        """The vector [C] that a value of the original graph is divided by; None if it is not."""
        if value.name not in self.known:
            self.known[value.name] = self._handed_on(value) if value.name in self.work.passed else None
        return self.known[value.name]

    def _handed_on(self, value: ir.Value) -> np.ndarray | None:
        node = value.producer()
        parts = [self.carried(source) for source in (node.inputs if node.op_type == "Concat" else node.inputs[:1])]
        if any(part is None for part in parts):
            return None
        if node.op_type != "Split":
            return np.concatenate(parts)
        sizes = [int(output.shape[1]) for output in node.outputs]
        return np.split(parts[0], np.cumsum(sizes)[:-1])[list(node.outputs).index(value)]

    def _divide(self, name: str) -> None:
        """What reads the value quantised reads it divided."""
        scaled = self._times(name, 1 / self.known[name], "scaled")
        for edge in self.work.placement.edges[name]:
            self.nodes[edge.node].replace_input_with(edge.index, scaled)

    def _give_back(self, value: ir.Value) -> None:
        """What reads a passed value in float reads it as it was."""
        readers = [
            (node.name, index)
            for node, index in value.uses()
            if node.name not in self.work.weighted and not self.work.moves(node)
        ]
        if readers:
            whole = self._times(value.name, self.carried(value), "unscaled")
            for name, index in readers:
                self.nodes[name].replace_input_with(index, whole)

    def _multiply(self, node: ir.Node) -> None:
        """The weights of a convolution, a node of the original graph, if it reads a scaled value."""
        vector = self.carried(node.inputs[0])
        if vector is not None:
            weight = scaled_inputs(node.inputs[1].const_value.numpy(), vector)
            self.nodes[node.name].replace_input_with(1, self._constant(f"{node.name}/prescaled", weight))

    def _times(self, name: str, vector: np.ndarray, suffix: str) -> ir.Value:
        value = self.mine[name]
        factors = self._constant(f"{name}/{suffix}_by", vector.reshape(1, -1, 1, 1))
        product = ir.val(f"{name}/{suffix}", ir.DataType.FLOAT, value.shape)
        node = ir.node("Mul", [value, factors], name=f"{name}/{suffix}/Mul", outputs=[product])
        self.graph.graph.insert_after(value.producer(), [node])
        return product

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        value = ir.val(name, const_value=ir.tensor(np.ascontiguousarray(array, np.float32), name=name))
        self.graph.graph.register_initializer(value)
        return value
