# SPDX-License-Identifier: Apache-2.0
"""Step `params`: scales and zero points from ranges and weights. real = (stored - zero_point) * scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.calibrate import Calibration, Range
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.place import Placement
from yoloq_quantize.scheme import ActivationScheme, Target, WeightScheme

STEPS = 24  # clipping candidates on a side
SMALLEST = 0.25  # of a side's extreme that clipping may leave


@dataclass(frozen=True)
class TensorParams:
    """Of one activation: float32 scale, zero point in the scheme's integer type."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class WeightParams:
    """Of one weight [out, in, kh, kw]: float32 scales [out] (or [1] per tensor), and the stored integers."""

    scales: np.ndarray
    stored: np.ndarray


@dataclass(frozen=True)
class Params:
    """`activations` by value name, `weights` by node name."""

    activations: dict[str, TensorParams]
    weights: dict[str, WeightParams]


def find_params(model: ir.Model, placement: Placement, calibration: Calibration, target: Target) -> Params:
    activations = {}
    for names, observed in zip(placement.groups, calibration.ranges, strict=True):
        params = activation_params(observed, target.activations)
        activations.update(dict.fromkeys(names, params))
    nodes = {node.name: node for node in model.graph}
    weights = {name: weight_params(nodes[name].inputs[1], target.weights) for name in placement.weighted}
    return Params(activations, weights)


def activation_params(observed: Range, scheme: ActivationScheme) -> TensorParams:
    """The scale that the scheme's method chooses; the range always holds 0."""
    low, high = min(observed.minimum, 0.0), max(observed.maximum, 0.0)
    if scheme.method == "percentile":
        low, high = _percentile(observed, scheme.percentile)
    elif scheme.method == "mse":
        low, high = _least_error(observed, scheme)
    return _params(low, high, scheme)


def weight_params(value: ir.Value, scheme: WeightScheme) -> WeightParams:
    """Symmetric integers, one scale per output channel if the scheme says so; an all-zero channel keeps scale 1."""
    weight = value.const_value.numpy()
    if not np.isfinite(weight).all():
        raise QuantizeError(f"weight {value.name!r} holds NaN or infinity; the model is damaged")
    limit = np.iinfo(scheme.dtype).max
    rows = weight.reshape(weight.shape[0] if scheme.per_channel else 1, -1)
    scales = (np.abs(rows).max(axis=1) / limit).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1
    shaped = scales.reshape(-1, *[1] * (weight.ndim - 1))
    stored = np.clip(np.rint(weight / shaped), -limit, limit).astype(scheme.dtype)
    return WeightParams(scales, stored)


def _params(low: float, high: float, scheme: ActivationScheme) -> TensorParams:
    smallest, largest = scheme.limits
    if scheme.symmetric:
        middle = (smallest + largest + 1) // 2
        scale = max(-low / (middle - smallest), high / (largest - middle))
    else:
        scale = (high - low) / (largest - smallest)
    scale = float(np.float32(scale))
    if scale < np.finfo(np.float32).tiny:
        scale = 1.0  # a tensor that is always 0
    zero_point = middle if scheme.symmetric else int(np.clip(round(smallest - low / scale), smallest, largest))
    return TensorParams(scale, zero_point)


def _percentile(observed: Range, percentile: float) -> tuple[float, float]:
    """The range without the outer (100 - percentile) percent of the values on either side."""
    edges = np.linspace(observed.low, observed.high, len(observed.histogram) + 1)
    share = np.cumsum(observed.histogram) / observed.histogram.sum()
    low = max(edges[np.searchsorted(share, 1 - percentile / 100)], observed.minimum)
    high = min(edges[np.searchsorted(share, percentile / 100) + 1], observed.maximum)
    return min(float(low), 0.0), max(float(high), 0.0)


def _least_error(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """The range whose quantisation changes the observed values least, in the mean of squares."""
    edges = np.linspace(observed.low, observed.high, len(observed.histogram) + 1)
    used = observed.histogram > 0
    centres, counts = ((edges[:-1] + edges[1:]) / 2)[used], observed.histogram[used]
    low, high = min(observed.minimum, 0.0), max(observed.maximum, 0.0)
    shares = np.linspace(1, SMALLEST, STEPS)
    best, least = (low, high), np.inf
    for low_share in shares if low < 0 else shares[:1]:
        for high_share in shares if high > 0 else shares[:1]:
            params = _params(low * low_share, high * high_share, scheme)
            smallest, largest = scheme.limits
            stored = np.clip(np.rint(centres / params.scale) + params.zero_point, smallest, largest)
            error = float((counts * ((stored - params.zero_point) * params.scale - centres) ** 2).sum())
            if error < least:
                best, least = (low * low_share, high * high_share), error
    return best
