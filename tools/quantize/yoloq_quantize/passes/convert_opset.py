# SPDX-License-Identifier: Apache-2.0
"""Pass: the graph in an opset that the target's compiler takes."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import version_converter

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.activations import HARD_SWISH, MISH, spell
from yoloq_quantize.passes.rewrite import constant_of, drop_unused, number, replace

SINCE = {HARD_SWISH: 14, MISH: 18}  # of activations that have an older spelling
# Operators whose later versions (opset 13 to 20) added types, attributes or inputs, but changed no result.
WIDENED = {
    "Abs", "Add", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv",
    "ConvTranspose", "DequantizeLinear", "Div", "Equal", "Exp", "Expand", "Flatten", "Gather", "Gemm",
    "GlobalAveragePool", "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "PRelu", "Pad", "Pow",
    "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Shape",
    "Sigmoid", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
NEUTRAL = {"antialias": 0, "allowzero": 0, "keep_aspect_ratio_policy": "stretch", "saturate": 1}
AXES_ATTRIBUTE = ("ReduceMax", "ReduceMean", "ReduceMin")  # their axes are an attribute before opset 18


class ConvertOpset(ir.passes.FunctionalPass):
    """Requires: opset 13 or later, sizes of Splits given (CanonicalSplit). Ensures: an opset from `low` to `high`.

    Raised by ONNX's own converter. Lowered by giving each node the older form that computes the same; QuantizeError
    with the node where there is none.
    """

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset = model.graph.opset_imports.get("", 13)
        if opset < self.low:
            return ir.passes.PassResult(_raise(model, opset, self.low), modified=True)
        if opset > self.high:
            return ir.passes.PassResult(_lower(model.clone(), opset, self.high), modified=True)
        return ir.passes.PassResult(model.clone(), modified=False)

    def ensures(self, model: ir.Model) -> None:
        if not self.low <= model.graph.opset_imports.get("", 0) <= self.high:
            raise ir.passes.PostconditionError(f"the opset is not {self.low} to {self.high}")


def _raise(model: ir.Model, opset: int, low: int) -> ir.Model:
    try:
        return ir.from_proto(version_converter.convert_version(ir.to_proto(model), low))
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise QuantizeError(f"opset {opset} cannot be raised to {low} ({reason}); export with opset {low}") from error


def _lower(model: ir.Model, opset: int, high: int) -> ir.Model:
    for node in list(model.graph):
        if node.op_type in SINCE and node.domain in ("", "ai.onnx") and high < SINCE[node.op_type]:
            replace(node, *spell(model.graph, node.op_type, node.inputs[0], node, high))
    for node in model.graph:
        if node.domain in ("", "ai.onnx"):
            _lower_node(node, opset, high)
            node.version = None
    model.graph.opset_imports[""] = high
    drop_unused(model)
    return model


def _lower_node(node: ir.Node, opset: int, high: int) -> None:
    if node.op_type in AXES_ATTRIBUTE and high < 18 and len(node.inputs) > 1:
        axes = constant_of(node.inputs[1])
        if axes is not None and not number(node, "noop_with_empty_axes", 0):
            node.attributes["axes"] = ir.AttrInt64s("axes", axes.reshape(-1).tolist())
            node.attributes.pop("noop_with_empty_axes", None)
            node.resize_inputs(1)
    reason = _misfit(node, opset, high)
    if reason:
        raise QuantizeError(
            f"node {node.name!r} ({node.op_type}) of opset {opset} {reason} in opset {high}, which the target takes;"
            f" export with opset {high}"
        )


def _misfit(node: ir.Node, opset: int, high: int) -> str | None:
    """Why the node cannot be read as one of opset `high`; None if it can. Neutral new attributes are dropped."""
    try:
        old, new = onnx.defs.get_schema(node.op_type, high, ""), onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return "does not exist"
    if old.since_version != new.since_version and node.op_type not in WIDENED:
        return "means something else"
    for name in list(node.attributes):
        if name in old.attributes:
            continue
        if name not in NEUTRAL or node.attributes[name].value != NEUTRAL[name]:
            return f"has no attribute {name!r}"
        node.attributes.pop(name)
    return f"takes no {len(node.inputs)} inputs" if len(node.inputs) > old.max_input else None
