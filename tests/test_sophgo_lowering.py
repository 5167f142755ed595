# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to Sophgo's tables: no row is missing, and the numbers are those of the graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from exact import exact_session
from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.lower.sophgo import lower, make_tables, other_ranges, read_operators
from yoloq_quantize.lower.unquantise import unquantise
from yoloq_quantize.params import find_params
from yoloq_quantize.passes import InsertQdq, Uint8Input, UniqueNames, run_passes
from yoloq_quantize.place import place
from yoloq_quantize.scheme import load_target

TARGET = load_target("bm1688")
SIDE = 16


class Drawing:
    """Nodes and random weights of a graph in the making; each method gives the name of what it adds."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.constants: list[onnx.TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def conv(self, source: str, name: str, inputs: int, outputs: int) -> str:
        weight = self.generator.normal(0, 0.6, (outputs, inputs, 3, 3)).astype(np.float32)
        bias = self.generator.normal(0, 1, outputs).astype(np.float32)
        self.constants += [numpy_helper.from_array(weight, f"{name}_w"), numpy_helper.from_array(bias, f"{name}_b")]
        self.nodes.append(helper.make_node("Conv", [source, f"{name}_w", f"{name}_b"], [name], pads=[1, 1, 1, 1]))
        return name

    def act(self, source: str, kind: str = "SiLU") -> str:
        if kind == "SiLU":
            self.nodes.append(helper.make_node("Sigmoid", [source], [f"{source}_gate"]))
            self.nodes.append(helper.make_node("Mul", [source, f"{source}_gate"], [f"{source}_act"]))
        else:
            self.nodes.append(helper.make_node(kind, [source], [f"{source}_act"]))
        return f"{source}_act"

    def add(self, one: str, other: str, name: str) -> str:
        self.nodes.append(helper.make_node("Add", [one, other], [name]))
        return name

    def done(self) -> ir.Model:
        given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        answer = helper.make_tensor_value_info("box_0", TensorProto.FLOAT, [1, 4, SIDE, SIDE])
        graph = helper.make_graph(self.nodes, "small", [given], [answer], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        return run_passes(ir.from_proto(model), UniqueNames(), Uint8Input())


def float_graph(activation: str = "SiLU") -> ir.Model:
    """first -> activation -> Split -> second -> activation + Add, Concat -> third -> activation -> box (float)."""
    drawing = Drawing()
    whole = drawing.act(drawing.conv("images", "first", 3, 8), activation)
    drawing.nodes.append(helper.make_node("Split", [whole], ["left", "right"], axis=1))
    inner = drawing.act(drawing.conv("right", "second", 4, 4), activation)
    drawing.add("right", inner, "sum")
    drawing.nodes.append(helper.make_node("Concat", ["left", "sum"], ["both"], axis=1))
    drawing.conv(drawing.act(drawing.conv("both", "third", 8, 8), activation), "box_0", 8, 4)
    return drawing.done()


def sum_graph() -> ir.Model:
    """first -> activation -> inner -> activation + Add -> box (float)."""
    drawing = Drawing()
    first = drawing.act(drawing.conv("images", "first", 3, 8))
    drawing.conv(drawing.add(first, drawing.act(drawing.conv(first, "inner", 8, 8)), "sum"), "box_0", 8, 4)
    return drawing.done()


def quantised(model: ir.Model, target=TARGET) -> onnx.ModelProto:
    raw = HeadOutput("box_0", "box_0", "box", 0, (1, 4, SIDE, SIDE))
    head = Head("ltrb", "logit", 1, False, True, (1,), None, (raw,), 1, "test")
    placement = place(model, target.place, head)
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8) for _ in range(4)]
    found = calibrate(model, placement.groups, pictures, target.activations.bins)
    params = find_params(model, placement, found, target)
    return ir.to_proto(run_passes(model.clone(), InsertQdq(placement, params, target.activations.dtype)))


def operators_of(model: ir.Model) -> str:
    """The text of a top-level graph as the vendor's compiler writes it: x * sigmoid(x) is one operator."""
    lines, places, numbers = [], [], {}
    names = [("Input", model.graph.inputs[0].name, [])]
    for node in model.graph:
        if node.op_type == "Sigmoid":
            continue
        for value in node.outputs:
            sources = [source for source in node.inputs if source is not None and source.const_value is None]
            if node.op_type == "Mul":
                sources = sources[:1]
            names.append((node.op_type, f"{value.name}_{node.op_type}", [source.name for source in sources]))
    values = {name.rsplit("_", 1)[0] if index else name: index for index, (_, name, _) in enumerate(names)}
    for index, (kind, name, sources) in enumerate(names):
        numbers[name] = index
        read = ", ".join(f"%{values[source]}" for source in sources) or "%arg0"
        lines.append(
            f'    %{index} = "top.{kind}"({read}) {{a = [1]}} : (tensor<1xf32>) -> tensor<1xf32> loc(#loc{index})'
        )
        places.append(f'#loc{index} = loc("{name}")')
    return "\n".join(["#loc = loc(unknown)", *lines, *places]) + "\n"


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert len({line[0] for line in lines}) == len(lines), "an operator has two rows"
    return {line[0]: line[1:] for line in lines}


def pairs(proto: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero point by the value that is quantised, read from the QDQ graph itself."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return {
        node.input[0]: (float(constants[node.input[1]]), int(constants[node.input[2]]))
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_every_operator_has_a_row_and_only_sums_and_the_last_convolution_are_float() -> None:
    lowered = lower(ir.from_proto(quantised(float_graph())), TARGET.place)
    operators = read_operators(operators_of(lowered.graph))
    tables = make_tables(lowered, operators)
    assert set(rows(tables.calibration)) == {name for operator in operators for name in operator.names}
    assert rows(tables.quantize) == {"sum_Add": ["F16"], "box_0_Conv": ["F16"]}
    assert (tables.int8, tables.float) == (len(operators) - 2, 2)


def test_the_rows_give_the_chip_the_scales_and_zero_points_of_the_graph() -> None:
    """By the vendor's own rule: scale = (max - min) / 255, zero point = round(-128 - min / scale)."""
    proto = quantised(float_graph())
    wanted = pairs(proto)
    lowered = lower(ir.from_proto(proto), TARGET.place)
    found = rows(make_tables(lowered, read_operators(operators_of(lowered.graph))).calibration)
    seen = 0
    for key, (threshold, low, high) in ((key, map(float, row)) for key, row in found.items()):
        name = key.rsplit("_", 1)[0]
        if name not in wanted:
            continue
        scale, zero = (high - low) / 255, round(-128 - low * 255 / (high - low))
        assert scale == pytest.approx(wanted[name][0], rel=1e-6), name
        assert zero == wanted[name][1] - 128, name
        assert threshold == pytest.approx(max(-low, high))
        seen += 1
    assert seen == len(wanted) == 7  # three convolutions, three activations, the sum; the halves move


def test_what_moves_numbers_has_the_range_of_what_it_moves() -> None:
    lowered = lower(ir.from_proto(quantised(float_graph())), TARGET.place)
    found = rows(make_tables(lowered, read_operators(operators_of(lowered.graph))).calibration)
    assert found["left_Split"] == found["right_Split"] == found["first_act_Mul"] == found["both_Concat"]
    assert found["sum_Add"] == found["both_Concat"]  # one scale, so that nothing is requantised
    assert found["images_u8"] == found["images_u8/nchw_Transpose"] == ["255.000000000", "0.000000000", "255.000000000"]


def test_a_fused_relu_is_stored_once() -> None:
    proto = quantised(float_graph("Relu"))
    assert set(pairs(proto)) == {"first_act", "second_act", "sum", "third_act"}
    lowered = lower(ir.from_proto(proto), TARGET.place)
    assert {node.name for node in lowered.graph.graph if node.op_type == "Relu"} <= lowered.int8


def test_the_float_graph_computes_what_the_quantised_weights_do() -> None:
    """Bytes go in as floats; the weights of the first convolution hold the picture's scale."""
    proto = quantised(float_graph())
    plain = ir.to_proto(float_graph())
    constants = {tensor.name: tensor for tensor in plain.graph.initializer}
    integers = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:  # the float graph with the integers of the other one, put in by hand
        if node.op_type == "DequantizeLinear" and node.input[0].endswith("/weight"):
            stored, scale = (integers[name] for name in node.input[:2])
            conv = next(n for n in plain.graph.node if n.name == node.name.removesuffix("/weight_DequantizeLinear"))
            real = stored.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
            constants[conv.input[1]].CopyFrom(numpy_helper.from_array(real.astype(np.float32), conv.input[1]))
    picture = np.random.default_rng(3).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    wanted = exact_session(plain).run(None, {"images_u8": picture})[0]
    lowered = ir.to_proto(lower(ir.from_proto(proto), TARGET.place).graph)
    assert lowered.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert not {node.op_type for node in lowered.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    found = exact_session(lowered).run(None, {"images_u8": picture.astype(np.float32)})[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_an_operator_of_the_compilers_own_runs_in_float_on_its_readers_range() -> None:
    lowered = lower(ir.from_proto(quantised(float_graph())), TARGET.place)
    text = operators_of(lowered.graph).replace('loc("right_Split")', 'loc("right_made_anew")')
    tables = make_tables(lowered, read_operators(text))
    assert set(rows(tables.quantize)) == {"right_made_anew", "sum_Add", "box_0_Conv"}
    assert rows(tables.calibration)["right_made_anew"] == rows(tables.calibration)["first_act_Mul"]


def test_an_int8_operator_without_a_range_is_refused_by_name() -> None:
    lowered = lower(ir.from_proto(quantised(float_graph())), TARGET.place)
    ranges = {name: found for name, found in lowered.ranges.items() if name not in ("first", "first_act")}
    with pytest.raises(QuantizeError, match="'first_Conv' has no range"):
        make_tables(replace(lowered, ranges=ranges), read_operators(operators_of(lowered.graph)))


def test_a_float_graph_is_all_f16_but_for_the_bytes() -> None:
    lowered = lower(ir.from_proto(ir.to_proto(float_graph())), TARGET.place)
    tables = make_tables(lowered, read_operators(operators_of(lowered.graph)))
    integers = set(rows(tables.calibration)) - set(rows(tables.quantize))
    assert integers == {"images_u8", "images_u8/nchw_Transpose"}


def test_several_names_and_places_of_an_operator_are_read() -> None:
    text = (
        '    %1 = "top.Input"(%arg0) {a = 1} : (f32) -> f32 loc("images")\n'
        '    %2:2 = "top.Split"(%1) : (f32) -> (f32, f32) loc(fused[#loc1, #loc2])\n'
        '    %3 = "top.Weight"() : () -> f32 loc(#loc3)\n'
        '    %4 = "top.Conv"(%2#1, %3) : (f32) -> f32 loc(#loc4)\n'
        '#loc1 = loc("a_Split")\n#loc2 = loc("b_Split")\n#loc3 = loc("w")\n#loc4 = loc("c_Conv")\n'
    )
    found = read_operators(text)
    assert [operator.names for operator in found] == [("images",), ("a_Split", "b_Split"), ("c_Conv",)]
    assert found[2].sources == ("b_Split", "")
    with pytest.raises(QuantizeError, match="cannot read"):
        read_operators("module {}\n")


def test_a_graph_without_bytes_is_refused() -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu(x) }'
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    with pytest.raises(QuantizeError, match="does not begin with a picture's bytes"):
        unquantise(ir.from_proto(model))


def test_a_picture_that_no_convolution_reads_is_refused() -> None:
    model = ir.from_proto(ir.to_proto(float_graph()))
    first = next(node for node in model.graph if node.op_type == "Conv")
    relu = ir.node("Relu", [first.inputs[0]], name="early")
    model.graph.insert_before(first, [relu])
    first.replace_input_with(0, relu.outputs[0])
    with pytest.raises(QuantizeError, match="read by Relu"):
        lower(model, TARGET.place)


@pytest.mark.parametrize("chip", ["bm1684x", "bm1688", "cv186x"])
def test_the_chips_differ_by_name_only(chip: str) -> None:
    target = load_target(chip)
    assert (target.chip, target.backend, target.file) == (chip, "sophgo", "model.bmodel")
    assert replace(target, chip=TARGET.chip) == TARGET


def test_what_an_activation_does_not_tell_apart_costs_no_integers() -> None:
    """SiLU is flat below -8: the range of what it reads ends there, and the sum's, which Add reads, does not."""
    model = float_graph()
    for node in model.graph:
        if node.op_type == "Conv" and node.outputs[0].name in ("first", "second"):
            weight = node.inputs[1].const_value.numpy() * 20
            node.inputs[1].const_value = ir.tensor(weight, name=node.inputs[1].name)
    lowered = lower(ir.from_proto(quantised(model)), TARGET.place)
    for name in ("first", "second"):
        low, high = lowered.ranges[name]
        assert abs(low + 8) <= (high - low) / 255  # to the next integer
        assert high > 40


def test_leaky_relu_shares_the_scale_of_its_convolution_and_says_its_slope() -> None:
    """The compiler gives both one range, and takes a slope that is not said for 0 where ONNX means 0.01."""
    lowered = lower(ir.from_proto(quantised(float_graph("LeakyRelu"))), TARGET.place)
    assert lowered.ranges["first"] == lowered.ranges["first_act"] == lowered.ranges["both"]
    slopes = [node.attributes["alpha"].as_float() for node in lowered.graph.graph if node.op_type == "LeakyRelu"]
    assert slopes == pytest.approx([0.01] * 3)


def test_what_nothing_reads_as_integers_has_the_range_of_its_source() -> None:
    """The compiler hands ranges on backwards, to what is INT8 too."""
    lowered = lower(ir.from_proto(quantised(float_graph())), TARGET.place)
    found = rows(make_tables(lowered, read_operators(operators_of(lowered.graph))).calibration)
    assert found["box_0_Conv"] == found["third_act_Mul"]


@pytest.mark.parametrize(("factor", "expected"), [(1.0, []), (1.01, ["first_Conv"])])
def test_a_scale_that_the_compiler_changed_is_seen(factor: float, expected: list[str]) -> None:
    proto = quantised(float_graph())
    lowered = lower(ir.from_proto(proto), TARGET.place)
    tables = make_tables(lowered, read_operators(operators_of(lowered.graph)))
    scale = pairs(proto)["first"][0] * factor
    text = f'    %1 = "tpu.Conv2D"(%0) : (f32) -> tensor<1x8x!quant.uniform<i8:f32, {scale:.17g}:5>> loc(#loc1)\n'
    assert other_ranges(tables, text + '#loc1 = loc("first_Conv")\n', symmetric=False) == expected
