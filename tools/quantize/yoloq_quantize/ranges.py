# SPDX-License-Identifier: Apache-2.0
"""Which part of the observed values the integers cover: the methods by name, and the scale that a range gives.

Every range holds 0, which padding and ReLU need exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.observers import Range
from yoloq_quantize.scheme import ActivationScheme

STEPS = 24  # clipping candidates on a side
SMALLEST = 0.25  # of a side's extreme that clipping may leave
TINY = float(np.finfo(np.float32).tiny)

Candidate = tuple[tuple[float, float], float, int]  # a range, its scale and its zero point


def choose_range(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """(low, high) by the scheme's method."""
    return CHOICES[scheme.method](observed, scheme)


def scale_and_zero(low: float, high: float, scheme: ActivationScheme) -> tuple[float, int]:
    """Float32 scale and zero point that let the scheme's integers cover `low` <= 0 <= `high`."""
    scales, zeros = scales_and_zeros(np.array([low]), np.array([high]), scheme)
    return float(scales[0]), int(zeros[0])


def scales_and_zeros(lows: np.ndarray, highs: np.ndarray, scheme: ActivationScheme) -> tuple[np.ndarray, np.ndarray]:
    """The same for many ranges, float64 [n]: scales as float64 of float32 values, zero points as int64."""
    smallest, largest = scheme.limits
    middle = (smallest + largest + 1) // 2
    if scheme.symmetric:
        wanted = np.maximum(-lows / (middle - smallest), highs / (largest - middle))
    else:
        wanted = (highs - lows) / (largest - smallest)
    scales = wanted.astype(np.float32).astype(np.float64)
    scales[scales < TINY] = 1.0  # a tensor that is always 0
    if scheme.symmetric:
        return np.float64(fit_scales(np.float32(scales), scheme.scale_form)), np.full(len(scales), middle)
    return scales, np.clip(np.rint(smallest - lows / scales), smallest, largest).astype(np.int64)


def fit_scales(scales: np.ndarray, form: str) -> np.ndarray:
    """The nearest float32 scales of a form, any shape: "power_of_two" rounds up, so that nothing is clipped;
    "position" moves a scale by its last bit at most, until `position_fraction` gives it back exactly."""
    if form == "float":
        return scales
    position, fraction = position_fraction(scales)
    whole = np.ldexp(np.float64(1), position)
    return np.float32(whole if form == "power_of_two" else whole / fraction)


def position_fraction(scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cambricon's two numbers for float32 scales: int32 position and float32 fraction, 1 <= fraction < 2, with
    scale = 2^position / fraction.

    Vendors write position = floor(log2(largest)) - (bits - 2), which leaves fractions slightly below 1 at some
    magnitudes; the scale is the same.
    """
    mantissa, exponent = np.frexp(np.asarray(scales, np.float64))  # scale = mantissa * 2^exponent, 0.5 <= mantissa < 1
    exact = mantissa == 0.5
    position = (exponent - exact).astype(np.int32)
    return position, np.float32(np.where(exact, 1.0, 1.0 / mantissa))


def minmax(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """All values."""
    return min(observed.minimum, 0.0), max(observed.maximum, 0.0)


def moving_average(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """The moving average of each picture's extremes: one odd picture counts as one of many."""
    if observed.moving_minimum is None or observed.moving_maximum is None:
        raise QuantizeError("no moving averages were collected; calibrate again")
    return min(observed.moving_minimum, 0.0), max(observed.moving_maximum, 0.0)


def percentile(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """The range without the outer (100 - percentile) percent of the values on either side."""
    edges = np.linspace(observed.low, observed.high, len(observed.histogram) + 1)
    share = np.cumsum(observed.histogram) / observed.histogram.sum()
    low = max(edges[np.searchsorted(share, 1 - scheme.percentile / 100)], observed.minimum)
    high = min(edges[np.searchsorted(share, scheme.percentile / 100) + 1], observed.maximum)
    return min(float(low), 0.0), max(float(high), 0.0)


def mse(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """The range whose quantisation changes the observed values least, in the mean of squares."""
    centres, counts = _used_bins(observed)
    smallest, largest = scheme.limits
    best, least = minmax(observed, scheme), np.inf
    candidates = _candidates(observed, scheme)
    clipped = _clipping_error(centres, counts, candidates, scheme)
    real = np.empty_like(centres)
    for (bounds, scale, zero), lost in zip(candidates, clipped, strict=True):
        if lost > least * (1 + 1e-6):  # rounding only adds to it
            continue
        np.rint(np.divide(centres, scale, out=real), out=real)
        np.minimum(np.maximum(real, smallest - zero, out=real), largest - zero, out=real)
        np.subtract(np.multiply(real, scale, out=real), centres, out=real)
        error = float(np.dot(counts, np.multiply(real, real, out=real)))
        if error < least:
            best, least = bounds, error
    return best


def mse_peaks(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """The same, but at least as wide as a picture's extremes are on average: a few large values hardly count among
    millions, and are what the head answers to (docs/quantisation-study.md)."""
    (low, high), (least, most) = mse(observed, scheme), moving_average(observed, scheme)
    return min(low, least), max(high, most)


def entropy(observed: Range, scheme: ActivationScheme) -> tuple[float, float]:
    """The range whose histogram tells least more than its quantised form: least Kullback-Leibler divergence.

    Migacz, "8-bit inference with TensorRT", GTC 2017, with both ends free: the reference counts clipped values in
    its outermost bins; the quantised form leaves them away and spreads each level evenly over its bins in use.
    """
    centres, counts = _used_bins(observed)
    smallest, largest = scheme.limits
    best, least = minmax(observed, scheme), np.inf
    for bounds, scale, zero in _candidates(observed, scheme):
        stored = np.rint(centres / scale) + zero
        start, end = np.searchsorted(stored, [smallest, largest + 1])
        if start == end:
            continue
        levels = stored[start:end].astype(np.int64) - smallest
        reference = counts[start:end].copy()
        form = (np.bincount(levels, reference) / np.maximum(np.bincount(levels), 1))[levels]
        reference[0] += counts[:start].sum()
        reference[-1] += counts[end:].sum()
        divergence = float(np.sum(reference * np.log(reference / form)) / reference.sum())
        divergence += float(np.log(form.sum() / reference.sum()))
        if divergence < least - 1e-12:  # rounding: equal candidates must not beat the widest
            best, least = bounds, divergence
    return best


CHOICES: dict[str, Callable[[Range, ActivationScheme], tuple[float, float]]] = {
    "minmax": minmax,
    "moving_average": moving_average,
    "percentile": percentile,
    "mse": mse,
    "mse_peaks": mse_peaks,
    "entropy": entropy,
}


def _used_bins(observed: Range) -> tuple[np.ndarray, np.ndarray]:
    """Centres and counts of the bins that hold something."""
    edges = np.linspace(observed.low, observed.high, len(observed.histogram) + 1)
    used = observed.histogram > 0
    return ((edges[:-1] + edges[1:]) / 2)[used], observed.histogram[used]


def _candidates(observed: Range, scheme: ActivationScheme) -> list[Candidate]:
    """Ranges from the widest to the narrowest, each side clipped on its own; of those with the same scale and zero
    point, the widest."""
    low, high = minmax(observed, scheme)
    shares = np.linspace(1, SMALLEST, STEPS)
    lows, highs = low * (shares if low < 0 else shares[:1]), high * (shares if high > 0 else shares[:1])
    lows, highs = np.repeat(lows, len(highs)), np.tile(highs, len(lows))
    scales, zeros = scales_and_zeros(lows, highs, scheme)
    first: dict[tuple[float, int], tuple[float, float]] = {}
    for bounds, found in zip(zip(lows, highs, strict=True), zip(scales, zeros, strict=True), strict=True):
        first.setdefault((float(found[0]), int(found[1])), (float(bounds[0]), float(bounds[1])))
    return [(bounds, *found) for found, bounds in first.items()]


def _clipping_error(
    centres: np.ndarray, counts: np.ndarray, candidates: Sequence[Candidate], scheme: ActivationScheme
) -> np.ndarray:
    """Summed squares of how far values lie outside of what each candidate's integers can say. centres: ascending."""
    smallest, largest = scheme.limits
    scales = np.array([scale for _, scale, _ in candidates])
    zeros = np.array([zero for *_, zero in candidates])
    total = np.zeros(len(candidates))
    for ends, sign in (((smallest - zeros) * scales, -1), ((largest - zeros) * scales, 1)):
        outwards, weights = (centres, counts) if sign > 0 else (-centres[::-1], counts[::-1])
        sums = [np.append(np.cumsum((weights * outwards**power)[::-1])[::-1], 0.0) for power in range(3)]
        start, edge = np.searchsorted(outwards, sign * ends), sign * ends
        total += sums[2][start] - 2 * edge * sums[1][start] + edge**2 * sums[0][start]
    return total
