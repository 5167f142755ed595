# SPDX-License-Identifier: Apache-2.0
"""SQNR by layer against ONNX Runtime and NumPy, and the INT8 share of small graphs counted by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from tiny_model import tiny_onnx, write_tiny_package
from yoloq_quantize.compare.layers import MAX_DB, decibels, int8_share, measure_layers
from yoloq_quantize.dataset import Dataset, load_pictures
from yoloq_quantize.errors import QuantizeError

SIZE = 64


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
    return load_pictures(folder)


def change(package: Path, layer: str, scale: float = 1.0) -> None:
    """Stores one layer's weight as int8 with one scale, read through DequantizeLinear; all of it `scale` times."""
    model = onnx.load(package / "model.onnx")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == f"{layer}_w")
    array = numpy_helper.to_array(weight) * np.float32(scale)
    step = np.float32(np.abs(array).max() / 127)
    stored = np.clip(np.rint(array / step), -127, 127).astype(np.int8)
    model.graph.initializer.remove(weight)
    names = [f"{layer}_stored", f"{layer}_step", f"{layer}_zero"]
    for name, value in zip(names, (stored, step, np.int8(0)), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", names, [f"{layer}_w"]))
    onnx.save(model, package / "model.onnx")


def outputs(package: Path, names: list[str], dataset: Dataset) -> list[list[np.ndarray]]:
    """By picture, the named values by ONNX Runtime."""
    model = onnx.load(package / "model.onnx")
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = [cv2.cvtColor(sample.read(), cv2.COLOR_BGR2RGB)[None] for sample in dataset.samples]
    return [session.run(names, {"images_u8": feed}) for feed in feeds]


def test_sqnr_is_what_onnx_runtime_and_numpy_say(tmp_path: Path, pictures: Dataset) -> None:
    one, two = write_tiny_package(tmp_path / "a.yoloq", SIZE), write_tiny_package(tmp_path / "b.yoloq", SIZE)
    change(two, "body_1")
    layers = measure_layers(one, {"b": two}, pictures)
    names = ["body_0", "body_1", "body_2", "score_2"]
    before, after = outputs(one, names, pictures), outputs(two, names, pictures)
    at = [node.output[0] for node in onnx.load(one / "model.onnx").graph.node if node.op_type == "Conv"]
    assert layers.pictures == 2
    for i, name in enumerate(names):
        signal = sum(float((run[i].astype(np.float64) ** 2).sum()) for run in before)
        noise = sum(float(((a[i] - b[i]).astype(np.float64) ** 2).sum()) for a, b in zip(before, after, strict=True))
        measured = layers.sqnr["b"][at.index(name)]
        if name == "body_0":
            assert measured > 100  # nothing before it is quantised
        else:
            assert measured == pytest.approx(10 * np.log10(signal / noise), abs=0.5)
            assert 15 < measured < 60
    assert [name for name, int8 in zip(at, layers.int8["b"], strict=True) if int8] == ["body_1"]


def test_a_rescaled_layer_is_left_out(tmp_path: Path, pictures: Dataset) -> None:
    one, two = write_tiny_package(tmp_path / "a.yoloq", SIZE), write_tiny_package(tmp_path / "b.yoloq", SIZE)
    change(two, "body_1", scale=3.0)
    layers = measure_layers(one, {"b": two}, pictures)
    found = dict(zip(layers.names, layers.sqnr["b"], strict=True))
    assert found["body_1"] is None
    assert all(value is not None for name, value in found.items() if name != "body_1")


def test_other_chips_are_refused(tmp_path: Path, pictures: Dataset) -> None:
    one = write_tiny_package(tmp_path / "a.yoloq", SIZE)
    manifest = (one / "manifest.json").read_text().replace('"model.onnx"', '"model.om"', 1)
    (one / "manifest.json").write_text(manifest)
    with pytest.raises(QuantizeError, match=r"model\.om is not ONNX"):
        measure_layers(one, {}, pictures)


def test_decibels_by_hand() -> None:
    assert decibels(100, 1) == pytest.approx(20)
    assert decibels(1, 4) == pytest.approx(-6.0206, abs=1e-4)
    assert (decibels(1, 0), decibels(0, 0), decibels(0, 1), decibels(1, 1e-30)) == (MAX_DB, MAX_DB, -MAX_DB, MAX_DB)


def test_int8_share_counts_multiply_adds(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "a.yoloq", SIZE)
    assert int8_share(package / "model.onnx") == 0
    change(package, "body_0")
    # Output sides 32, 16, 8, 4, 2; width 16; heads of 4 and 3 channels behind the last three; all kernels 3x3.
    body = [32**2 * 3 * 16, *(side**2 * 16 * 16 for side in (16, 8, 4, 2))]
    heads = [side**2 * 16 * (4 + 3) for side in (8, 4, 2)]
    assert int8_share(package / "model.onnx") == pytest.approx(body[0] / (sum(body) + sum(heads)))


def test_share_of_a_model_without_convolutions_is_0(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_onnx(SIZE, 4))
    del model.graph.node[2:]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("real", onnx.TensorProto.FLOAT, [1, 3, SIZE, SIZE]))
    onnx.save(model, tmp_path / "m.onnx")
    assert int8_share(tmp_path / "m.onnx") == 0
