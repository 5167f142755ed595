# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to the deploy graph for Ascend, which an interpreter written from the documents executes: the same
integers, layer by layer; and every seeded mistake is seen."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import test_sophgo_lowering as small
from ascend.interpreter import Interpreter, Mode
from ascend_layers import Differences, Layers, plain_session
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower import ascend as lowering
from yoloq_quantize.lower.batch import with_batch
from yoloq_quantize.scheme import load_target

TARGET = load_target("ascend310p")
KINDS = ("SiLU", "Relu", "HardSwish", "LeakyRelu")
Lower = Callable[[ir.Model], lowering.Lowered]


def picture(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)


def quantised(kind: str = "SiLU") -> onnx.ModelProto:
    return small.quantised(small.float_graph(kind), TARGET)


def lowered(proto: onnx.ModelProto, lower: Lower = lowering.lower) -> tuple[lowering.Lowered, bytes]:
    made = lower(ir.from_proto(proto))
    return made, ir.to_proto(made.graph).SerializeToString()


def differences(proto: onnx.ModelProto, lower: Lower = lowering.lower) -> Differences:
    made, deploy = lowered(proto, lower)
    total, pair = Differences(), Layers(proto.SerializeToString(), deploy)
    for seed in range(4):
        pair.compare(picture(seed), made.pixel, total)
    return total


# ---------------------------------------------------------------------------------------------- the same integers


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_has_the_integers_of_the_quantised_graph(kind: str) -> None:
    found = differences(quantised(kind))
    assert found.holds(), found
    assert found.layers == 12 and found.integers > 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_graph_computes_the_quantised_graph(kind: str) -> None:
    proto = quantised(kind)
    made, deploy = lowered(proto)
    (wanted,) = plain_session(proto.SerializeToString()).run(None, {"images_u8": picture()})
    x = picture().transpose(0, 3, 1, 2).astype(np.float32)
    assert made.pixel == 1
    for mode, most in ((Mode(), 0.004), (Mode(half=True), 0.02), (Mode(half=True, scale_bits=19), 0.02)):
        found = Interpreter(deploy, mode).run({"images_u8": x})["box_0"]
        error = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
        assert error < most, (mode, error)
    assert error > 0, "FP16 changes something"


def test_the_deploy_graph_is_as_the_documents_draw_it() -> None:
    made, deploy = lowered(quantised())
    graph = onnx.load_from_string(deploy).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("AscendQuant") == kinds.count("AscendDequant") == len(made.int8) == 3
    assert not {"QuantizeLinear", "DequantizeLinear", "Transpose"} & set(kinds)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "AscendQuant":
            assert node.name.endswith(".quant") and given["dst_type"] == b"INT8"
            assert isinstance(given["scale"], float) and -128 <= given["offset"] <= 127
        elif node.op_type == "AscendDequant":
            assert node.input[1] == f"{node.name}.param" and node.name.endswith(".dequant")
            packed = constants[node.input[1]]
            assert packed.dtype == np.uint64 and packed.ndim == 1 and not (packed >> np.uint64(32)).any()
        elif node.op_type == "Conv" and node.name in made.int8:
            weight, bias = (constants[name] for name in node.input[1:])
            assert (weight.dtype, bias.dtype) == (np.int8, np.int32)
    first = graph.node[0]
    assert [each.f for each in first.attribute if each.name in ("scale", "offset")] == [1.0, -128.0]
    (given,) = graph.input
    assert [side.dim_value for side in given.type.tensor_type.shape.dim] == [1, 3, small.SIDE, small.SIDE]
    assert [output.name for output in graph.output] == ["box_0"]


def test_layers_that_read_the_same_integers_share_one_quantisation() -> None:
    model = ir.from_proto(quantised())
    second = next(node for node in model.graph if node.name == "Conv_4")
    twin = ir.node("Conv", list(second.inputs), dict(second.attributes), name="twin")
    twin.outputs[0].name, twin.outputs[0].shape = "twin", second.outputs[0].shape
    twin.outputs[0].dtype = ir.DataType.FLOAT
    model.graph.insert_after(second, [twin])
    model.graph.outputs.append(twin.outputs[0])
    made = lowering.lower(model)
    assert len(made.int8) == 4
    assert sum(node.op_type == "AscendQuant" for node in made.graph.graph) == 3


def test_pairs_behind_what_moves_numbers_are_followed() -> None:
    """As the CPU's scheme places them: before Concat and Split, on one scale."""
    proto = small.quantised(small.float_graph(), load_target("cpu"))
    made, deploy = lowered(proto)
    assert set(made.int8) == {"Conv_0", "Conv_4", "Conv_9"} and not made.kept
    (wanted,) = plain_session(proto.SerializeToString()).run(None, {"images_u8": picture()})
    x = picture().transpose(0, 3, 1, 2).astype(np.float32)
    found = Interpreter(deploy).run({"images_u8": x})["box_0"]
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.02 * wanted.std(), "Add now reads what was not rounded"


# ---------------------------------------------------------------------------------------------- seeded mistakes

MISTAKES = {
    "inverted scale": ("float(np.float32(1 / numbers.scale))", "float(np.float32(numbers.scale))"),
    "zero point off by one": ("int(zero) + OFFSET[zero.dtype.name]", "int(zero) + OFFSET[zero.dtype.name] + 1"),
    "correction made twice": (
        "_Layer(node, source, numbers, stored, bias, deq_scale)",
        "_Layer(node, source, numbers, stored, "
        "(bias - numbers.offset * _rows(node, stored).sum(axis=1, dtype=np.int32)).astype(np.int32), deq_scale)",
    ),
    "bias left out": ("if layer.bias is not None:", "if layer.bias is not None and node.resize_inputs(2):"),
    "bias cut off": ("np.rint(bias.astype(np.float64)", "np.trunc(bias.astype(np.float64)"),
    "another rounding": ('"dst_type": "INT8"}', '"dst_type": "INT8", "round_mode": "Floor"}'),
    "swapped scales": ("packed = layer.deq_scale.view", "packed = layer.deq_scale[::-1].copy().view"),
    "swapped output channels": (
        'new_constant(graph, f"{name}.weight", layer.weight)',
        'new_constant(graph, f"{name}.weight", layer.weight[::-1])',
    ),
    "swapped input channels": (
        'new_constant(graph, f"{name}.weight", layer.weight)',
        'new_constant(graph, f"{name}.weight", layer.weight[:, ::-1])',
    ),
    "activation's scale forgotten": ("np.float64(numbers.scale) * scales", "np.float64(1) * scales"),
    "picture's offset forgotten": (
        'numbers = _Numbers(numbers.scale, OFFSET["uint8"])\n    deq',
        "numbers = _Numbers(numbers.scale, 0)\n    deq",
    ),
    "picture scaled twice": ("scale = 1.0 if from_bytes else", "scale = float(1 / numbers.scale) if from_bytes else"),
    "a Relu too many": ('"relu_flag": 0', '"relu_flag": 1'),
}


def mutated(old: str, new: str) -> Lower:
    """`lower` of the module's source with one mistake."""
    source = inspect.getsource(lowering)
    assert source.count(old) == 1, f"the mistake is out of date: {old}"
    module = types.ModuleType("yoloq_quantize.lower.mutated")
    exec(compile(source.replace(old, new), "mutated", "exec"), _registered(module))
    return module.lower


def _registered(module: types.ModuleType) -> dict:
    """Dataclasses look their module up by its name."""
    import sys

    sys.modules[module.__name__] = module
    return module.__dict__


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_lowering_is_seen(mistake: str) -> None:
    assert not differences(quantised(), mutated(*MISTAKES[mistake])).holds()


def test_without_a_mistake_the_same_check_holds() -> None:
    assert differences(quantised(), mutated("HALF_MAX, HALF_MIN =", "HALF_MAX, HALF_MIN =")).holds()


# ---------------------------------------------------------------------------------------------- other layers


def qdq(kind: str, weight: np.ndarray, scales: np.ndarray, shape: list[int], **attributes: object) -> onnx.ModelProto:
    """bytes -> Conv (float) -> [Flatten] -> Q -> DQ -> `kind` with quantised weights -> y."""
    rng = np.random.default_rng(2)
    flat = kind in ("Gemm", "MatMul")
    along = {"axis": int(attributes.pop("axis", 0))} if scales.ndim else {}
    arrays = {
        "b": np.float32(1 / 255), "z": np.uint8(0), "cw": rng.normal(0, 1, (4, 3, 3, 3)).astype(np.float32),
        "s": np.float32(0.021), "o": np.uint8(97), "w": weight, "ws": scales,
        "wz": np.zeros(scales.shape, np.int8), "bias": rng.normal(0, 2, shape[1]).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["images_u8", "b", "z"], ["real"], name="dq"),
        helper.make_node("Transpose", ["real"], ["nchw"], name="t", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "cw"], ["c"], name="c", strides=[2, 2]),
        *([helper.make_node("Flatten", ["c"], ["x"], name="f")] if flat else []),
        helper.make_node("QuantizeLinear", ["x" if flat else "c", "s", "o"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "o"], ["d"], name="d"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wr"], name="wr", **along),
        helper.make_node(kind, ["d", "wr", *(["bias"] if kind != "MatMul" else [])], ["y"], name="layer", **attributes),
    ]  # fmt: skip
    given = helper.make_tensor_value_info("images_u8", TensorProto.UINT8, [1, 8, 8, 3])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "one", [given], [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def integers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-127, 128, shape, dtype=np.int8)


def scales(count: int) -> np.ndarray:
    return np.linspace(0.01, 0.05, count).astype(np.float32)


OTHERS = {
    "ConvTranspose": lambda: qdq(
        "ConvTranspose", integers(4, 5, 3, 3), scales(5), [1, 5, 5, 5], axis=1, strides=[2, 2], pads=[1] * 4
    ),
    "Gemm": lambda: qdq("Gemm", integers(6, 36), np.float32(0.03), [1, 6], transB=1),
    "Gemm as it is": lambda: qdq("Gemm", integers(36, 6), np.float32(0.03), [1, 6]),
    "MatMul": lambda: qdq("MatMul", integers(36, 6), np.float32(0.03), [1, 6]),
    "groups": lambda: qdq("Conv", integers(8, 2, 3, 3), scales(8), [1, 8, 3, 3], group=2, pads=[1] * 4),
    "depthwise": lambda: qdq("Conv", integers(4, 1, 3, 3), scales(4), [1, 4, 3, 3], group=4, pads=[1] * 4),
    "dilated": lambda: qdq("Conv", integers(4, 4, 2, 2), scales(4), [1, 4, 3, 3], dilations=[2, 2], pads=[1] * 4),
    "one scale": lambda: qdq("Conv", integers(4, 4, 1, 1), np.float32(0.02), [1, 4, 3, 3]),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_other_layers_compute_the_same(kind: str) -> None:
    proto = OTHERS[kind]()
    made, deploy = lowered(proto)
    assert made.int8 == ("layer",) and not made.kept
    pixels = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    (wanted,) = plain_session(proto.SerializeToString()).run(None, {"images_u8": pixels})
    x = pixels.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(made.pixel)
    found = Interpreter(deploy).run({"images_u8": x})["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=0.02 * np.abs(wanted).max())
    assert np.abs(found - wanted).max() < 0.05 * wanted.std()


REFUSED = {
    "per channel": (lambda: qdq("Gemm", integers(36, 6), scales(6), [1, 6], axis=1), "one per tensor"),
    "dilated": (
        lambda: qdq("ConvTranspose", integers(4, 2, 2, 2), np.float32(0.1), [1, 2, 5, 5], dilations=[2, 2]),
        "dilated",
    ),
    "alpha": (lambda: qdq("Gemm", integers(36, 6), np.float32(0.1), [1, 6], alpha=0.5), "alpha"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_layer_that_cannot_be_int8_runs_in_fp16_and_is_named(kind: str) -> None:
    make, reason = REFUSED[kind]
    proto = make()
    made, deploy = lowered(proto)
    (kept,) = made.kept
    assert reason in kept.reason and kept.mend and "'layer' runs in FP16" in str(kept) and not made.int8
    pixels = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    (wanted,) = plain_session(without_pair(proto).SerializeToString()).run(None, {"images_u8": pixels})
    x = pixels.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(made.pixel)
    found = Interpreter(deploy).run({"images_u8": x})["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def without_pair(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The activation as it was: the layer runs in FP16, on numbers that nothing clips."""
    source = next(node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear")
    for node in [node for node in proto.graph.node if node.name in ("q", "d")]:
        proto.graph.node.remove(node)
    for node in proto.graph.node:
        node.input[:] = [source if name == "d" else name for name in node.input]
    return proto


def with_constant(proto: onnx.ModelProto, name: str, array: np.ndarray) -> onnx.ModelProto:
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    return proto


def test_a_bias_that_32_bits_do_not_hold_keeps_its_layer_in_fp16() -> None:
    proto = with_constant(OTHERS["one scale"](), "bias", np.full(4, 3e6, np.float32))
    assert "too large for 32 bits" in lowered(proto)[0].kept[0].reason


def test_a_scale_that_fp16_does_not_hold_keeps_its_layer_in_fp16() -> None:
    proto = with_constant(OTHERS["one scale"](), "s", np.float32(1e-6))
    assert "no FP16 number" in lowered(proto)[0].kept[0].reason


def test_a_channel_without_weights_keeps_its_bias() -> None:
    """Its scale is 1, in whole steps of which the bias would be lost."""
    weight = integers(4, 4, 1, 1)
    weight[2] = 0
    proto = qdq("Conv", weight, np.array([0.02, 0.02, 1, 0.02], np.float32), [1, 4, 3, 3])
    proto = with_constant(proto, "bias", np.array([1, 1, 0.0123, 1], np.float32))
    found = Interpreter(lowered(proto)[1]).run({"images_u8": np.zeros((1, 3, 8, 8), np.float32)})["y"]
    np.testing.assert_allclose(found[0, 2], 0.0123, rtol=1e-5)


# ------------------------------------------------------------------------------------------ floats, batches, refusals


def test_a_float_graph_takes_bytes_by_a_power_of_two() -> None:
    proto = ir.to_proto(small.float_graph())
    made, deploy = lowered(proto)
    assert made.pixel == 1 / 256 and not made.int8 and not made.kept
    assert float(np.float16(made.pixel)) == made.pixel
    (wanted,) = plain_session(proto.SerializeToString()).run(None, {"images_u8": picture()})
    x = picture().transpose(0, 3, 1, 2).astype(np.float32) / 256
    np.testing.assert_allclose(Interpreter(deploy).run({"images_u8": x})["box_0"], wanted, rtol=1e-3, atol=1e-3)


def test_a_picture_that_no_convolution_reads_is_scaled_by_a_node() -> None:
    model = ir.from_proto(ir.to_proto(small.float_graph()))
    first = next(node for node in model.graph if node.op_type == "Conv")
    relu = ir.node("Relu", [first.inputs[0]], name="early")
    relu.outputs[0].shape, relu.outputs[0].dtype = first.inputs[0].shape, ir.DataType.FLOAT
    model.graph.insert_before(first, [relu])
    first.replace_input_with(0, relu.outputs[0])
    (wanted,) = plain_session(ir.to_proto(model).SerializeToString()).run(None, {"images_u8": picture()})
    made, deploy = lowered(ir.to_proto(model))
    x = picture().transpose(0, 3, 1, 2).astype(np.float32) * np.float32(made.pixel)
    np.testing.assert_allclose(Interpreter(deploy).run({"images_u8": x})["box_0"], wanted, rtol=1e-3, atol=1e-3)


def test_four_pictures_at_once_give_what_each_gives_alone() -> None:
    model = ir.from_proto(quantised())
    alone = Interpreter(ir.to_proto(lowering.lower(with_batch(model, 1)).graph).SerializeToString())
    four = Interpreter(ir.to_proto(lowering.lower(with_batch(model, 4)).graph).SerializeToString())
    pictures = [picture(seed).transpose(0, 3, 1, 2).astype(np.float32) for seed in range(4)]
    together = four.run({"images_u8": np.concatenate(pictures)})["box_0"]
    for index, each in enumerate(pictures):
        np.testing.assert_allclose(together[index : index + 1], alone.run({"images_u8": each})["box_0"], rtol=1e-5)


def test_shapes_that_hold_the_batch_grow_and_a_mix_of_pictures_is_refused() -> None:
    text = """<ir_version: 8, opset_import: ["" : 14]> g (uint8[1,4,4,3] images_u8) => (float[1,16,3] y)
    <float s = {0.0039}, uint8 z = {0}, int64[3] shape = {1,16,3}>
    { r = DequantizeLinear(images_u8, s, z)  y = Reshape(r, shape) }"""
    model = ir.from_onnx_text(text)
    assert tuple(with_batch(model, 4).graph.outputs[0].shape) == (4, 16, 3)
    text = text.replace("float[1,16,3] y", "float[1,48] y").replace(
        "int64[3] shape = {1,16,3}", "int64[2] shape = {-1,48}"
    )
    assert tuple(with_batch(ir.from_onnx_text(text), 2).graph.outputs[0].shape) == (2, 48)
    mixed = text.replace("float[1,48] y", "float[48,1] y").replace("{-1,48}", "{48,-1}")
    with pytest.raises(QuantizeError, match=r"output 'y' would have shape .*use --batch 1"):
        with_batch(ir.from_onnx_text(mixed), 2)


@pytest.mark.parametrize(
    ("kind", "mend"), [("Gelu", "Erf"), ("Celu", "cut the model"), ("GroupNormalization", "batch")]
)
def test_an_operator_that_atc_lacks_is_refused_by_name(kind: str, mend: str) -> None:
    model = ir.from_proto(ir.to_proto(small.float_graph()))
    last = model.graph.outputs[0].producer()
    odd = ir.node(kind, [last.inputs[0]], name="/model/odd")
    model.graph.insert_before(last, [odd])
    last.replace_input_with(0, odd.outputs[0])
    with pytest.raises(QuantizeError, match=rf"no operator of opset 14 for {kind} '/model/odd'.*{mend}") as said:
        lowering.lower(model)
    assert "\n" not in str(said.value)


def test_a_graph_without_bytes_is_refused() -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu(x) }'
    with pytest.raises(QuantizeError, match="does not begin with a picture's bytes"):
        lowering.lower(ir.from_onnx_text(text))


def test_what_computes_pixels_behind_the_last_layer_stays_float32() -> None:
    """Decoded boxes of 600 pixels have steps of half a pixel in FP16; raw heads have nothing to keep."""
    assert lowered(quantised())[0].float32 == ()
    model = ir.from_proto(quantised())
    last = model.graph.outputs[0]
    scale = ir.val("stride", const_value=ir.tensor(np.float32(32), name="stride"))
    model.graph.register_initializer(scale)
    decode = ir.node("Mul", [last, scale], name="decode")
    decode.outputs[0].name, decode.outputs[0].shape, decode.outputs[0].dtype = "pixels", last.shape, last.dtype
    model.graph.append(decode)
    model.graph.outputs[:] = [decode.outputs[0]]
    assert lowering.lower(model).float32 == ("decode",)


@pytest.mark.parametrize("chip", ["ascend310p", "ascend310b", "ascend910b"])
def test_the_targets_differ_in_names_and_rates_only(chip: str) -> None:
    target = load_target(chip)
    assert (target.chip, target.backend, target.file, target.float_type) == (chip, "ascend", "model.om", "f16")
    assert (target.place, target.activations, target.weights) == (TARGET.place, TARGET.activations, TARGET.weights)
    assert target.opset_max <= 16 and target.compiler["soc"] in target.compiler["socs"]
    assert all(soc.startswith(target.compiler["family"]) for soc in target.compiler["socs"])
