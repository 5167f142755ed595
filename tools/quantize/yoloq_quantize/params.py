# SPDX-License-Identifier: Apache-2.0
"""Step `params`: scales and zero points from ranges and weights. real = (stored - zero_point) * scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from yoloq_quantize.calibrate import Calibration
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head
from yoloq_quantize.observers import Range
from yoloq_quantize.place import HAND_ON, Edge, Placement, kind_of, moves_only
from yoloq_quantize.ranges import choose_range, fit_scales, scale_and_zero
from yoloq_quantize.scheme import ActivationScheme, Target, WeightScheme

SHARES = np.linspace(1, 0.5, 26)  # of a channel's largest weight that method "mse" tries as the largest integer's

PAIR_LIMIT = 126  # 255 * 128 fits into int16; rounding each of the two up, as learned rounding may, adds 2
FLOORS = {"SiLU": -8.0, "HardSwish": -3.0}  # what lies below gives 0, or less than 0.003 from it
SCORE_FLOOR = -7.0  # of a raw score: a sigmoid makes 0.0009 of it, and no threshold of the house is below 0.001
LANES = 4  # input channels that engines interleave; vpmaddubsw adds two of them


@dataclass(frozen=True)
class TensorParams:
    """Of one activation: float32 scale, zero point in the scheme's integer type."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class WeightParams:
    """Of one weight [out, in, kh, kw]: float32 scales [out] (or [1] per tensor), and the stored integers, int8 (of
    int4 too)."""

    scales: np.ndarray
    stored: np.ndarray


@dataclass(frozen=True)
class Params:
    """`activations` by value name, `weights` by node name. `biases`: by node name, float32 [out] that takes the place
    of the node's own bias (or gives it one); nodes without an entry keep what they have."""

    activations: dict[str, TensorParams]
    weights: dict[str, WeightParams]
    biases: dict[str, np.ndarray] = field(default_factory=dict)


def find_params(
    model: ir.Model,
    placement: Placement,
    calibration: Calibration,
    target: Target,
    floors: Mapping[str, float] | None = None,
) -> Params:
    """`floors`: of outputs that are stored quantised, by name; see output_floors."""
    activations = {}
    nodes = {node.name: node for node in model.graph}
    for names, observed in zip(placement.groups, calibration.ranges, strict=True):
        edges = [edge for name in names for edge in placement.edges.get(name, ())]
        scheme = _scheme_of(edges, nodes, observed, target)
        low, high = choose_range(observed, scheme)
        params = range_params(max(low, _floor(edges, nodes, floors or {})), high, scheme)
        activations.update(dict.fromkeys(names, params))
    weights = {
        name: weight_params(nodes[name].inputs[1], target.weights, weight_axis(nodes[name]))
        for name in placement.weighted
    }
    return Params(activations, weights)


def _scheme_of(edges: list[Edge], nodes: dict[str, ir.Node], observed: Range, target: Target) -> ActivationScheme:
    """The target's; but of outputs, whose few large numbers are the detections, nothing is clipped, and what an
    operator that wants it so reads as its second input, itself or moved, is symmetric."""
    waiting = [(nodes[edge.node], edge.index) for edge in edges]
    if any(node.op_type == HAND_ON for node, _ in waiting):
        return replace(target.activations, method="minmax")
    seen: set[ir.Node] = set()
    while waiting:
        node, index = waiting.pop()
        if node.op_type in target.place.symmetric_second and index == 1:
            method = "mse" if observed.minimum >= 0 else target.activations.method  # half is idle: none left for peaks
            return replace(target.activations, symmetric=True, method=method)
        if node not in seen and moves_only(node, target.place):
            seen.add(node)
            waiting += [(use.node, use.idx) for value in node.outputs for use in value.uses()]
    return target.activations


def output_floors(head: Head) -> dict[str, float]:
    """Below which no one tells an output's numbers apart, by its name: scores that no threshold lets pass."""
    scores = ("score", "objectness") if head.score == "logit" else ()
    return {output.name: SCORE_FLOOR for output in head.outputs if output.role in scores}


def _floor(edges: list[Edge], nodes: dict[str, ir.Node], floors: Mapping[str, float]) -> float:
    """Below which no reader tells values apart: an activation that is flat there, or who reads the output; else minus
    infinity."""
    readers = [nodes[edge.node] for edge in edges]
    kinds = {kind_of(node) for node in readers if node.op_type not in ("Sigmoid", HAND_ON)}
    if any(node.op_type == "Sigmoid" for node in readers) and kinds != {"SiLU"}:
        return -np.inf
    found = [FLOORS.get(kind, -np.inf) for kind in kinds]
    found += [floors.get(node.outputs[0].name, -np.inf) for node in readers if node.op_type == HAND_ON]
    return min(found, default=-np.inf)


def activation_params(observed: Range, scheme: ActivationScheme) -> TensorParams:
    """The scale that the scheme's method chooses; the range always holds 0."""
    return range_params(*choose_range(observed, scheme), scheme)


def range_params(low: float, high: float, scheme: ActivationScheme) -> TensorParams:
    """The parameters that let the scheme's integers cover `low` <= 0 <= `high`."""
    return TensorParams(*scale_and_zero(low, high, scheme))


def weight_axis(node: ir.Node) -> int:
    """The axis of the output channels in the node's weight (input 1)."""
    if node.op_type == "MatMul":
        return len(node.inputs[1].shape) - 1
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    if node.op_type == "ConvTranspose":
        if node.attributes.get_int("group", 1) != 1:
            raise QuantizeError(f"{node.name!r}: ConvTranspose in groups cannot be quantised; keep it in float")
        return 1
    return 0


def weight_params(value: ir.Value, scheme: WeightScheme, axis: int = 0) -> WeightParams:
    """Symmetric integers, one scale per output channel (`axis`) if the scheme says so; an all-zero channel keeps
    scale 1, as near to it as the scheme's form of scales allows."""
    weight = value.const_value.numpy()
    if not np.isfinite(weight).all():
        raise QuantizeError(f"weight {value.name!r} holds NaN or infinity; the model is damaged")
    smallest, largest = scheme.limits
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis] if scheme.per_channel else 1, -1)
    scales = (np.abs(rows).max(axis=1) / largest).astype(np.float32)
    if scheme.method == "mse":
        scales = _least_error(rows, scales, scheme)
    if scheme.pair_sums:
        scales = np.maximum(scales, _pair_scales(weight, axis, scheme))
    scales[scales < np.finfo(np.float32).tiny] = 1
    scales = fit_scales(scales, scheme.scale_form)
    sides = [1] * weight.ndim
    sides[axis] = -1
    stored = np.clip(np.rint(weight / scales.reshape(sides)), smallest, largest).astype(np.int8)
    return WeightParams(scales, stored)


def _pair_scales(weight: np.ndarray, axis: int, scheme: WeightScheme) -> np.ndarray:
    """The smallest float32 scales with which two weights of one sign among neighbouring input channels, at the same
    place of the kernel, add up to PAIR_LIMIT at most: [out], or [1] per tensor."""
    rows = np.moveaxis(weight, axis, 0)
    rows = rows.swapaxes(1, 2) if axis == 2 else rows  # [out, in, ...]; MatMul may have batches before
    rows = rows.reshape(*rows.shape[:2], -1)
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % LANES), (0, 0)))
    lanes = padded.reshape(len(rows), -1, LANES, rows.shape[2])
    sums = [np.sort(np.maximum(sign * lanes, 0), axis=2)[:, :, -2:].sum(axis=2).max(axis=(1, 2)) for sign in (1, -1)]
    largest = np.maximum(*sums)
    return (largest if scheme.per_channel else largest.max(keepdims=True)).astype(np.float32) / PAIR_LIMIT


def _least_error(rows: np.ndarray, widest: np.ndarray, scheme: WeightScheme) -> np.ndarray:
    """For each row the scale, up to the one that clips nothing, that changes its weights least (mean of squares)."""
    best, least = widest.copy(), np.full(len(rows), np.inf)
    for share in SHARES:
        scales = (widest * share).astype(np.float32)
        scales[scales < np.finfo(np.float32).tiny] = 1
        fitted = fit_scales(scales, scheme.scale_form)[:, None]
        errors = ((np.clip(np.rint(rows / fitted), *scheme.limits) * fitted - rows) ** 2).sum(axis=1)
        better = errors < least
        best[better], least[better] = scales[better], errors[better]
    return best
