# SPDX-License-Identifier: Apache-2.0
"""Statistics that grow with no picture, against NumPy on all values at once."""

from __future__ import annotations

import numpy as np
import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.observers import SMOOTHING, ChannelObserver, GroupObserver, Histogram, MovingAverage


def batches() -> list[np.ndarray]:
    """Whose span grows upwards, downwards and both ways."""
    generator = np.random.default_rng(0)
    spreads = ((0, 1), (30, 2), (-7, 0.5), (0, 100))
    return [generator.normal(centre, spread, 70_000).astype(np.float32) for centre, spread in spreads]


def test_histogram_grows_without_losing_a_value() -> None:
    histogram = Histogram(64)
    assert all(histogram.add(batch) for batch in batches())
    observed, everything = histogram.range(), np.concatenate(batches())
    assert observed.histogram.sum() == everything.size
    assert (observed.minimum, observed.maximum) == (everything.min(), everything.max())
    assert observed.low <= everything.min()
    assert everything.max() < observed.high
    expected, _ = np.histogram(everything, np.linspace(observed.low, observed.high, 65))
    assert np.abs(np.cumsum(expected) - np.cumsum(observed.histogram)).max() <= 5  # float32 rounding at bin edges


@pytest.mark.parametrize("values", [[0.0], [3.0] * 5, [-2.0], [1e-30, 2e-30], [1e6, 1e6 + 0.0625], [-1e38, 1e38]])
def test_no_value_falls_out_of_a_narrow_or_huge_span(values: list[float]) -> None:
    histogram = Histogram(64)
    for _ in range(3):
        assert histogram.add(np.array(values, np.float32))
    assert histogram.range().histogram.sum() == 3 * len(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_not_counted(bad: float) -> None:
    array = np.ones((1, 3, 2, 2), np.float32)
    array[0, 1, 0, 0] = bad
    histogram, group, channels = Histogram(64), GroupObserver(64), ChannelObserver(3)
    assert not histogram.add(array)
    assert histogram.counts.sum() == 0
    assert not group.add(array)
    assert not channels.add(array)
    with pytest.raises(QuantizeError, match="no calibration pictures"):
        channels.stats()


def test_moving_average_weighs_the_newest_most() -> None:
    values = np.random.default_rng(0).normal(5, 1, 300)
    average = MovingAverage()
    for value in values:
        average.add(value)
    weights = (1 - SMOOTHING) ** np.arange(299, -1, -1)
    assert average.value == pytest.approx(np.average(values, weights=weights), rel=1e-12)
    assert average.value != pytest.approx(values.mean(), rel=1e-4)


def test_moving_extremes_are_of_pictures_not_of_tensors() -> None:
    group = GroupObserver(64)
    for picture in ((1.0, 9.0), (2.0, 5.0)):
        for value in picture:  # two tensors of one group
            group.add(np.array([-value, value], np.float32))
        group.end_picture()
    observed = group.range()
    older = 1 - SMOOTHING
    assert observed.moving_maximum == pytest.approx((older * 9 + 5) / (older + 1))
    assert observed.moving_minimum == pytest.approx(-(older * 9 + 5) / (older + 1))
    assert (observed.minimum, observed.maximum) == (-9, 9)


def test_channels_against_numpy() -> None:
    generator = np.random.default_rng(1)
    arrays = [generator.normal([[[-3]], [[0]], [[7]]], 2, (2, 3, 5, 4)).astype(np.float32) for _ in range(4)]
    observer = ChannelObserver(3)
    assert all(observer.add(array) for array in arrays)
    stats = observer.stats()
    rows = np.moveaxis(np.concatenate(arrays).astype(np.float64), 1, 0).reshape(3, -1)
    assert np.array_equal(stats.minimum, rows.min(axis=1))
    assert np.array_equal(stats.maximum, rows.max(axis=1))
    np.testing.assert_allclose(stats.mean, rows.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats.second_moment, (rows**2).mean(axis=1), rtol=1e-5)


def test_every_bin_counts_its_own() -> None:
    values = np.random.default_rng(2).uniform(-1, 3, 100_000).astype(np.float32)
    histogram = Histogram(64)
    histogram.add(values)
    observed = histogram.range()
    expected, _ = np.histogram(values, np.linspace(observed.low, observed.high, 65))
    assert expected.min() > 1000
    assert np.abs(expected - observed.histogram).max() <= 5  # float32 rounding at bin edges
