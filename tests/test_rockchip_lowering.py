# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to Rockchip's: the same numbers, a pair for each reader, attention in float."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import test_sophgo_lowering as small
from exact import exact_session
from sophgo_tiny import float_graph, pictures, quantised
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.lower.rockchip import lower
from yoloq_quantize.place import Placement, place
from yoloq_quantize.scheme import load_target

TARGET = load_target("rk3588")


def run(proto: onnx.ModelProto, picture: np.ndarray) -> list[np.ndarray]:
    session = exact_session(proto)
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
    lowered = lower(ir.from_proto(before), replace(TARGET, compiler={}))
    after = ir.to_proto(lowered.graph)
    onnx.checker.check_model(after)
    assert lowered.divisor == pytest.approx(255)
    assert [output.name for output in after.graph.output] == [output.name for output in before.graph.output]
    bare = without_pairs_before_activations(after)
    added = len(after.graph.node) - len(bare.graph.node)
    assert added == {"SiLU": 9, "HardSwish": 6}.get(graph, 0)  # of three; x * sigmoid(x) reads twice
    for one, other in zip(run(before, picture), run(bare, planes(picture, lowered.divisor)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())


def test_weights_and_scales_are_ours_once_the_compiler_has_widened_them() -> None:
    """It makes scales 128/127 as large and rounds the weights to them."""
    before = small.quantised(small.float_graph("SiLU"), TARGET)
    after = ir.to_proto(lower(ir.from_proto(before), TARGET).graph)
    ours, handed = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (before, after))
    pairs = {n.output[0]: n.input for n in before.graph.node if n.op_type == "DequantizeLinear"}
    seen = 0
    for node in after.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in handed:
            continue
        stored, scale = (ours[name] for name in pairs[node.output[0]][:2])
        np.testing.assert_allclose(handed[node.input[1]] * 128 / 127, scale, rtol=1e-6)
        np.testing.assert_array_equal(np.rint(handed[node.input[0]] * (127 / 128)), stored)
        assert np.abs(stored).max() <= 126 and not np.array_equal(handed[node.input[0]], stored)
        seen += 1
    assert seen == 3


def without_pairs_before_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes out what only the compiler wants: pairs that read a convolution and that an activation reads."""
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    maker = {name: node for node in model.graph.node for name in node.output}
    gone = set()
    for node in bare.graph.node:
        for index, name in enumerate(node.input):
            pair = maker.get(name)
            if (
                node.op_type not in ("Sigmoid", "Mul", "HardSwish")
                or pair is None
                or pair.op_type != "DequantizeLinear"
            ):
                continue
            quantize = maker[pair.input[0]]
            assert maker[quantize.input[0]].op_type == "Conv"
            node.input[index] = quantize.input[0]
            gone |= {pair.name, quantize.name}
    kept = [node for node in bare.graph.node if node.name not in gone]
    del bare.graph.node[:]
    bare.graph.node.extend(kept)
    return bare


def test_the_pair_before_an_activation_covers_what_its_result_does() -> None:
    """Were it not ignored, it would not clip: from where the activation is flat to the largest stored number."""
    after = ir.to_proto(lower(ir.from_proto(small.quantised(small.float_graph("HardSwish"), TARGET)), TARGET).graph)
    numbers = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    nodes = {name: node for node in after.graph.node for name in node.input}

    def covered(node: onnx.NodeProto) -> tuple[float, float]:
        scale, zero = (numbers[name] for name in node.input[1:3])
        return (0 - int(zero)) * float(scale), (255 - int(zero)) * float(scale)

    wide = covered(nodes["first"])
    stored = covered(nodes["first_act"])
    assert nodes["first"].op_type == "QuantizeLinear" and nodes["first_act"].op_type == "QuantizeLinear"
    assert wide[0] == pytest.approx(-3, abs=0.05) and wide[1] == pytest.approx(stored[1], abs=0.05)


def a_model(nodes: list[onnx.NodeProto], groups: int) -> ir.Model:
    constants = [
        numpy_helper.from_array(np.ones((4, 4 // groups, 3, 3), np.float32), "w"),
        numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w_last"),
        numpy_helper.from_array(np.int64([1, 4, 64]), "shape"),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])
    made = helper.make_tensor_value_info("box_0", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "one", [given], [made], constants))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def placed(model: ir.Model) -> Placement:
    raw = HeadOutput("box_0", "box_0", "box", 0, (1, 4, 8, 8))
    return place(model, TARGET.place, Head("ltrb", "logit", 1, False, True, (1,), None, (raw,), 1, "test"))


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_stores_before_its_silu_only_if_it_is_depthwise(groups: int) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["start"], name="start"),
        helper.make_node("Conv", ["start", "w"], ["made"], name="conv", pads=[1, 1, 1, 1], group=groups),
        helper.make_node("Sigmoid", ["made"], ["gate"], name="gate"),
        helper.make_node("Mul", ["made", "gate"], ["silu"], name="silu"),
        helper.make_node("Conv", ["silu", "w_last"], ["box_0"], name="last"),
    ]
    edges = placed(a_model(nodes, groups)).edges
    assert "silu" in edges and ("made" in edges) == (groups == 4)


def test_a_convolution_before_attention_stays_in_float() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["first"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["start"], name="start"),
        helper.make_node("Conv", ["start", "w_last"], ["qkv"], name="qkv"),
        helper.make_node("Reshape", ["qkv", "shape"], ["heads"], name="heads"),
        helper.make_node("Conv", ["start", "w_last"], ["box_0"], name="last"),
    ]
    found = placed(a_model(nodes, 1))
    assert found.weighted == ("first",) and set(found.kept_float) == {"qkv", "last"}


def test_each_reader_has_a_pair_of_its_own() -> None:
    """tiny's three branches read one tensor: two convolutions in float, one in INT8."""
    lowered = lower(quantised(float_graph(), "rk3588"), TARGET)
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
    graph = lower(ir.from_proto(model), TARGET).graph.graph
    by_type = {node.op_type: node for node in graph}
    assert by_type["Reshape"].inputs[0].name == "qkv"
    assert graph.outputs[1].producer().inputs[0].producer().op_type == "DequantizeLinear"


def test_a_graph_without_bytes_is_refused() -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "none", [given], [made])
    with pytest.raises(QuantizeError, match="does not begin with a picture's bytes"):
        lower(ir.from_proto(helper.make_model(graph)), TARGET)
