# SPDX-License-Identifier: Apache-2.0
"""Stored weights and parameters, against plain NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.params import Params, TensorParams, activation_params, find_params, weight_axis, weight_params
from yoloq_quantize.place import Edge, Placement
from yoloq_quantize.scheme import WeightScheme, load_target


def weight(shape: tuple[int, ...] = (6, 4, 3, 3)) -> np.ndarray:
    """Channels of very different size, one of them zero."""
    generator = np.random.default_rng(0)
    array = generator.standard_t(4, shape) * np.exp(generator.normal(0, 2, (shape[0], *[1] * (len(shape) - 1))))
    array[1] = 0
    return array.astype(np.float32)


def value(array: np.ndarray) -> ir.Value:
    return ir.val("some.weight", const_value=ir.tensor(array))


def test_per_channel_uses_every_channels_own_largest() -> None:
    array = weight()
    params = weight_params(value(array), WeightScheme("int8", True, True))
    assert params.scales.shape == (6,)
    for channel, scale, stored in zip(array, params.scales, params.stored, strict=True):
        largest = np.abs(channel).max()
        if largest == 0:
            assert scale == 1
            assert (stored == 0).all()
            continue
        assert scale == pytest.approx(largest / 127, rel=1e-6)
        assert np.abs(stored).max() == 127
        assert np.abs(stored * scale - channel).max() <= scale * 0.501


def test_per_tensor_has_one_scale() -> None:
    array = weight()
    params = weight_params(value(array), WeightScheme("int8", True, False))
    assert params.scales == pytest.approx([np.abs(array).max() / 127], rel=1e-6)
    assert np.abs(params.stored * params.scales[0] - array).max() <= params.scales[0] * 0.501


def pair_sums(stored: np.ndarray) -> np.ndarray:
    """vpmaddubsw's sums for the largest activations, exact: neighbouring products uint8 * int8."""
    flat = stored.reshape(len(stored), -1).astype(np.int64)
    return 255 * flat[:, 0::2] + 255 * flat[:, 1::2]


def test_reduced_range_never_saturates_int16() -> None:
    array = weight()
    array[2] = array[2, 0, 0, 0]  # all weights of a channel at its largest
    full = weight_params(value(array), WeightScheme("int8", True, True)).stored
    reduced = weight_params(value(array), WeightScheme("int8", True, True, reduced_range=True)).stored
    assert np.abs(pair_sums(full)).max() > 32767
    assert np.abs(pair_sums(reduced)).max() <= 32767
    assert np.abs(reduced).max() == 64


def lane_sums(stored: np.ndarray) -> np.ndarray:
    """The largest magnitude of every two weights of one sign in each four input channels, summed one by one."""
    largest = []
    for channel in stored.astype(np.int64):
        for start in range(0, channel.shape[0], 4):
            for place in np.ndindex(channel.shape[1:]):
                four = [int(lane[place]) for lane in channel[start : start + 4]]
                pairs = [0, *(a + b for i, a in enumerate(four) for b in four[:i])]
                largest.append(max(max(pairs), -min(pairs)))
    return np.array(largest)


def test_pair_sums_never_saturate_and_cost_less_than_a_bit() -> None:
    array = np.random.default_rng(5).normal(0, 1, (16, 6, 3, 3)).astype(np.float32)
    array[2] = 1  # the worst channel: all at its largest
    array[3] = -array[2]
    full, reduced, pairs = (
        weight_params(value(array), WeightScheme("int8", True, True, **options))
        for options in ({}, {"reduced_range": True}, {"pair_sums": True})
    )
    assert 255 * lane_sums(full.stored).max() > 32768
    assert 255 * (lane_sums(pairs.stored).max() + 1) <= 32767  # one spare for learned rounding
    assert np.abs(pairs.stored[2:4]).max() == 63
    error = {
        name: float(((found.stored * found.scales.reshape(-1, 1, 1, 1) - array) ** 2).sum())
        for name, found in (("full", full), ("reduced", reduced), ("pairs", pairs))
    }
    assert error["full"] < error["pairs"] < 0.6 * error["reduced"]
    whole = weight_params(value(array), WeightScheme("int8", True, False, pair_sums=True))
    assert whole.scales.shape == (1,)
    assert 255 * lane_sums(whole.stored).max() <= 32767


def test_int4_stays_in_its_range_and_gains_from_the_search() -> None:
    array = weight((8, 16, 3, 3))
    errors = {}
    for method in ("minmax", "mse"):
        params = weight_params(value(array), WeightScheme("int4", True, True, method=method))
        assert params.stored.dtype == np.int8
        assert params.stored.min() >= -8
        assert params.stored.max() <= 7
        errors[method] = ((params.stored * params.scales.reshape(-1, 1, 1, 1) - array) ** 2).sum(axis=(1, 2, 3))
    assert (errors["mse"] <= errors["minmax"]).all()
    assert errors["mse"].sum() < 0.9 * errors["minmax"].sum()


def test_the_search_finds_the_least_error_of_each_channel() -> None:
    array = weight((5, 8, 3, 3))
    params = weight_params(value(array), WeightScheme("int4", True, True, method="mse"))
    for channel, scale, stored in zip(array, params.scales, params.stored, strict=True):
        found = float(((stored * np.float64(scale) - channel) ** 2).sum())
        least = min(
            float(((np.clip(np.round(channel / step), -8, 7) * step - channel) ** 2).sum())
            for step in np.linspace(0.5, 1, 400) * (np.abs(channel).max() / 7 or 1)
        )
        assert found <= 1.05 * least + 1e-12


@pytest.mark.parametrize("form", ["power_of_two", "position"])
def test_forms_of_scales_hold_for_weights(form: str) -> None:
    array = weight()
    params = weight_params(value(array), WeightScheme("int8", True, True, method="mse", scale_form=form))
    mantissa, _ = np.frexp(params.scales)
    assert (mantissa == 0.5).all() == (form == "power_of_two")
    back = params.stored * params.scales.reshape(-1, 1, 1, 1)
    assert ((back - array) ** 2).sum() < 1e-3 * (array**2).sum()
    assert (params.stored[1] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_weights_are_refused_by_name(bad: float) -> None:
    array = weight()
    array[3, 0, 0, 0] = bad
    with pytest.raises(QuantizeError, match=r"'some\.weight' holds NaN"):
        weight_params(value(array), WeightScheme("int8", True, True))


def test_tiny_weights_do_not_divide_by_zero() -> None:
    array = np.full((2, 1, 1, 1), 1e-45, np.float32)
    params = weight_params(value(array), WeightScheme("int8", True, True))
    assert np.isfinite(params.scales).all()
    assert (params.scales == 1).all()
    assert (params.stored == 0).all()


@pytest.mark.parametrize(
    ("node", "shape", "axis"),
    [
        ("Conv (x, w)", (5, 3, 1, 1), 0),
        ("ConvTranspose (x, w)", (3, 5, 1, 1), 1),
        ("Gemm <transB = 1> (x, w)", (5, 3), 0),
        ("Gemm (x, w)", (3, 5), 1),
        ("MatMul (x, w)", (3, 5), 1),
        ("MatMul (x, w)", (2, 3, 5), 2),
    ],
)
def test_output_channels_by_operator(node: str, shape: tuple[int, ...], axis: int) -> None:
    text = f'<ir_version: 8, opset_import: ["": 17]> t (float[N] x, float[{",".join(map(str, shape))}] w) => (y)'
    graph = ir.from_proto(onnx.parser.parse_model(f"{text} {{ y = {node} }}")).graph
    assert weight_axis(graph.node(0)) == axis
    array = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    array *= 10.0 ** np.arange(5).reshape([5 if side == axis else 1 for side in range(len(shape))])
    params = weight_params(value(array), WeightScheme("int8", True, True), axis)
    assert params.stored.shape == shape
    others = tuple(side for side in range(len(shape)) if side != axis)
    np.testing.assert_allclose(params.scales, np.abs(array).max(axis=others) / 127, rtol=1e-6)
    assert (np.abs(params.stored).max(axis=others) == 127).all()
    paired = weight_params(value(array), WeightScheme("int8", True, True, pair_sums=True), axis)
    rows = np.moveaxis(paired.stored, axis, 0)
    rows = rows.swapaxes(1, 2) if axis == 2 else rows
    assert lane_sums(rows.reshape(5, rows.shape[1], -1)).max() <= 128
    assert (paired.scales >= params.scales).all()


def test_groups_of_a_transposed_convolution_are_refused() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> t (float[N] x, float[4,2,1,1] w) => (y)'
    graph = ir.from_proto(onnx.parser.parse_model(f"{text} {{ y = ConvTranspose <group = 2> (x, w) }}")).graph
    with pytest.raises(QuantizeError, match="in groups"):
        weight_axis(graph.node(0))


@pytest.mark.parametrize("target", ["cpu", "reduced", "int4", "position", "shift", "wide"])
def test_params_of_a_graph(root: Path, target: str) -> None:
    chip = load_target("cpu" if target == "cpu" else root / "tests" / "data" / "targets" / f"{target}.toml")
    text = """<ir_version: 8, opset_import: ["": 17]>
    t (float[1,3,8,8] x) => (float[1,4,8,8] z) { r = Relu (x)
        s = Sigmoid (x)
        m = Mul (r, s)
        y = Conv (m, w)
        z = Relu (y) }"""
    proto = onnx.parser.parse_model(text)
    array = weight((4, 3, 1, 1))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(array, "w"))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    conv = next(node for node in model.graph if node.op_type == "Conv")
    conv.name = "conv"
    placement = Placement({"m": (Edge("conv", 0),)}, (("m", "r"),), ("conv",), ())
    generator = np.random.default_rng(0)
    inputs = [generator.normal(0, 2, (1, 3, 8, 8)).astype(np.float32) for _ in range(3)]
    found = calibrate(model, placement.groups, inputs, chip.activations.bins)
    params = find_params(model, placement, found, chip)
    assert params.activations["m"] == params.activations["r"] == activation_params(found.ranges[0], chip.activations)
    assert params.biases == {}
    largest = max(float(np.maximum(x, 0).max()) for x in inputs)
    info, m = np.iinfo(chip.activations.dtype), params.activations["m"]
    assert 0.5 * largest <= (info.max - m.zero_point) * m.scale <= 2.1 * largest
    rows = params.weights["conv"].stored * params.weights["conv"].scales.reshape(-1, 1, 1, 1)
    step = params.weights["conv"].scales.max()
    assert np.abs(rows - array).max() <= (2 if target in ("int4", "shift") else 0.51) * step


def test_biases_are_empty_unless_given() -> None:
    one, other = Params({"a": TensorParams(1.0, 0)}, {}), Params({}, {})
    assert one.biases == {}
    assert one.biases is not other.biases
