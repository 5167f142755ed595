# SPDX-License-Identifier: Apache-2.0
"""Loading: what exporters write, at any opset and precision, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pass_check import outputs
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.model import load_model


def build(opset: int, dtype: int = TensorProto.FLOAT, sides: tuple = (1, 3, 8, 8)) -> onnx.ModelProto:
    """Operators whose form changed between opsets: Split, Squeeze, Unsqueeze, Reduce..., Resize, Softmax, Clip, Pad.

    The outputs have no shapes, as some exporters write them."""
    numbers = helper.tensor_dtype_to_np_dtype(dtype)
    weights = [
        numpy_helper.from_array(np.random.default_rng(1).normal(0, 0.5, (4, 3, 3, 3)).astype(numbers), "w"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        numpy_helper.from_array(np.array([], np.float32), "roi"),
        numpy_helper.from_array(np.array(0, numbers), "low"),
        numpy_helper.from_array(np.array(2, numbers), "high"),
        numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64), "pads"),
        numpy_helper.from_array(np.array([2, 2], np.int64), "sizes"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([2], np.int64), "second"),
    ]
    listed, reduced = opset >= 13, opset >= 18
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["y", "sizes"] if listed else ["y"], ["a", "b"], axis=1,
                         **({} if listed else {"split": [2, 2]})),
        helper.make_node("Clip", ["a", "low", "high"], ["c"]),
        helper.make_node("Pad", ["b", "pads"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Resize", ["e", "roi", "scales"], ["f"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("ReduceMean", ["f", "second"] if reduced else ["f"], ["g"], keepdims=1,
                         **({} if reduced else {"axes": [2]})),
        helper.make_node("Squeeze", ["g", "first"] if listed else ["g"], ["h"], **({} if listed else {"axes": [0]})),
        helper.make_node("Unsqueeze", ["h", "first"] if listed else ["h"], ["i"], **({} if listed else {"axes": [0]})),
        helper.make_node("Softmax", ["i"], ["j"], axis=3 if opset < 13 else -1),
        helper.make_node("Concat", ["c", "e"], ["k"], axis=1),
        helper.make_node("ReduceSum", ["k", "second"] if listed else ["k"], ["l"], keepdims=1,
                         **({} if listed else {"axes": [2]})),
        helper.make_node("Mul", ["l", "l"], ["squares"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("picture", dtype, sides)],
        [helper.make_tensor_value_info("squares", dtype, None), helper.make_tensor_value_info("j", dtype, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def reference(proto: onnx.ModelProto) -> list[np.ndarray]:
    return outputs(ir.from_proto(onnx.shape_inference.infer_shapes(proto)))


def saved(proto: onnx.ModelProto, folder: Path, **metadata: str) -> Path:
    helper.set_model_props(proto, metadata)
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 20])
def test_opsets_keep_the_numbers(opset: int, tmp_path: Path) -> None:
    source = load_model(saved(build(opset), tmp_path, names="{0: 'a', 1: 'b'}"))
    assert source.model.graph.opset_imports[""] == max(13, opset)
    assert source.classes == ("a", "b")
    for one, other in zip(reference(build(opset)), outputs(source.model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_float16_becomes_float32(tmp_path: Path) -> None:
    """The reference is the same graph with the float16 weights' values in float32."""
    half, full = build(17, TensorProto.FLOAT16), build(17)
    weights = numpy_helper.to_array(half.graph.initializer[0]).astype(np.float32)
    full.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    source = load_model(saved(half, tmp_path))
    assert source.model.graph.inputs[0].dtype == ir.DataType.FLOAT
    for one, other in zip(reference(full), outputs(source.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    source = load_model(saved(build(17, TensorProto.BFLOAT16), tmp_path))
    assert {value.dtype for value in source.model.graph.initializers.values()} == {ir.DataType.FLOAT, ir.DataType.INT64}


def test_open_sides_and_metadata(tmp_path: Path) -> None:
    source = load_model(saved(build(17, sides=("n", 3, "h", "w")), tmp_path, imgsz="[480, 640]", names="['a']"))
    assert (source.size, source.classes) == ((480, 640), ("a",))
    assert load_model(saved(build(17, sides=("n", 3, "h", "w")), tmp_path)).size is None


def test_metadata_goes_with_the_model(tmp_path: Path) -> None:
    assert load_model(saved(build(11), tmp_path, task="pose")).model.metadata_props["task"] == "pose"


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    proto = build(17)
    opsets = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    proto.functions.append(helper.make_function("own", "Layer", ["x", "w"], ["y"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node[0].CopyFrom(helper.make_node("Layer", ["picture", "w"], ["y"], domain="own"))
    model = load_model(saved(proto, tmp_path)).model
    assert not model.functions
    np.testing.assert_array_equal(reference(build(17))[0], outputs(model)[0])


def test_external_data(tmp_path: Path) -> None:
    proto = build(17)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=16)
    model = load_model(tmp_path / "m.onnx").model
    np.testing.assert_array_equal(reference(build(17))[0], outputs(model)[0])
    (tmp_path / "m.bin").unlink()
    with pytest.raises(QuantizeError, match=r"'m\.bin' is missing"):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_weights_are_refused(bad: float, tmp_path: Path) -> None:
    proto = build(17)
    array = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    array[0, 0, 0, 0] = bad
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))
    with pytest.raises(QuantizeError, match="weight 'w' holds NaN or infinite numbers"):
        load_model(saved(proto, tmp_path))


@pytest.mark.parametrize("opset", [10, 24])
def test_other_opsets_are_refused(opset: int, tmp_path: Path) -> None:
    proto = build(17)
    proto.opset_import[0].version = opset
    with pytest.raises(QuantizeError, match=f"opset {opset}; export the model with an opset from 11 to 20"):
        load_model(saved(proto, tmp_path))


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match=r"'picture' has shape .*expected \[n, 3, height, width\]"):
        load_model(saved(build(17, sides=(1, 1, 8, 8)), tmp_path))
    with pytest.raises(QuantizeError, match=r"'picture' is .*DOUBLE"):
        load_model(saved(build(17, TensorProto.DOUBLE), tmp_path))
    with pytest.raises(QuantizeError, match="no such file"):
        load_model(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(QuantizeError, match="not an ONNX model"):
        load_model(tmp_path / "text.onnx")
