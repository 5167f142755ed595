# SPDX-License-Identifier: Apache-2.0
"""Quantize/Dequantize pairs, on a graph with everything that placement knows: SiLU, Split, Concat, Add, a head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.params import Params, TensorParams, find_params, weight_params
from yoloq_quantize.passes import InsertQdq, UniqueNames, run_passes
from yoloq_quantize.place import Edge, Placement, place
from yoloq_quantize.scheme import PlaceScheme, Target, WeightScheme, load_target

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


# ------------------------------------------------------------------------------------------------ numbers

TARGETS = Path(__file__).parent / "data" / "targets"
CHAIN = """<ir_version: 10, opset_import: ["": OPSET]>
chain (float[1,3,8,8] x) => (float[1,4,8,8] y) {
    a = Relu (x)
    b = Conv (a, first)
    c = Sigmoid (b)
    y = Conv (c, second, bias)
}"""


def chain(opset: int) -> ir.Model:
    generator = np.random.default_rng(2)
    proto = onnx.parser.parse_model(CHAIN.replace("OPSET", str(opset)))
    for name, shape in (("first", (6, 3, 1, 1)), ("second", (4, 6, 1, 1)), ("bias", (4,))):
        proto.graph.initializer.append(numpy_helper.from_array(generator.normal(0, 1, shape).astype(np.float32), name))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for name, node in zip(("relu", "one", "sigmoid", "two"), model.graph, strict=True):
        node.name = name
    return model


def inputs() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.normal(0, 2, (1, 3, 8, 8)).astype(np.float32) for _ in range(3)]


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    """As ONNX defines it: nothing fused."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def emulated(model: ir.Model, params: Params, dtype: str, x: np.ndarray) -> np.ndarray:
    """The chain in NumPy, with stored integers in float64."""

    def real(values: np.ndarray, name: str) -> np.ndarray:
        scale, zero = params.activations[name].scale, params.activations[name].zero_point
        stored = np.clip(np.rint(values / scale) + zero, np.iinfo(dtype).min, np.iinfo(dtype).max)
        return (stored - zero) * scale

    def conv(values: np.ndarray, name: str) -> np.ndarray:
        weight = params.weights[name]
        rows = weight.stored[:, :, 0, 0] * weight.scales.reshape(-1, 1).astype(np.float64)
        return np.einsum("oi,nihw->nohw", rows, values)

    first = params.biases.get("one", np.zeros(6))
    second = params.biases.get("two", model.graph.initializers["bias"].const_value.numpy())
    middle = conv(real(np.maximum(x, 0), "a"), "one") + first[:, None, None]
    return conv(real(1 / (1 + np.exp(-middle)), "c"), "two") + second[:, None, None]


def noise(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(((found - wanted) ** 2).sum() / (wanted**2).sum())


def plan(chip: Target, opset: int) -> tuple[ir.Model, Placement, Params]:
    model = chain(opset)
    placement = Placement({"a": (Edge("one", 0),), "c": (Edge("two", 0),)}, (("a",), ("c",)), ("one", "two"), ())
    found = calibrate(model, placement.groups, inputs(), chip.activations.bins)
    return model, placement, find_params(model, placement, found, chip)


@pytest.mark.parametrize(
    ("target", "opset", "limit"),
    [
        ("cpu", 17, 1e-4),
        ("reduced", 17, 1e-3),
        ("int4", 17, 5e-2),
        ("int4", 21, 5e-2),
        ("position", 17, 1e-3),
        ("shift", 17, 1e-3),
        ("wide", 21, 2e-4),
    ],
)
def test_a_scheme_computes_what_its_integers_say(target: str, opset: int, limit: float) -> None:
    chip = load_target(target if target == "cpu" else TARGETS / f"{target}.toml")
    model, placement, params = plan(chip, opset)
    wanted = run(model, inputs()[0])
    graph = run_passes(model.clone(), InsertQdq(placement, params, chip.activations.dtype, chip.weights.dtype))
    found = run(graph, inputs()[0])
    expected = emulated(model, params, chip.activations.dtype, inputs()[0])
    # A value within float32 rounding of a tie may land on the next integer: rare, and one step.
    assert np.quantile(np.abs(found - expected), 0.98) < 1e-4
    assert noise(found, expected) < limit / 20
    assert noise(found, wanted) < limit
    stored = graph.graph.initializers["one/weight"].dtype
    assert stored == (ir.DataType.INT4 if (target, opset) == ("int4", 21) else ir.DataType.INT8)
    quantize = next(node for node in graph.graph if node.op_type == "QuantizeLinear")
    assert quantize.outputs[0].dtype == ir.DataType.from_numpy(np.dtype(chip.activations.dtype))


def test_biases_are_replaced_and_added() -> None:
    chip = load_target("cpu")
    model, placement, params = plan(chip, 17)
    biases = {"one": np.linspace(-1, 1, 6, dtype=np.float32), "two": np.float32([10, -20, 30, 0])}
    corrected = replace(params, biases=biases)
    graph = run_passes(model.clone(), InsertQdq(placement, corrected, "uint8"))
    found = run(graph, inputs()[0])
    assert noise(found, emulated(model, corrected, "uint8", inputs()[0])) < 1e-5
    assert noise(found, emulated(model, params, "uint8", inputs()[0])) > 0.1
    nodes = {node.name: node for node in graph.graph}
    assert np.array_equal(nodes["one"].inputs[2].const_value.numpy(), biases["one"])
    only_one = replace(params, biases={"one": biases["one"]})
    nodes = {node.name: node for node in run_passes(model.clone(), InsertQdq(placement, only_one, "uint8")).graph}
    assert nodes["two"].inputs[2].name == "bias"


def test_a_bias_without_a_place_is_refused() -> None:
    model, placement, params = plan(load_target("cpu"), 17)
    bias = np.zeros(6, np.float32)
    with pytest.raises(ir.passes.PreconditionError, match="'sigmoid' is a Sigmoid, which has no bias"):
        run_passes(model.clone(), InsertQdq(placement, replace(params, biases={"sigmoid": bias}), "uint8"))
    with pytest.raises(ir.passes.PreconditionError, match="'three' is not in the graph"):
        run_passes(model.clone(), InsertQdq(placement, replace(params, biases={"three": bias}), "uint8"))


def test_int16_below_opset_21_is_refused() -> None:
    chip = load_target(TARGETS / "wide.toml")
    model, placement, params = plan(chip, 17)
    with pytest.raises(QuantizeError, match="int16 activations need opset 21, the model has 17"):
        run_passes(model, InsertQdq(placement, params, "int16"))


def test_names_that_the_graph_has_already_are_left_to_it() -> None:
    chip = load_target("cpu")
    model, placement, params = plan(chip, 17)
    wanted = run(run_passes(model.clone(), InsertQdq(placement, params, "uint8")), inputs()[0])
    for old, new in (("first", "one/weight"), ("second", "c/scale"), ("bias", "two/bias")):
        constant = model.graph.initializers.pop(old)
        constant.name = new
        model.graph.register_initializer(constant)
    bias = model.graph.initializers["two/bias"].const_value.numpy()
    graph = run_passes(model, InsertQdq(placement, replace(params, biases={"two": bias}), "uint8"))
    assert np.array_equal(run(graph, inputs()[0]), wanted)


@pytest.mark.parametrize(("operator", "shape"), [("MatMul", (6, 5)), ("Gemm", (6, 5)), ("Gemm <transB = 1>", (5, 6))])
def test_weights_of_matrix_products(operator: str, shape: tuple[int, int]) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> t (float[4,6] x) => (float[4,5] y)'
    proto = onnx.parser.parse_model(f"{text} {{ a = Relu (x)\n y = {operator} (a, w) }}")
    generator = np.random.default_rng(4)
    array = generator.normal(0, 1, shape).astype(np.float32)
    array *= 10.0 ** np.arange(5).reshape((5, 1) if shape[0] == 5 else (1, 5))
    proto.graph.initializer.append(numpy_helper.from_array(array, "w"))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for name, node in zip(("relu", "product"), model.graph, strict=True):
        node.name = name
    xs = [generator.normal(0, 1, (4, 6)).astype(np.float32) for _ in range(2)]
    placement = Placement({"a": (Edge("product", 0),)}, (("a",),), ("product",), ())
    found = calibrate(model, placement.groups, xs, 4096)
    params = find_params(model, placement, found, load_target("cpu"))
    graph = run_passes(model.clone(), InsertQdq(placement, params, "uint8"))
    wanted, got = run(model, xs[0]), run(graph, xs[0])
    for column in range(5):  # each on its own scale, or the small ones are lost
        assert noise(got[:, column], wanted[:, column]) < 1e-3
