# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to Canaan's: a row for every tensor, the numbers of the graph, weights on the compiler's steps."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import test_sophgo_lowering as small
from exact import exact_session
from sophgo_tiny import float_graph, pictures, quantised
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.canaan import Lowered, lower
from yoloq_quantize.scheme import load_target

TARGET = load_target("k230")


def lowered(proto: onnx.ModelProto) -> tuple[Lowered, onnx.ModelProto, dict[str, dict]]:
    """With the graph as ONNX and the scheme's rows by name."""
    made = lower(ir.from_proto(proto))
    rows = json.loads(made.scheme)["Outputs"]
    assert len({row["Name"] for row in rows}) == len(rows), "a tensor has two rows"
    return made, ir.to_proto(made.graph), {row["Name"]: row for row in rows}


def small_qdq() -> onnx.ModelProto:
    return small.quantised(small.float_graph(), TARGET)


def scale_name(weight: str) -> str:
    return f"{weight.removesuffix('/steps')}/weight_scale"


def limits(row: dict) -> tuple[float, float]:
    return row["DataRange"][0]["Min"], row["DataRange"][0]["Max"]


def test_every_tensor_has_a_row() -> None:
    """The compiler crashes on one without. The picture's has the name that the compiler gives it."""
    _, graph, rows = lowered(small_qdq())
    named = {name for node in graph.graph.node for name in (*node.input, *node.output) if name}
    assert named - rows.keys() == {"images_u8"}
    assert rows["images_u8_DivStd"]["DataType"] == "u8" and limits(rows["images_u8_DivStd"]) == (0, pytest.approx(1))


def test_the_ranges_are_those_of_the_pairs() -> None:
    proto = small_qdq()
    _, _, rows = lowered(proto)
    pairs = small.pairs(proto)
    assert len(pairs) == 3
    for name, (scale, zero) in pairs.items():
        assert rows[name]["DataType"] == "u8"
        assert limits(rows[name]) == pytest.approx((-zero * scale, (255 - zero) * scale), rel=1e-6)
    kinds = {name: row["DataType"] for name, row in rows.items()}
    assert [kinds[name] for name in ("left", "right", "both")] == ["u8"] * 3, "what is moved keeps its numbers"
    assert limits(rows["left"]) == limits(rows["first_act"])
    assert [kinds[name] for name in ("first", "first_gate", "box_0")] == ["f16"] * 3
    assert sorted(kinds[name] for name in kinds if name.endswith("/steps")) == ["i8"] * 3
    assert kinds["box_0_w"] == "f16"


def test_the_graph_computes_the_same_with_the_compilers_steps() -> None:
    """Weights rounded as the compiler does, 255 steps from -largest to largest, are the quantised ones."""
    proto = small_qdq()
    made, graph, rows = lowered(proto)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    seen = 0
    for tensor in graph.graph.initializer:
        if rows.get(tensor.name, {}).get("DataType") != "i8":
            continue
        weight, scale = numpy_helper.to_array(tensor), constants[scale_name(tensor.name)].reshape(-1, 1, 1, 1)
        step = 2 * np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 255
        np.testing.assert_allclose(step, scale, rtol=1e-6)
        stored = np.clip(np.round(weight / step), -128, 127)
        wanted = np.round(np.clip(weight / scale, -127, 127))
        assert np.abs(stored - wanted).max() <= 1 and (stored != wanted).sum() <= 2 * len(weight)
        seen += 1
    assert seen == 3 and (made.int8, made.float) == (3, 1)


@pytest.mark.parametrize("graph", ["tiny", "float"])
def test_without_activations_in_integers_it_is_the_float_graph(graph: str) -> None:
    """The lowered graph is float: it differs from the quantised one by rounding alone."""
    if graph == "tiny":
        before, picture = ir.to_proto(quantised(float_graph(), "k230")), pictures(9)[8]
    else:
        before = ir.to_proto(small.float_graph())
        picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    made, after, _ = lowered(before)
    onnx.checker.check_model(after)
    planes = np.ascontiguousarray(picture.transpose(0, 3, 1, 2)).astype(np.float32) * np.float32(made.largest / 255)
    most = 0.03 if graph == "tiny" else 1e-5
    for one, other in zip(run(before, picture), run(after, planes), strict=True):
        assert np.sqrt(np.mean((one - other) ** 2)) / one.std() < most


def run(proto: onnx.ModelProto, picture: np.ndarray) -> list[np.ndarray]:
    session = exact_session(proto)
    return session.run(None, {session.get_inputs()[0].name: picture})


def test_what_the_compiler_makes_of_a_product_has_rows() -> None:
    scale = numpy_helper.from_array(np.float32(1 / 255), "scale")
    zero = numpy_helper.from_array(np.uint8(0), "zero")
    nodes = [
        helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["real"]),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["planes"], ["left"]),
        helper.make_node("MatMul", ["left", "planes"], ["product"]),
    ]
    given = helper.make_tensor_value_info("bytes", TensorProto.UINT8, [1, 8, 8, 3])
    made = helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(nodes, "attention", [given], [made], [scale, zero])
    _, _, rows = lowered(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)]))
    assert {"left_aBroadCast", "left_bBroadCast", "bytes_aBroadCast", "bytes_bBroadCast", "product"} <= rows.keys()


def test_a_graph_without_bytes_is_refused() -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "none", [given], [made])
    with pytest.raises(QuantizeError, match="does not begin with a picture's bytes"):
        lower(ir.from_proto(helper.make_model(graph)))
