# SPDX-License-Identifier: Apache-2.0
"""Recovery without training: every step against NumPy and ONNX Runtime on a small real graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

from exact import exact_session
from yoloq_quantize.params import Params, TensorParams, weight_params
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import Edge, Placement
from yoloq_quantize.recover.bias import correct_biases
from yoloq_quantize.recover.equalize import equalize, find_pairs
from yoloq_quantize.recover.ranges import search_ranges
from yoloq_quantize.recover.twins import group_of, make_twins
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Subject, quantized

SIZE, WIDTH = 16, 8


def small_model(activation: str = "Relu") -> ir.Model:
    """bytes -> conv a -> activation -> conv b -> activation -> conv c, with loud and silent channels in a."""
    rng = np.random.default_rng(3)
    loud = np.array([8, 4, 1, 1, 0.5, 0.1, 0.02, 0], np.float32).reshape(-1, 1, 1, 1)
    weights = {
        "wa": rng.normal(0, 0.5, (WIDTH, 3, 3, 3)) * loud,
        "wb": rng.normal(0, 0.3, (WIDTH, WIDTH, 1, 1)),
        "wc": rng.normal(0, 0.3, (4, WIDTH, 1, 1)),
        "ba": rng.normal(0, 0.2, WIDTH),
        "bb": rng.normal(0, 0.2, WIDTH),
        "slope": np.full((WIDTH, 1, 1), 0.1),
    }
    slope = ", slope" if activation == "PRelu" else ""
    text = f"""
        <ir_version: 8, opset_import: ["": 17]>
        small (uint8[1,{SIZE},{SIZE},3] images_u8) => (float[1,4,{SIZE},{SIZE}] c)
        <float s = {{0.003921569}}, uint8 z = {{0}}>
        {{
            real = DequantizeLinear (images_u8, s, z)
            x = Transpose <perm: ints = [0, 3, 1, 2]> (real)
            a = Conv <pads: ints = [1, 1, 1, 1]> (x, wa, ba)
            a_act = {activation} (a{slope})
            b = Conv (a_act, wb, bb)
            b_act = {activation} (b{slope})
            c = Conv (b_act, wc)
        }}"""
    proto = onnx.parser.parse_model(text)
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    proto = onnx.shape_inference.infer_shapes(proto)
    model = ir.from_proto(proto)
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


@pytest.fixture
def stream(tmp_path: Path) -> PictureStream:
    rng = np.random.default_rng(5)
    files = []
    for index in range(6):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(files[-1])
    return PictureStream(files, SIZE, SIZE, "RGB")


def subject_of(model: ir.Model, stream: PictureStream) -> Subject:
    return Subject(model, None, load_target("cpu"), stream)


def run(model: ir.Model, picture: np.ndarray, *names: str) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    if names:
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = exact_session(proto)
    return session.run(None, {"images_u8": picture})


def plan_of(model: ir.Model, scale: float = 0.05) -> Plan:
    """Both inner activations on one too coarse, badly centred scale each; weights by the product's rule."""
    edges = {"a_act": (Edge("b", 0),), "b_act": (Edge("c", 0),)}
    placement = Placement(edges, (("a_act",), ("b_act",)), ("b", "c"), ("a",))
    target = load_target("cpu")
    nodes = {node.name: node for node in model.graph}
    weights = {name: weight_params(nodes[name].inputs[1], target.weights) for name in ("b", "c")}
    return Plan(placement, Params(dict.fromkeys(edges, TensorParams(scale, 0)), weights))


def own_shift(model: ir.Model, plan: Plan, stream: PictureStream, name: str, source: str) -> np.ndarray:
    """NumPy, 1x1 convolutions: the mean change of each output channel by the layer's own quantisation."""
    node = next(node for node in model.graph if node.name == name)
    weight = node.inputs[1].const_value.numpy()[:, :, 0, 0].astype(np.float64)
    stored = plan.params.weights[name]
    coarse = stored.stored[:, :, 0, 0] * stored.scales[:, None].astype(np.float64)
    scale, zero = plan.params.activations[source].scale, plan.params.activations[source].zero_point
    shifts = []
    for picture in stream:
        x = run(model, picture, source)[0][0].reshape(weight.shape[1], -1).astype(np.float64)
        fake = (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale
        shifts.append((coarse @ fake - weight @ x).mean(axis=1))
    return np.mean(shifts, axis=0)


def test_bias_correction_takes_back_the_mean_shift_of_each_layer(stream: PictureStream) -> None:
    model = small_model()
    plan = plan_of(model)
    corrected = correct_biases(subject_of(model, stream), plan)
    bias = {node.name: node.inputs[2].const_value.numpy() for node in model.graph if node.name == "b"}
    expected = bias["b"] - own_shift(model, plan, stream, "b", "a_act")
    assert np.abs(own_shift(model, plan, stream, "b", "a_act")).max() > 1e-3
    np.testing.assert_allclose(corrected.params.biases["b"], expected, atol=2e-5)
    np.testing.assert_allclose(corrected.params.biases["c"], -own_shift(model, plan, stream, "c", "b_act"), atol=2e-5)
    assert plan.params.biases == {}


def test_bias_correction_brings_the_outputs_mean_nearer(stream: PictureStream) -> None:
    model = small_model()
    subject, plan = subject_of(model, stream), plan_of(model, scale=0.5)

    def shift(plan: Plan) -> float:
        graph = quantized(subject, plan)
        change = [(run(graph, picture)[0] - run(model, picture)[0]).mean(axis=(0, 2, 3)) for picture in stream]
        return float(np.abs(np.mean(change, axis=0)).max())

    assert shift(correct_biases(subject, plan)) < 0.7 * shift(plan)


def test_range_search_finds_the_scale_with_the_least_output_error(stream: PictureStream) -> None:
    model = small_model()
    subject, plan = subject_of(model, stream), plan_of(model, scale=0.5)
    values = [run(model, picture, "a_act", "b_act") for picture in stream]
    extremes = [(float(min(v[i].min() for v in values)), float(max(v[i].max() for v in values))) for i in range(2)]
    found = search_ranges(subject, plan, extremes, pictures=len(stream))
    for name, source in (("b", "a_act"), ("c", "b_act")):

        def error(params: TensorParams, name: str = name, source: str = source) -> float:
            trial = dataclasses.replace(plan.params, activations={**plan.params.activations, source: params})
            node = next(node for node in model.graph if node.name == name)
            weight = node.inputs[1].const_value.numpy()[:, :, 0, 0]
            stored = trial.weights[name]
            coarse = stored.stored[:, :, 0, 0] * stored.scales[:, None]
            total = 0.0
            for value in values:
                x = value[0 if source == "a_act" else 1][0].reshape(weight.shape[1], -1)
                fake = np.clip(np.rint(x / params.scale) + params.zero_point, 0, 255) - params.zero_point
                total += float(np.square(coarse @ (fake * params.scale) - weight @ x).sum())
            return total

        best = found.params.activations[source]
        assert best != plan.params.activations[source]
        full = extremes[0 if source == "a_act" else 1][1] / 255
        assert error(best) <= min(error(TensorParams(full * share, 0)) for share in (1.0, 0.8, 0.6)) * 1.001


def test_a_good_range_stays(stream: PictureStream) -> None:
    model = small_model()
    subject, plan = subject_of(model, stream), plan_of(model)
    once = search_ranges(subject, plan, [(0.0, 40.0), (0.0, 20.0)])
    again = search_ranges(subject, once, [(0.0, 40.0), (0.0, 20.0)])
    assert again.params.activations == once.params.activations


def test_group_of_goes_up_through_what_moves_numbers() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 17]>
        m (float[1,4,8,8] x) => (float[1,8,8,8] y) {
            a = Relu (x)
            b = Relu (a)
            joined = Concat <axis = 1> (a, b)
            y = MaxPool <kernel_shape = [1, 1]> (joined)
        }"""
    )
    placement = Placement({}, (("other",), ("a", "b")), (), ())
    scheme = load_target("cpu").place
    values = ir.convenience.create_value_mapping(model.graph)
    assert group_of(values["y"], placement, scheme) == 1
    assert group_of(values["x"], placement, scheme) is None


def test_the_convolution_on_the_bytes_has_no_twin(stream: PictureStream) -> None:
    model = small_model()
    assert [twin.node.name for twin in make_twins(subject_of(model, stream), plan_of(model))] == ["b", "c"]


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "PRelu"])
def test_equalisation_changes_no_number(stream: PictureStream, activation: str) -> None:
    model = small_model(activation)
    subject = subject_of(model, stream)
    balanced, pairs = equalize(subject)
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("b", "c")]
    for picture in stream:
        np.testing.assert_allclose(run(balanced.graph, picture)[0], run(model, picture)[0], rtol=1e-4, atol=1e-4)
        spread = [
            np.ptp(np.log(np.maximum(np.abs(run(graph, picture, "a_act")[0]).max(axis=(0, 2, 3))[:7], 1e-9)))
            for graph in (balanced.graph, model)
        ]
        assert spread[0] < spread[1]


def test_equalisation_spares_what_does_not_let_factors_pass(stream: PictureStream) -> None:
    model = small_model("Sigmoid")
    assert find_pairs(model) == ()
    subject = subject_of(model, stream)
    assert equalize(subject) == (subject, ())


def test_equalisation_helps_a_tensor_with_one_loud_channel(stream: PictureStream) -> None:
    model = small_model()
    subject = subject_of(model, stream)

    def error(subject: Subject) -> float:
        top = max(float(run(subject.graph, picture, "a_act")[0].max()) for picture in stream)
        other = max(float(run(subject.graph, picture, "b_act")[0].max()) for picture in stream)
        plan = plan_of(subject.graph)
        activations = {"a_act": TensorParams(top / 255, 0), "b_act": TensorParams(other / 255, 0)}
        plan = dataclasses.replace(plan, params=dataclasses.replace(plan.params, activations=activations))
        graph = quantized(subject, plan)
        return float(np.mean([np.square(run(graph, p)[0] - run(model, p)[0]).mean() for p in stream]))

    assert error(equalize(subject)[0]) < error(subject)
