# SPDX-License-Identifier: Apache-2.0
"""Step `rounding`: against ONNX Runtime's convolutions, and against rounding each weight by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from PIL import Image

from test_recover import SIZE, small_model, subject_of
from yoloq_quantize.params import Params, TensorParams, weight_params
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import Edge, Placement
from yoloq_quantize.recover import rounding
from yoloq_quantize.recover.patches import Window
from yoloq_quantize.recover.rounding import nearest_plane, round_together
from yoloq_quantize.subject import Plan, Subject

GEOMETRIES = {
    "plain": "",
    "padded": "pads: ints = [1, 0, 2, 1]",
    "strided": "strides: ints = [2, 3], pads: ints = [1, 1, 1, 1]",
    "dilated": "dilations: ints = [2, 1], pads: ints = [2, 1, 2, 1]",
    "same upper": 'auto_pad: string = "SAME_UPPER", strides: ints = [2, 2]',
    "same lower": 'auto_pad: string = "SAME_LOWER", strides: ints = [2, 2]',
    "groups": "group: int = 2",
    "depthwise": "group: int = 4, pads: ints = [1, 1, 1, 1]",
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_patches_times_weights_are_the_convolution(geometry: str) -> None:
    rng = np.random.default_rng(1)
    groups = {"groups": 2, "depthwise": 4}.get(geometry, 1)
    source = rng.normal(size=(1, 4, 9, 8)).astype(np.float32)
    weight = rng.normal(size=(8, 4 // groups, 3, 3)).astype(np.float32)
    attributes = f"<{GEOMETRIES[geometry]}>" if GEOMETRIES[geometry] else ""
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[1,4,9,8] x) => (float[N,8,H,W] y)
               {{ y = Conv {attributes} (x, w) }}"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    (wanted,) = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": source})
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, wanted.shape))
    window = Window.of(next(iter(ir.from_proto(proto).graph)))
    places = wanted.shape[2] * wanted.shape[3]
    seen = window.patches(source[0], places + 5, np.random.default_rng(2))
    found = np.einsum("gpk,gok->gop", seen, weight.reshape(groups, 8 // groups, -1)).reshape(8, -1)
    order = np.random.default_rng(2).permutation(places)  # the places are drawn, each once
    np.testing.assert_allclose(found, wanted[0].reshape(8, -1)[:, order], atol=1e-5)


def correlated(groups: int, width: int) -> np.ndarray:
    """H of inputs that mostly move together."""
    rng = np.random.default_rng(7)
    common, own = rng.normal(size=(groups, 1, 500)), rng.normal(size=(groups, width, 500))
    inputs = common + 0.3 * own
    return inputs @ inputs.transpose(0, 2, 1) / 500


@pytest.mark.parametrize(("width", "most"), [(1, 1.0), (9, 0.7), (150, 0.3)])  # fewer and more columns than a block
def test_correlated_inputs_let_errors_cancel(width: int, most: float) -> None:
    steps = np.random.default_rng(3).normal(0, 20, (2, 5, width))
    moment = correlated(2, width)
    found = nearest_plane(steps, moment.copy(), (-127, 127))
    assert ((found == np.floor(steps)) | (found == np.ceil(steps))).all()

    def error(stored: np.ndarray) -> float:
        gap = steps - stored
        return float(np.einsum("gok,gkl,gol->", gap, moment, gap))

    assert error(found) <= error(np.rint(steps)) * most


def test_the_plane_is_the_best_of_all_where_two_inputs_are_one() -> None:
    """Two equal inputs: only the sum of the weights counts; 0.4 + 0.4 is nearest to 1, each alone to 0."""
    found = nearest_plane(np.array([[[0.4, 0.4]]]), np.ones((1, 2, 2)), (-127, 127))
    assert sorted(found.ravel()) == [0, 1]


def test_independent_inputs_and_limits() -> None:
    steps = np.array([[[0.4, 130.2, -130.2, -0.6]]])
    assert nearest_plane(steps, np.eye(4)[None], (-127, 127)).tolist() == [[[0, 127, -127, -1]]]
    assert nearest_plane(steps, np.zeros((1, 4, 4)), (-127, 127)).tolist() == [[[0, 127, -127, -1]]], "dead inputs"


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """On pictures whose neighbours are alike, as those of cameras are."""
    rng = np.random.default_rng(5)
    files = []
    for index in range(6):
        files.append(tmp_path / f"{index}.png")
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(files[-1])
    return subject_of(small_model("Relu"), PictureStream(files, SIZE, SIZE, "RGB"))


def plan_of(subject: Subject) -> Plan:
    nodes = {node.name: node for node in subject.graph.graph}
    values = {node.inputs[0].name: name for name, node in nodes.items() if node.op_type == "Conv"}
    placement = Placement(
        {name: (Edge(node, 0),) for name, node in values.items()}, tuple((n,) for n in values), tuple("abc"), ()
    )
    weights = {name: weight_params(nodes[name].inputs[1], subject.target.weights) for name in "abc"}
    return Plan(placement, Params({name: TensorParams(0.01, 0) for name in values}, weights))


def output_errors(subject: Subject, plan: Plan) -> dict[str, float]:
    """Of each convolution with rounded weights on the float graph's inputs, by ONNX Runtime."""
    proto = ir.to_proto(subject.graph)
    inputs = {node.name: node.input[0] for node in proto.graph.node if node.op_type == "Conv"}
    for node in [node for node in proto.graph.node if node.op_type == "Conv"]:
        rounded = plan.params.weights[node.name]
        stored = rounded.stored.astype(np.float32) * rounded.scales.reshape(-1, 1, 1, 1)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(stored, f"{node.name}/r"))
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name, copy.output[0], copy.input[1] = f"{node.name}/r", f"{node.name}/rounded", f"{node.name}/r"
        proto.graph.node.append(copy)
    names = [name for node in inputs for name in (node, f"{node}/rounded")]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(proto.SerializeToString())
    errors = dict.fromkeys(inputs, 0.0)
    for picture in subject.pictures:
        values = dict(zip(names, session.run(names, {"images_u8": picture}), strict=True))
        for node in errors:
            errors[node] += float(np.square(values[node] - values[f"{node}/rounded"]).sum())
    return errors


def test_every_convolution_is_nearer_to_the_float_one(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(subject)
    found = round_together(subject, plan)
    before, after = output_errors(subject, plan), output_errors(subject, found)
    assert all(after[name] < 0.8 * before[name] for name in before), (before, after)
    for name, old in plan.params.weights.items():
        new = found.params.weights[name]
        assert np.array_equal(new.scales, old.scales) and new.stored.dtype == old.stored.dtype
        assert np.abs(new.stored.astype(int) - old.stored).max() == 1, "some are rounded the other way, none further"
    monkeypatch.setattr(rounding, "CHUNK_BYTES", 1)  # a pass over the pictures for each convolution
    again = round_together(subject, plan)
    assert all(np.array_equal(again.params.weights[n].stored, w.stored) for n, w in found.params.weights.items())
