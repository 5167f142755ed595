# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to Rockchip's: the same numbers, a pair for each reader, attention in float."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import test_sophgo_lowering as small
from sophgo_tiny import float_graph, pictures, quantised
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.rockchip import lower
from yoloq_quantize.scheme import load_target

TARGET = load_target("rk3588")


def run(proto: onnx.ModelProto, picture: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: picture})


def planes(picture: np.ndarray, divisor: float) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(divisor)


@pytest.mark.parametrize("graph", ["tiny", "SiLU", "HardSwish", "float"])
def test_the_graph_computes_the_same_of_real_planes(graph: str) -> None:
    """In both orders in which a graph may turn bytes into planes: tiny's, and the product's own pass."""
    if graph == "tiny":
        before, picture = ir.to_proto(quantised(float_graph(), "rk3588")), pictures(9)[8]
    else:
        model = small.float_graph("SiLU" if graph == "float" else graph)
        before = ir.to_proto(model) if graph == "float" else small.quantised(model, TARGET)
        picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    lowered = lower(ir.from_proto(before))
    after = ir.to_proto(lowered.graph)
    onnx.checker.check_model(after)
    assert lowered.divisor == pytest.approx(255)
    assert [output.name for output in after.graph.output] == [output.name for output in before.graph.output]
    for one, other in zip(run(before, picture), run(after, planes(picture, lowered.divisor)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())


def test_each_reader_has_a_pair_of_its_own() -> None:
    """tiny's three branches read one tensor: two convolutions in float, one in INT8."""
    lowered = lower(quantised(float_graph(), "rk3588"))
    pairs = [node for node in lowered.graph.graph if node.op_type == "DequantizeLinear"]
    assert [len(node.outputs[0].uses()) for node in pairs] == [1] * len(pairs)
    stored = [node.inputs[0].name for node in pairs]
    assert max(map(stored.count, stored)) == 3


def test_attention_reads_real_tensors() -> None:
    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    constants: list[onnx.TensorProto] = []
    scale, zero = constant("scale", np.float32(1 / 255)), constant("zero", np.uint8(0))
    weight, shape = constant("w", np.ones((4, 3, 1, 1), np.float32)), constant("shape", np.int64([1, 4, 64]))
    nodes = [
        helper.make_node("DequantizeLinear", ["bytes", scale, zero], ["real"]),
        helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", weight], ["qkv"]),
        helper.make_node("QuantizeLinear", ["qkv", scale, zero], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", scale, zero], ["qkv_real"]),
        helper.make_node("Reshape", ["qkv_real", shape], ["heads"]),
        helper.make_node("Conv", ["qkv_real", constant("v", np.ones((1, 4, 1, 1), np.float32))], ["other"]),
    ]
    given = helper.make_tensor_value_info("bytes", TensorProto.UINT8, [1, 8, 8, 3])
    made = [
        helper.make_tensor_value_info("heads", TensorProto.FLOAT, [1, 4, 64]),
        helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 1, 8, 8]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "attention", [given], made, constants))
    graph = lower(ir.from_proto(model)).graph.graph
    by_type = {node.op_type: node for node in graph}
    assert by_type["Reshape"].inputs[0].name == "qkv"
    assert graph.outputs[1].producer().inputs[0].producer().op_type == "DequantizeLinear"


def test_a_graph_without_bytes_is_refused() -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "none", [given], [made])
    with pytest.raises(QuantizeError, match="does not begin with a picture's bytes"):
        lower(ir.from_proto(helper.make_model(graph)))
