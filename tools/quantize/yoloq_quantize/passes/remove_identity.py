# SPDX-License-Identifier: Apache-2.0
"""Pass: nodes that hand their input on unchanged go, and conversions that the next one makes void."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.passes.rewrite import bypass, constant_of, maker, scalar_of, static_shape

WIDER = {  # every number of the key is a number of each of the values
    ir.DataType.FLOAT16: {ir.DataType.FLOAT, ir.DataType.DOUBLE},
    ir.DataType.BFLOAT16: {ir.DataType.FLOAT, ir.DataType.DOUBLE},
    ir.DataType.FLOAT: {ir.DataType.DOUBLE},
    ir.DataType.INT32: {ir.DataType.INT64, ir.DataType.DOUBLE},
    ir.DataType.BOOL: {ir.DataType.INT32, ir.DataType.INT64, ir.DataType.FLOAT, ir.DataType.DOUBLE},
}


class RemoveIdentity(ir.passes.InPlacePass):
    """Ensures: no Identity, no Dropout at inference, no Cast to the type a value has already, no Cast behind a Cast
    that lost nothing; no Concat of one, Pad by nothing, Expand to the same shape, Mul by 1 or Add of 0."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            modified |= _skip_lossless_cast(node)
            if _hands_on(node):
                if node.op_type in ("Mul", "Add") and node.inputs[0].const_value is not None:
                    constant, value = node.inputs
                    node.replace_input_with(0, value)
                    node.replace_input_with(1, constant)
                modified |= bypass(node)
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        for node in model.graph:
            if _hands_on(node) and not node.outputs[0].is_graph_output():
                raise ir.passes.PostconditionError(f"{node.op_type} {node.name!r} is left")


def _hands_on(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx") or not node.inputs:
        return False
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        is_training = training is not None and (training.const_value is None or bool(training.const_value.numpy()))
        mask_used = len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
        return not is_training and not mask_used
    if node.op_type == "Cast":
        return node.inputs[0].dtype is not None and int(node.inputs[0].dtype) == node.attributes["to"].as_int()
    if node.op_type == "Pad":
        pads = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
        return pads is not None and not pads.any()
    if node.op_type in ("Mul", "Add"):
        return _is_neutral(node)
    same = static_shape(node.inputs[0]) is not None and static_shape(node.inputs[0]) == static_shape(node.outputs[0])
    return (
        node.op_type == "Identity"
        or (node.op_type == "Concat" and len(node.inputs) == 1)
        or (node.op_type == "Expand" and same)
    )


def _is_neutral(node: ir.Node) -> bool:
    """x * 1 or x + 0, where the constant does not widen x."""
    neutral = 1.0 if node.op_type == "Mul" else 0.0
    result = static_shape(node.outputs[0])
    for index, value in enumerate(node.inputs):
        other = node.inputs[1 - index]
        if scalar_of(value) == neutral and other.const_value is None:
            return result is not None and static_shape(other) == result
    return False


def _skip_lossless_cast(node: ir.Node) -> bool:
    """Cast(Cast(x, wider), type) reads x itself."""
    before = maker(node.inputs[0], "Cast") if node.op_type == "Cast" else None
    if before is None or before.inputs[0].dtype is None:
        return False
    if ir.DataType(before.attributes["to"].as_int()) not in WIDER.get(before.inputs[0].dtype, ()):
        return False
    node.replace_input_with(0, before.inputs[0])
    return True
