# SPDX-License-Identifier: Apache-2.0
"""Range choices against brute force on the values themselves, and scales against the chips' formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.observers import GroupObserver, Histogram, Range
from yoloq_quantize.ranges import CHOICES, choose_range, fit_scales, position_fraction, scale_and_zero
from yoloq_quantize.scheme import METHODS, ActivationScheme

COUNT = 20_000


def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, COUNT).astype(np.float32)


def silu() -> np.ndarray:
    values = 2 * normal().astype(np.float64)
    return (values / (1 + np.exp(-values))).astype(np.float32)


def long_tail() -> np.ndarray:
    """One value lies far out."""
    return np.append(np.random.default_rng(1).laplace(0, 1, COUNT), 60).astype(np.float32)


DISTRIBUTIONS = {
    "normal": normal(),
    "silu": silu(),
    "long tail": long_tail(),
    "positive": np.abs(normal()) + 1,
    "negative": -np.abs(normal()),
    "constant": np.full(100, 3, np.float32),
    "zero": np.zeros(100, np.float32),
}
SCHEMES = {"asymmetric": ("uint8", False), "symmetric": ("int8", True)}


def scheme(method: str, dtype: str = "uint8", symmetric: bool = False, **options: object) -> ActivationScheme:
    given = {"percentile": 99.9, "bins": 4096} | options
    return ActivationScheme(dtype, symmetric, method, **given)


def observe(values: np.ndarray, bins: int = 4096) -> Range:
    group = GroupObserver(bins)
    for picture in np.array_split(values, 4):
        assert group.add(picture)
        group.end_picture()
    return group.range()


def quantised(values: np.ndarray, low: float, high: float, dtype: str, symmetric: bool) -> np.ndarray:
    """What is left of the values when integers cover low to high; written apart from the product."""
    smallest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    if symmetric:
        scale, zero = max(-low / -smallest, high / largest), 0
    else:
        scale = (high - low) / 255
        zero = min(max(round(-low / scale), 0), 255) if scale else 0
    scale = scale or 1.0
    stored = np.clip(np.round(values.astype(np.float64) / scale) + zero, smallest, largest)
    return (stored - zero) * scale


def shares(low: float, high: float, steps: int) -> Iterator[tuple[float, float]]:
    for low_share in np.linspace(1, 0.25, steps) if low < 0 else (1.0,):
        for high_share in np.linspace(1, 0.25, steps) if high > 0 else (1.0,):
            yield low * low_share, high * high_share


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_minmax_covers_all_values_and_zero(name: str) -> None:
    values = DISTRIBUTIONS[name]
    assert choose_range(observe(values), scheme("minmax")) == (min(values.min(), 0), max(values.max(), 0))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_moving_average_is_that_of_each_pictures_extremes(name: str) -> None:
    values = DISTRIBUTIONS[name]
    weights = 0.99 ** np.array([3, 2, 1, 0])
    parts = np.array_split(values, 4)
    low = np.average([part.min() for part in parts], weights=weights)
    high = np.average([part.max() for part in parts], weights=weights)
    expected = (min(low, 0), max(high, 0))
    assert choose_range(observe(values), scheme("moving_average")) == pytest.approx(expected, rel=1e-6)


def test_moving_average_is_not_made_up() -> None:
    histogram = Histogram(64)
    histogram.add(normal())
    with pytest.raises(QuantizeError, match="calibrate again"):
        choose_range(histogram.range(), scheme("moving_average"))


@pytest.mark.parametrize("share", [99.0, 99.9, 100.0])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentile_leaves_the_outer_values_away(name: str, share: float) -> None:
    values = DISTRIBUTIONS[name]
    observed = observe(values)
    low, high = choose_range(observed, scheme("percentile", percentile=share))
    bin_width = (observed.high - observed.low) / len(observed.histogram)
    expected = np.percentile(values, [100 - share, share], method="inverted_cdf")
    assert low == pytest.approx(min(expected[0], 0), abs=1.01 * bin_width)
    assert high == pytest.approx(max(expected[1], 0), abs=1.01 * bin_width)


@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_mse_is_the_least_error_that_brute_force_finds(name: str, kind: str) -> None:
    values = DISTRIBUTIONS[name]

    def error(low: float, high: float) -> float:
        return float(np.mean((quantised(values, low, high, *SCHEMES[kind]) - values) ** 2))

    found = error(*choose_range(observe(values), scheme("mse", *SCHEMES[kind])))
    # The product searches a coarser grid, over bins instead of values.
    assert found <= 1.04 * min(error(*candidate) for candidate in shares(*choose_minmax(values), 40)) + 1e-12


def test_clipping_pays_for_an_outlier() -> None:
    values = np.append(np.random.default_rng(0).normal(0, 1, 1_000_000), 20).astype(np.float32)
    observed = observe(values)

    def error(method: str) -> float:
        left = quantised(values, *choose_range(observed, scheme(method)), "uint8", False)
        return float(np.mean((left - values) ** 2))

    assert error("mse") < 0.7 * error("minmax")


def divergence(values: np.ndarray, edges: np.ndarray, low: float, high: float, dtype: str, symmetric: bool) -> float:
    """Kullback-Leibler divergence of one clipped range, by loops over dictionaries."""
    counts, _ = np.histogram(values, edges)
    centres = (edges[:-1] + edges[1:]) / 2
    smallest, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    scale = max(low / smallest, high / largest) if symmetric else (high - low) / 255
    scale = np.float32(scale).astype(np.float64) or 1.0
    zero = 0 if symmetric else min(max(round(-low / scale), 0), 255)
    inside: dict[int, list[int]] = {}
    below = above = 0
    for index in np.flatnonzero(counts):
        level = round(centres[index] / scale) + zero
        if level < smallest:
            below += counts[index]
        elif level > largest:
            above += counts[index]
        else:
            inside.setdefault(level, []).append(index)
    if not inside:
        return math.inf
    ordered = [index for level in sorted(inside) for index in inside[level]]
    reference = {index: float(counts[index]) for index in ordered}
    form = {index: sum(counts[i] for i in group) / len(group) for group in inside.values() for index in group}
    reference[ordered[0]] += below
    reference[ordered[-1]] += above
    p_total, q_total = sum(reference.values()), sum(form.values())
    return sum(p / p_total * math.log(p / p_total / (form[index] / q_total)) for index, p in reference.items())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_peaks_that_most_pictures_have_are_kept(name: str) -> None:
    """Never narrower than either of the two, and one of them on each side."""
    observed = observe(DISTRIBUTIONS[name])
    found, error, average = (choose_range(observed, scheme(m)) for m in ("mse_peaks", "mse", "moving_average"))
    assert found == (min(error[0], average[0]), max(error[1], average[1]))


def test_one_pictures_outlier_is_still_clipped() -> None:
    usual = np.random.default_rng(2).normal(0, 1, 1_000_000).astype(np.float32)
    usual[:: len(usual) // 4] = 12  # in each of the four pictures
    rare = usual.copy()
    rare[1] = 30
    for values, most in ((usual, 12), (rare, 20)):
        error, high = (choose_range(observe(values), scheme(method))[1] for method in ("mse", "mse_peaks"))
        assert error < high and 12 <= high <= most


@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_entropy_is_the_least_divergence_that_brute_force_finds(name: str, kind: str) -> None:
    values = DISTRIBUTIONS[name]
    observed = observe(values, 512)
    edges = np.linspace(observed.low, observed.high, 513)
    found = choose_range(observed, scheme("entropy", *SCHEMES[kind], bins=512))
    tried = list(shares(*choose_minmax(values), 24))[::5]
    least = min(divergence(values, edges, *bounds, *SCHEMES[kind]) for bounds in tried)
    assert divergence(values, edges, *found, *SCHEMES[kind]) <= least * 1.01 + 1e-6
    if name == "long tail":
        assert found[1] < 60


def choose_minmax(values: np.ndarray) -> tuple[float, float]:
    return float(min(values.min(), 0)), float(max(values.max(), 0))


def test_every_method_has_its_function() -> None:
    assert tuple(CHOICES) == METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["constant", "zero", "positive", "negative"])
@pytest.mark.parametrize("kind", SCHEMES)
def test_odd_values_give_usable_scales(method: str, name: str, kind: str) -> None:
    values = DISTRIBUTIONS[name]
    chosen = scheme(method, *SCHEMES[kind])
    low, high = choose_range(observe(values), chosen)
    assert low <= 0 <= high
    scale, zero = scale_and_zero(low, high, chosen)
    smallest, largest = chosen.limits
    assert smallest <= zero <= largest
    back = (np.clip(np.round(values / scale) + zero, smallest, largest) - zero) * scale
    if name in ("constant", "zero"):
        assert np.abs(back - values).max() <= scale / 2
    assert np.isfinite(scale)
    assert scale > 0


@pytest.mark.parametrize("name", ["normal", "silu", "positive", "negative"])
def test_a_range_fits_its_integers(name: str) -> None:
    values = DISTRIBUTIONS[name]
    low, high = choose_minmax(values)
    for dtype, symmetric in (("uint8", False), ("int8", False), ("int16", False), ("int8", True), ("int16", True)):
        scale, zero = scale_and_zero(low, high, scheme("minmax", dtype, symmetric))
        info = np.iinfo(dtype)
        stored = np.clip(np.round(values.astype(np.float64) / scale) + zero, info.min, info.max)
        assert np.abs((stored - zero) * scale - values).max() <= scale * 1.001  # the zero point was rounded too
        used = min(stored.min(), zero) - info.min, info.max - max(stored.max(), zero)
        assert (min(used) if symmetric else max(used)) <= 1  # no integer is wasted


def test_the_narrow_range_gives_the_largest_value_127() -> None:
    narrow = scheme("minmax", "int8", True, narrow_range=True)
    assert scale_and_zero(-2.54, 1.0, narrow) == (pytest.approx(0.02), 0)
    assert scale_and_zero(-1.0, 2.54, narrow) == (pytest.approx(0.02), 0)
    assert scale_and_zero(-2.56, 1.0, scheme("minmax", "int8", True)) == (pytest.approx(0.02), 0)


# ------------------------------------------------------------------------------------------------ forms of scales


def scales() -> np.ndarray:
    generator = np.random.default_rng(0)
    spread = np.exp2(generator.uniform(-30, 20, 200_000)).astype(np.float32)
    exact = np.exp2(np.arange(-30, 20)).astype(np.float32)
    return np.concatenate([spread, exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(1e9))])


def test_position_and_fraction_are_the_scale() -> None:
    wanted = scales()
    fitted = fit_scales(wanted, "position")
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, wanted, rtol=2**-23)
    position, fraction = position_fraction(fitted)
    assert fraction.dtype == np.float32
    assert ((fraction >= 1) & (fraction < 2)).all()
    assert np.array_equal((2.0**position / fraction).astype(np.float32), fitted)
    assert np.array_equal(fit_scales(fitted, "position"), fitted)


@pytest.mark.parametrize("largest", [1.0, 1.5, 1.98, 0.3, 47.11, 64.0, 1e-3])
def test_position_against_the_vendors_formula(largest: float) -> None:
    position = math.floor(math.log2(largest)) - (8 - 2)
    fraction = 2.0**position * 127 / largest
    chosen = scheme("minmax", "int8", True, scale_form="position", narrow_range=True)
    scale, zero = scale_and_zero(-largest / 3, largest, chosen)
    assert zero == 0
    assert scale == pytest.approx(2.0**position / fraction, rel=1e-6)
    found = position_fraction(np.float32(scale))
    if fraction >= 1:
        assert found == (position, pytest.approx(fraction, rel=1e-6))


def test_powers_of_two_round_up() -> None:
    fitted = fit_scales(scales(), "power_of_two")
    exponents = np.log2(fitted.astype(np.float64))
    assert np.array_equal(exponents, np.round(exponents))
    assert ((fitted >= scales()) & (fitted < 2 * scales().astype(np.float64))).all()
    chosen = scheme("minmax", "int8", True, scale_form="power_of_two")
    assert scale_and_zero(-0.5, 1.0, chosen) == (2**-6, 0)
    assert scale_and_zero(-1.0, 0.5, chosen) == (2**-7, 0)


def test_powers_of_two_may_clip_where_it_pays() -> None:
    """1.01 needs a scale of 2^-6 to be covered; all others are below 0.95, and 2^-7 halves their error."""
    values = np.append(np.random.default_rng(0).uniform(-0.95, 0.95, 10_000), 1.01).astype(np.float32)
    chosen = scheme("mse", "int8", True, scale_form="power_of_two")
    assert scale_and_zero(*choose_range(observe(values), chosen), chosen)[0] == 2**-7
    widest = scheme("minmax", "int8", True, scale_form="power_of_two")
    assert scale_and_zero(*choose_range(observe(values), widest), widest)[0] == 2**-6
