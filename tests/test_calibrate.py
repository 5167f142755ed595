# SPDX-License-Identifier: Apache-2.0
"""Calibration of a small graph, against ONNX Runtime's values held all at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from yoloq_quantize import calibrate as module
from yoloq_quantize.calibrate import Calibration, calibrate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.observers import SMOOTHING

TEXT = """<ir_version: 8, opset_import: ["": 17]>
test (uint8[1,32,32,3] x) => (float[1,8,32,32] d) <float scale = {0.01}> {
    real = DequantizeLinear (x, scale)
    a = Transpose <perm = [0, 3, 1, 2]> (real)
    b = Conv (a, w1)
    c = Relu (b)
    d = Conv (c, w2)
}"""
GROUPS = (("b", "d"), ("c",))


def model() -> ir.Model:
    generator = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    for name, shape in (("w1", (4, 3, 1, 1)), ("w2", (8, 4, 1, 1))):
        weight = generator.normal(0, 1, shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def pictures(count: int = 3) -> Iterator[np.ndarray]:
    """Each brighter than the one before, so that extremes grow."""
    generator = np.random.default_rng(1)
    for index in range(count):
        yield generator.integers(0, 40 + 60 * (index % 4), (1, 32, 32, 3), np.uint8)


def values(names: list[str], count: int = 3) -> dict[str, list[np.ndarray]]:
    """One array per picture, by name."""
    proto = ir.to_proto(model())
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(names, {"x": picture}) for picture in pictures(count)]
    return {name: [run[index] for run in runs] for index, name in enumerate(names)}


def same(one: Calibration, other: Calibration) -> bool:
    """Bit for bit."""
    extremes = [
        [(r.minimum, r.maximum, r.low, r.high, r.moving_minimum, r.moving_maximum) for r in found.ranges]
        for found in (one, other)
    ]
    counts = [np.concatenate([r.histogram for r in found.ranges]) for found in (one, other)]
    means = [np.concatenate([stats.mean for stats in found.channels.values()]) for found in (one, other)]
    return extremes[0] == extremes[1] and np.array_equal(*counts) and np.array_equal(*means)


def test_ranges_are_those_of_all_values() -> None:
    found = calibrate(model(), GROUPS, pictures(), 256)
    seen = values(["b", "c", "d"])
    assert found.pictures == 3
    assert len(found.ranges) == 2
    for names, observed in zip(GROUPS, found.ranges, strict=True):
        per_picture = [np.concatenate([seen[name][index].ravel() for name in names]) for index in range(3)]
        everything = np.concatenate(per_picture)
        assert observed.minimum == pytest.approx(everything.min(), rel=1e-6)
        assert observed.maximum == pytest.approx(everything.max(), rel=1e-6)
        edges = np.linspace(observed.low, observed.high, 257)
        expected = np.cumsum(np.histogram(everything, edges)[0])
        assert np.abs(np.cumsum(observed.histogram) - expected).max() <= 5
        assert observed.histogram.sum() == everything.size
        weights = (1 - SMOOTHING) ** np.array([2, 1, 0])
        highest = np.average([picture.max() for picture in per_picture], weights=weights)
        assert observed.moving_maximum == pytest.approx(highest, rel=1e-6)
        assert observed.moving_maximum < observed.maximum


def test_channels_of_values_in_groups_or_not() -> None:
    found = calibrate(model(), GROUPS, pictures(), 256, channels=("a", "c"))
    assert list(found.channels) == ["a", "c"]
    for name, arrays in values(["a", "c"]).items():
        rows = np.moveaxis(np.concatenate(arrays).astype(np.float64), 1, 0).reshape(arrays[0].shape[1], -1)
        np.testing.assert_allclose(found.channels[name].mean, rows.mean(axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.channels[name].maximum, rows.max(axis=1), rtol=1e-6)
        np.testing.assert_allclose(found.channels[name].second_moment, (rows**2).mean(axis=1), rtol=1e-5)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = calibrate(model(), GROUPS, pictures(), 256, channels=("a",))
    for limit in (1, 20_000):  # each value alone, and two at a time
        monkeypatch.setattr(module, "CHUNK_BYTES", limit)
        assert same(calibrate(model(), GROUPS, pictures(), 256, channels=("a",)), whole)


def test_the_same_twice_and_other_pictures_differ() -> None:
    one, two = (calibrate(model(), GROUPS, pictures(4), 256, channels=("a",)) for _ in range(2))
    assert same(one, two)
    assert not same(one, calibrate(model(), GROUPS, pictures(5), 256, channels=("a",)))


def test_memory_does_not_grow_with_pictures() -> None:
    peaks = []
    for count in (3, 60):
        tracemalloc.start()
        calibrate(model(), GROUPS, pictures(count), 256, channels=("a", "c"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    activations = 4 * 32 * 32 * (4 + 4 + 8)  # bytes, of one picture
    assert peaks[1] - peaks[0] < activations


def test_one_picture_is_enough_and_none_is_not() -> None:
    found = calibrate(model(), GROUPS, pictures(1), 256)
    assert found.pictures == 1
    for observed in found.ranges:
        assert observed.moving_maximum == pytest.approx(observed.maximum)
    with pytest.raises(QuantizeError, match="no calibration pictures"):
        calibrate(model(), GROUPS, [], 256)
    assert calibrate(model(), (), pictures(2), 256) == Calibration((), 2)


def test_a_grey_picture_has_usable_ranges() -> None:
    grey = np.full((1, 32, 32, 3), 114, np.uint8)
    black = np.zeros((1, 32, 32, 3), np.uint8)
    for picture in (grey, black):
        for observed in calibrate(model(), GROUPS, [picture], 256).ranges:
            assert observed.low <= observed.minimum <= observed.maximum < observed.high
            assert observed.histogram.sum() > 0


def test_progress_sees_every_picture() -> None:
    seen = []

    def progress(items: Iterator[np.ndarray], what: str) -> Iterator[np.ndarray]:
        for item in items:
            seen.append(what)
            yield item

    calibrate(model(), GROUPS, pictures(), 256, progress)
    assert seen == ["calibrating"] * 3


def test_bad_values_and_names_are_refused() -> None:
    broken = model()
    weight = broken.graph.initializers["w2"].const_value.numpy().copy()
    weight[3] = np.nan
    broken.graph.initializers["w2"].const_value = ir.tensor(weight, name="w2")
    with pytest.raises(QuantizeError, match="NaN or infinity at 'd'"):
        calibrate(broken, GROUPS, pictures(), 256)
    with pytest.raises(QuantizeError, match="NaN or infinity at 'd'"):
        calibrate(broken, (("c",),), pictures(), 256, channels=("d",))
    with pytest.raises(QuantizeError, match="'nowhere' is not a value"):
        calibrate(model(), (("nowhere",),), pictures(), 256)
    with pytest.raises(QuantizeError, match=r"'scale' of shape \[\] has no channels"):
        calibrate(model(), GROUPS, pictures(), 256, channels=("scale",))


def test_an_interrupted_run_stops() -> None:
    def cut() -> Iterator[np.ndarray]:
        yield from pictures(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(model(), GROUPS, cut(), 256)
