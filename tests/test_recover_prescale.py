# SPDX-License-Identifier: Apache-2.0
"""A scale for each channel: the float graph computes the same, the quantised one is nearer to it, the engine gets no
more work."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import openvino as ov
import pytest
from PIL import Image

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.params import find_params
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import place
from yoloq_quantize.recover.prescale import SMALLEST, channel_factors, prescale
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Subject, quantized

SIZE, WIDTH = 32, 16
HEAD = Head(
    "ltrb",
    "logit",
    1,
    False,
    True,
    (2,),
    None,
    (HeadOutput("y", "y", "score", 0, (1, 4, SIZE // 2, SIZE // 2)),),
    4,
    "toy",
)

# A stem, a block as YOLO's (Split, residual Add in float, Concat), pooling, a depthwise convolution, two convolutions
# on one weight.
TEXT = f"""
    <ir_version: 8, opset_import: ["": 17]>
    toy (uint8[1,{SIZE},{SIZE},3] images_u8) => (float[1,4,{SIZE // 2},{SIZE // 2}] y)
    <float s = {{0.003921569}}, uint8 z = {{0}}>
    {{
        real = DequantizeLinear (images_u8, s, z)
        x = Transpose <perm: ints = [0, 3, 1, 2]> (real)
        a = Conv <pads: ints = [1, 1, 1, 1]> (x, wa, ba)
        a_gate = Sigmoid (a)
        a_act = Mul (a, a_gate)
        left, right = Split <axis: int = 1> (a_act)
        b = Conv <pads: ints = [1, 1, 1, 1]> (right, wb)
        b_gate = Sigmoid (b)
        b_act = Mul (b, b_gate)
        sum = Add (right, b_act)
        all = Concat <axis: int = 1> (left, right, sum)
        low = MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2]> (all)
        d = Conv <pads: ints = [1, 1, 1, 1], group: int = GROUPS> (low, wd)
        e = Conv (low, we)
        f = Conv (d, we)
        g = Add (e, f)
        y = Conv (g, wy)
    }}"""


def toy(text: str = TEXT, channels: int = WIDTH + WIDTH // 2) -> ir.Model:
    """`channels`: of the Concat."""
    rng = np.random.default_rng(8)
    half = WIDTH // 2
    loud = np.geomspace(6, 0.05, WIDTH).reshape(-1, 1, 1, 1)
    heard = np.concatenate([loud.ravel(), loud.ravel()[half:]])  # quiet channels matter as much as loud ones
    loud[3] = 0  # a silent channel
    weights = {
        "wa": rng.normal(0, 1, (WIDTH, 3, 3, 3)) * loud,
        "ba": rng.normal(0, 0.5, WIDTH) * loud.ravel(),
        "wb": rng.normal(0, 0.3, (half, half, 3, 3)) / loud[half:].reshape(1, -1, 1, 1) ** 0.5,
        "wd": rng.normal(0, 0.3, (channels, 1, 3, 3)) / np.resize(heard, channels).reshape(-1, 1, 1, 1),
        "we": rng.normal(0, 0.3, (8, channels, 1, 1)),
        "wy": rng.normal(0, 0.3, (4, 8, 1, 1)),
    }
    proto = onnx.parser.parse_model(text.replace("GROUPS", str(channels)))
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


@pytest.fixture
def stream(tmp_path: Path) -> PictureStream:
    rng = np.random.default_rng(5)
    for index in range(4):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(tmp_path / f"{index}.png")
    return PictureStream(sorted(tmp_path.glob("*.png")), SIZE, SIZE, "RGB")


def subject_of(model: ir.Model, stream: PictureStream) -> Subject:
    return Subject(model, HEAD, load_target("cpu"), stream)


def scaled(subject: Subject) -> tuple[Subject, tuple[str, ...]]:
    found = prescale(subject, place(subject.graph, subject.target.place, subject.head))
    return found.subject, found.values


def plan_of(subject: Subject) -> Plan:
    placement = place(subject.graph, subject.target.place, subject.head)
    bins = subject.target.activations.bins
    ranges = calibrate(subject.graph, placement.groups, subject.pictures, bins, lambda items, _: items)
    return Plan(placement, find_params(subject.graph, placement, ranges, subject.target))


def run(model: ir.Model, picture: np.ndarray, plain: bool = False) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    bytes_ = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(bytes_, options, providers=["CPUExecutionProvider"]).run(None, {"images_u8": picture})[
        0
    ]


def test_the_float_graph_computes_the_same(stream: PictureStream) -> None:
    subject = subject_of(toy(), stream)
    balanced, values = scaled(subject)
    assert set(values) == {"a_act", "sum", "d"}
    assert [n.name for n in balanced.graph.graph if n.op_type == "Mul" and n.name.endswith("unscaled/Mul")] == [
        "right/unscaled/Mul"
    ]
    for picture in stream:
        wanted = run(subject.graph, picture)
        np.testing.assert_allclose(run(balanced.graph, picture), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_a_wrong_factor_would_be_seen(stream: PictureStream) -> None:
    """The comparison above can fail."""
    subject = subject_of(toy(), stream)
    graph = scaled(subject)[0].graph
    vector = graph.graph.initializers["sum/scaled_by"]
    changed = vector.const_value.numpy().copy()
    changed[0, -1] *= 1.5
    vector.const_value = ir.tensor(changed, name=vector.name)
    picture = stream[0]
    wanted = run(subject.graph, picture)
    assert np.abs(run(graph, picture) - wanted).max() > 1e-3 * np.abs(wanted).max()


def test_quantised_it_is_nearer_to_float(stream: PictureStream) -> None:
    subject = subject_of(toy(), stream)

    def error(subject: Subject) -> float:
        graph = quantized(subject, plan_of(subject))
        wanted = [run(toy(), picture) for picture in stream]
        return float(
            np.mean([np.square(run(graph, p, plain=True) - w).mean() for p, w in zip(stream, wanted, strict=True)])
        )

    assert error(scaled(subject)[0]) < 0.5 * error(subject)


def test_the_engine_gets_no_more_to_do(stream: PictureStream) -> None:
    """The divisions disappear into the convolutions before them; only what float readers get back may remain."""

    def operators(subject: Subject) -> Counter[str]:
        graph = ir.to_proto(quantized(subject, plan_of(subject))).SerializeToString()
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
        core = ov.Core()
        request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
        request.infer([stream[0]])
        done = [node for node in request.profiling_info if node.status.name == "EXECUTED"]
        return Counter(node.node_type for node in done) + Counter(
            f"{node.node_type} {node.exec_type.rsplit('_', 1)[-1]}" for node in done if "Convolution" in node.node_type
        )

    subject = subject_of(toy(), stream)
    plain, balanced = operators(subject), operators(scaled(subject)[0])
    assert plain["Convolution I8"] >= 3
    assert balanced["Convolution I8"] == plain["Convolution I8"]
    assert sum((balanced - plain).values()) <= 1


def test_integers_that_leave_the_graph_keep_one_scale(stream: PictureStream) -> None:
    model = toy()
    model.graph.outputs.append(next(node for node in model.graph if node.name == "all").outputs[0])
    outputs = (*HEAD.outputs, HeadOutput("all", "all", "score", 0, (1, 24, SIZE, SIZE)))
    subject = replace(subject_of(model, stream), head=replace(HEAD, outputs=outputs))
    assert scaled(subject)[1] == ("d",)


def test_pictures_stacked_side_by_side_keep_one_scale(stream: PictureStream) -> None:
    """Concat along another axis than the channels'."""
    text = TEXT.replace("Concat <axis: int = 1> (left, right, sum)", "Concat <axis: int = 2> (left, right, sum)")
    model = toy(text, channels=WIDTH // 2)
    assert scaled(subject_of(model, stream))[1] == ("d",)


def test_numbers_that_run_over_are_refused_by_name(stream: PictureStream) -> None:
    model = toy()
    bias = model.graph.initializers["ba"]
    bias.const_value = ir.tensor(np.full(WIDTH, np.inf, np.float32), name="ba")
    with pytest.raises(QuantizeError, match="the model computes NaN or infinity at '"):
        scaled(subject_of(model, stream))


def test_factors_by_hand() -> None:
    scheme = load_target("cpu").activations
    factors = channel_factors(np.array([-0.25, -0.25, 0]), np.array([12.0, 0.75, 0]), scheme)
    assert factors[0] == 1
    assert factors[2] == np.float32(SMALLEST)
    z = np.arange(1, 127, 4) / 255
    needs = np.stack([np.maximum(12 / (1 - z), 0.25 / z), np.maximum(0.75 / (1 - z), 0.25 / z)])
    best = needs[:, np.square(needs).sum(axis=0).argmin()]
    assert factors[1] == pytest.approx(best[1] / best[0], rel=1e-6)
    symmetric = replace(scheme, dtype="int8", symmetric=True)
    np.testing.assert_allclose(channel_factors(np.array([-1.0, -4.0]), np.array([2.0, 1.0]), symmetric), [0.5, 1])
    assert channel_factors(np.zeros(2), np.zeros(2), scheme).tolist() == [1, 1]
