# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalisation: where a convolution's output reaches the next one through nothing or through a function
that positive factors pass (ReLU, LeakyReLU, PReLU), a channel may be made smaller here and larger there at no cost.

Channels of one tensor share one scale, so a single loud channel makes the others coarse. Each channel i gets the factor
s_i = sqrt(a_i / w_i), with a_i the largest value it takes and w_i the largest weight that reads it, normalised to a
geometric mean of 1: the balance of Nagel et al. 2019 (section 4.1), with measured activations in place of the first
layer's weights, since weights have a scale per channel of their own. SiLU, HardSwish and Mish do not let factors pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from yoloq_quantize.recover.twins import reduced
from yoloq_quantize.subject import Subject

HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu")
LARGEST = 16.0  # factors stay between 1 / LARGEST and LARGEST: more would move the trouble to the weights
PICTURES = 8


@dataclass(frozen=True)
class Pair:
    """Convolutions by node name, and the value between them that the second one reads."""

    first: str
    second: str
    between: str


def find_pairs(model: ir.Model) -> tuple[Pair, ...]:
    """Pairs in the graph's order. Nothing else may read what lies between, and it must be no output."""
    pairs = []
    for node in model.graph:
        value = _passes_factors(node)
        if value is None:
            continue
        ((second, index),) = value.uses()
        if second.op_type == "Conv" and index == 0 and _has_own_weights(second):
            pairs.append(Pair(node.name, second.name, value.name))
    return tuple(pairs)


def equalize(subject: Subject, pictures: int = PICTURES) -> tuple[Subject, tuple[Pair, ...]]:
    """A subject whose float graph computes the same with balanced channels, and the pairs that were balanced."""
    pairs = find_pairs(subject.graph)
    if not pairs:
        return subject, ()
    graph = subject.graph.clone()
    nodes = {node.name: node for node in graph.graph}
    for pair, largest in zip(pairs, _largest(subject, pairs, pictures), strict=True):
        first, second = nodes[pair.first], nodes[pair.second]
        weight = second.inputs[1].const_value.numpy()
        factors = _factors(largest, _read_by_channel(weight, len(largest)))
        _replace(first, 1, first.inputs[1].const_value.numpy() / factors.reshape(-1, 1, 1, 1))
        if len(first.inputs) > 2 and first.inputs[2] is not None:
            _replace(first, 2, first.inputs[2].const_value.numpy() / factors)
        _replace(second, 1, scaled_inputs(weight, factors))
    return replace(subject, graph=graph), pairs


def _passes_factors(node: ir.Node) -> ir.Value | None:
    """What a convolution gives the next node, behind an activation that lets positive factors pass; None otherwise."""
    if node.op_type != "Conv" or not _has_own_weights(node):
        return None
    value = node.outputs[0]
    for _ in range(2):
        if value.is_graph_output() or len(value.uses()) != 1:
            return None
        ((reader, index),) = value.uses()
        if reader.op_type not in HOMOGENEOUS or index != 0:
            break
        value = reader.outputs[0]
    return value if not value.is_graph_output() and len(value.uses()) == 1 else None


def _has_own_weights(node: ir.Node) -> bool:
    """Constant weights (and bias) of four axes that no other node reads."""
    parameters = [value for value in node.inputs[1:] if value is not None]
    return all(value.const_value is not None and len(value.uses()) == 1 for value in parameters) and (
        len(parameters[0].shape) == 4
    )


def _largest(subject: Subject, pairs: tuple[Pair, ...], pictures: int) -> list[np.ndarray]:
    """The largest magnitude that each channel takes between each pair, float64 [C]."""
    runner = reduced(subject.graph, ("ReduceMax",), [pair.between for pair in pairs], absolute=True)
    found: list[np.ndarray] | None = None
    for picture in subject.pictures.spread(pictures):
        values = [array.reshape(-1).astype(np.float64) for array in runner.run(picture).values()]
        found = values if found is None else [np.maximum(a, b) for a, b in zip(found, values, strict=True)]
    return found or []


def _read_by_channel(weight: np.ndarray, channels: int) -> np.ndarray:
    """The largest weight [out, in / groups, kh, kw] that reads each of `channels` input channels."""
    groups = channels // weight.shape[1]
    magnitude = np.abs(weight).max(axis=(2, 3)).reshape(groups, weight.shape[0] // groups, weight.shape[1])
    return magnitude.max(axis=1).reshape(-1)


def _factors(largest: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 [C], 1 for channels that are silent or that nothing reads."""
    used = (largest > 0) & (weights > 0)
    factors = np.ones(len(largest))
    if used.any():
        factors[used] = np.sqrt(largest[used] / weights[used])
        factors[used] /= np.exp(np.log(factors[used]).mean())
    return np.clip(factors, 1 / LARGEST, LARGEST).astype(np.float32)


def scaled_inputs(weight: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The weight with each input channel multiplied by its factor."""
    groups = len(factors) // weight.shape[1]
    per_group = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return (per_group * factors.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)


def _replace(node: ir.Node, index: int, array: np.ndarray) -> None:
    value = node.inputs[index]
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=value.name)
