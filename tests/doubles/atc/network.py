# SPDX-License-Identifier: Apache-2.0
"""What the double of atc takes for a network: operators that ATC's sources register, quantised layers as its documents
draw them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

NAMES = """
Conv ConvTranspose Gemm MatMul Einsum Softmax Sigmoid Mul Add Sub Div Pow Sqrt Exp Tanh Erf HardSwish Relu LeakyRelu
PRelu Clip Concat Split Slice Gather GatherElements GatherND ScatterND ScatterElements Transpose Reshape Flatten
Squeeze Unsqueeze Expand Tile Resize Upsample MaxPool AveragePool GlobalAveragePool ReduceMax ReduceMin ReduceMean
ReduceSum ReduceL2 TopK ArgMax ArgMin NonMaxSuppression NonZero Mod Floor Ceil Round Cast Shape Range Where Equal
Greater Less GreaterOrEqual LessOrEqual Not And Or Min Max Pad BatchNormalization InstanceNormalization Identity If
DepthToSpace SpaceToDepth GridSample RoiAlign CumSum Trilu IsNaN OneHot ConstantOfShape Constant Log Abs Neg Softplus
HardSigmoid Elu Selu AscendQuant AscendDequant AscendAntiQuant
"""
REGISTERED = set(NAMES.split())
FIRST = {"HardSwish": 14, "LayerNormalization": 17, "Mish": 18, "Trilu": 14, "Resize": 10}
OLDEST, NEWEST = 8, 18
LAYERS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}  # axis of the output channels


class AtcError(Exception):
    """(code, text)"""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Network:
    """`kinds`: operator by node name. `makers`: node and number by output name. `outputs`: dims by name."""

    input: str
    shape: list[int]
    outputs: dict[str, list[int]]
    kinds: dict[str, str] = field(default_factory=dict)
    makers: dict[str, str] = field(default_factory=dict)
    quantised: bool = False


def check_network(model: onnx.ModelProto) -> Network:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise AtcError("E16005", "The model has several versions of the domain ai.onnx.")
    graph, opset = model.graph, versions[0]
    if len(graph.input) != 1:
        raise AtcError("E16001", "The graph has no input node." if not graph.input else "The double takes one input.")
    for node in graph.node:
        known = node.op_type in REGISTERED or node.op_type in FIRST
        if node.domain not in ("", "ai.onnx") or not known or not FIRST.get(node.op_type, OLDEST) <= opset <= NEWEST:
            kind = f"optype [ai.onnx::{opset}::{node.op_type}]"
            raise AtcError("E19010", f"No parser is registered for Op [{node.name}, {kind}].")
    network = Network(graph.input[0].name, _dims(graph.input[0]), {each.name: _dims(each) for each in graph.output})
    for node in graph.node:
        if not node.name or node.name in network.kinds:
            raise AtcError("E19999", f"Inner Error! Node name {node.name} is not unique.")
        network.kinds[node.name] = node.op_type
        network.makers.update({name: f"{node.name}:{index}" for index, name in enumerate(node.output)})
    network.quantised = "AscendQuant" in network.kinds.values()
    _check_quantised(graph)
    return network


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    dims = [side.dim_value for side in value.type.tensor_type.shape.dim]
    if not dims or not all(side > 0 for side in dims):
        raise AtcError("E10011", f"Value {dims} for parameter --input_shape is invalid.")
    return dims


def _check_quantised(graph: onnx.GraphProto) -> None:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {each.name for each in graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        if node.op_type == "AscendQuant":
            _check_quant(node, readers, outputs)
        elif node.op_type == "AscendDequant":
            _check_dequant(node, makers, constants)
        elif node.op_type in LAYERS:
            _check_layer(node, makers, readers, constants)


def _fail(node: onnx.NodeProto, reason: str) -> None:
    raise AtcError("E14001", f"Argument of op {node.name} [{node.op_type}] is invalid. Reason: {reason}.")


def _attributes(node: onnx.NodeProto) -> dict:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _check_quant(node: onnx.NodeProto, readers: dict, outputs: set[str]) -> None:
    given = _attributes(node)
    if set(given) - {"scale", "offset", "dst_type", "quant_bit", "sqrt_mode", "round_mode"} or len(node.input) != 1:
        _fail(node, "it has an unknown attribute or input")
    if not isinstance(given.get("scale"), float) or not isinstance(given.get("offset"), float):
        _fail(node, "scale and offset must be floats")
    if not 0 < given["scale"] < np.inf or not -128 <= given["offset"] <= 127:
        _fail(node, "scale or offset is out of range")
    if given.get("dst_type", b"INT8") != b"INT8":
        _fail(node, "dst_type is not INT8")
    after = readers.get(node.output[0], [])
    if node.output[0] in outputs or not after or any(reader.op_type not in LAYERS for reader in after):
        _fail(node, "int8 is read by something that is no layer")


def _check_layer(node: onnx.NodeProto, makers: dict, readers: dict, constants: dict) -> None:
    maker = makers.get(node.input[0])
    weight = constants.get(node.input[1])
    if maker is None or maker.op_type != "AscendQuant":
        if weight is not None and weight.dtype != np.float32:
            _fail(node, "a layer of floats has weights of integers")
        return
    if weight is None or weight.dtype != np.int8:
        _fail(node, "weights must be int8 constants")
    if len(node.input) > 2 and node.input[2] and getattr(constants.get(node.input[2]), "dtype", None) != np.int32:
        _fail(node, "the bias must be an int32 constant")
    after = readers.get(node.output[0], [])
    if len(after) != 1 or after[0].op_type != "AscendDequant":
        _fail(node, "int32 is read by something that is no AscendDequant")


def _check_dequant(node: onnx.NodeProto, makers: dict, constants: dict) -> None:
    given, layer, scale = _attributes(node), makers.get(node.input[0]), constants.get(node.input[1])
    if set(given) - {"dtype", "relu_flag", "sqrt_mode"} or given.get("dtype", 0) not in (0, 1):
        _fail(node, "it has an unknown attribute")
    if layer is None or layer.op_type not in LAYERS:
        _fail(node, "it does not read a layer")
    if scale is None or scale.dtype != np.uint64 or scale.ndim != 1:
        _fail(node, "deq_scale must be a constant of uint64")
    weight = constants[layer.input[1]]
    groups = _attributes(layer).get("group", 1) if layer.op_type == "ConvTranspose" else 1
    if scale.size not in (1, weight.shape[LAYERS[layer.op_type]] * groups):
        _fail(node, "deq_scale must have one element, or one for each channel")
    if (scale >> np.uint64(40)).any():
        _fail(node, "offset_w must be 0")
    if layer.op_type in ("Gemm", "MatMul") and scale.size != 1:
        _fail(node, "deq_scale must have one element")
