# SPDX-License-Identifier: Apache-2.0
"""Quantize/Dequantize pairs, on a graph with everything that placement knows: SiLU, Split, Concat, Add, a head."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.params import Params, TensorParams, weight_params
from yoloq_quantize.passes import InsertQdq, UniqueNames, run_passes
from yoloq_quantize.place import Placement, place
from yoloq_quantize.scheme import PlaceScheme, WeightScheme

SCHEME = PlaceScheme(
    operators=("Conv",),
    through=("Concat", "Split", "MaxPool", "Resize"),
    both_inputs=("Add",),
    float_last={"one_to_one": {"box": 2}, "one_to_many": {"box": 1}},
)


def head(nms: bool = True) -> Head:
    output = HeadOutput("y", "y", "box", 0, (1, 2, 4, 4))
    return Head("ltrb", "logit", 1, False, nms, (1,), None, (output,), 1, "test")


def model() -> ir.Model:
    """first -> SiLU -> Split -> (second -> SiLU) + Add, Concat of both halves and the sum -> third -> last."""
    generator = np.random.default_rng(0)
    constants, nodes = [], []

    def conv(name: str, source: str, channels: tuple[int, int], result: str) -> None:
        constants.append(
            numpy_helper.from_array(generator.normal(0, 1, (*channels, 1, 1)).astype(np.float32), f"{name}.w")
        )
        constants.append(numpy_helper.from_array(generator.normal(0, 1, channels[0]).astype(np.float32), f"{name}.b"))
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [result], name=name))

    def silu(source: str, result: str) -> None:
        nodes.append(helper.make_node("Sigmoid", [source], [f"{source}.s"]))
        nodes.append(helper.make_node("Mul", [source, f"{source}.s"], [result]))

    conv("first", "x", (4, 3), "a")
    silu("a", "b")
    nodes.append(helper.make_node("Split", ["b"], ["left", "right"], axis=1))
    conv("second", "right", (2, 2), "c")
    silu("c", "d")
    nodes.append(helper.make_node("Add", ["right", "d"], ["sum"]))
    nodes.append(helper.make_node("Concat", ["left", "right", "sum"], ["all"], axis=1))
    conv("third", "all", (4, 6), "e")
    silu("e", "f")
    conv("last", "f", (2, 4), "y")
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return run_passes(ir.from_proto(onnx.shape_inference.infer_shapes(proto)), UniqueNames())


def params_for(graph: ir.Model, placement: Placement) -> Params:
    nodes = {node.name: node for node in graph.graph}
    weights = {
        name: weight_params(nodes[name].inputs[1], WeightScheme("int8", True, True)) for name in placement.weighted
    }
    return Params({name: TensorParams(0.1, 10) for name in placement.edges}, weights)


def test_placement_quantises_where_numbers_are_made() -> None:
    placement = place(model(), SCHEME, head())
    assert placement.weighted == ("first", "second", "third")
    assert placement.kept_float == ("last",)
    # b: read by Split. d: by Add, as is the right half, which b's scale covers. sum: by Concat, on b's scale.
    assert set(placement.edges) == {"b", "d", "sum"}
    assert placement.groups == (("b", "sum"), ("d",))


def test_the_kind_of_head_says_how_much_stays_in_float() -> None:
    placement = place(model(), SCHEME, head(nms=False))
    assert placement.kept_float == ("third", "last")
    assert set(placement.edges) == {"b"}


def test_named_nodes_stay_in_float() -> None:
    placement = place(model(), SCHEME, head(), keep_float=frozenset({"third"}))
    assert placement.weighted == ("first", "second")
    assert set(placement.edges) == {"b"}


def test_one_pair_per_value_and_nothing_before_an_activation() -> None:
    graph = model()
    placement = place(graph, SCHEME, head())
    graph = run_passes(graph, InsertQdq(placement, params_for(graph, placement), "uint8"))
    onnx.checker.check_model(ir.to_proto(graph), full_check=True)
    pairs = [node for node in graph.graph if node.op_type == "QuantizeLinear"]
    assert sorted(node.inputs[0].name for node in pairs) == ["b", "d", "sum"]
    for node in graph.graph:
        if node.op_type == "Conv":
            consumers = {use.node.op_type for use in node.outputs[0].uses()}
            assert consumers <= {"Sigmoid", "Mul"}
            if node.name != "last":
                assert node.inputs[1].producer().op_type == "DequantizeLinear"
                assert node.inputs[1].producer().inputs[0].dtype == ir.DataType.INT8
            assert node.inputs[2].dtype == ir.DataType.FLOAT


def test_twice_is_refused() -> None:
    graph = model()
    placement = place(graph, SCHEME, head())
    params = params_for(graph, placement)
    graph = run_passes(graph, InsertQdq(placement, params, "uint8"))
    with pytest.raises(ir.passes.PreconditionError, match="quantised already"):
        run_passes(graph, InsertQdq(placement, params, "uint8"))


def test_weights_round_trip() -> None:
    weight = np.random.default_rng(1).normal(0, 1, (5, 3, 3, 3)).astype(np.float32)
    weight[2] = 0
    value = ir.val("w", const_value=ir.tensor(weight))
    params = weight_params(value, WeightScheme("int8", True, True))
    back = params.stored * params.scales.reshape(-1, 1, 1, 1)
    assert (np.abs(back - weight) <= params.scales.reshape(-1, 1, 1, 1) / 2 + 1e-7).all()
    assert params.scales.shape == (5,)
    assert params.stored.dtype == np.int8
    assert params.stored.min() >= -127
    assert (params.stored[2] == 0).all()
    assert params.scales[2] == 1
