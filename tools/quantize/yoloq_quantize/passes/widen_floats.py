# SPDX-License-Identifier: Apache-2.0
"""Pass: float16 and bfloat16 become float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast, RandomNormal, EyeLike, ...


class WidenFloats(ir.passes.InPlacePass):
    """Ensures: no tensor is float16 or bfloat16, subgraphs included; nodes are in topological order.

    Every half-precision number is a float32 number too, so weights keep their values; the sums get more exact. The
    converters that make float16 exports leave nodes in any order, which ONNX forbids: it is put right here.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        graphs = {id(model.graph): model.graph}
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            graphs[id(node.graph)] = node.graph
            for name, attribute in list(node.attributes.items()):
                widened = _widened_attribute(name, attribute)
                if widened is not None:
                    node.attributes[name] = widened
                    modified = True
            for value in node.outputs:
                modified |= _widen_value(value)
        for graph in graphs.values():
            for value in [*graph.inputs, *graph.outputs, *graph.initializers.values()]:
                modified |= _widen_value(value)
        if modified:
            model.graph.sort()
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            for value in [*node.inputs, *node.outputs]:
                if value is not None and value.dtype in HALVES:
                    raise ir.passes.PostconditionError(f"{value.name!r} is still {value.dtype}")


def _widened_attribute(name: str, attribute: ir.Attr) -> ir.Attr | None:
    if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in HALVES:
        return ir.AttrTensor(name, ir.tensor(attribute.value.numpy().astype(np.float32)))
    if (
        name in TYPE_ATTRIBUTES
        and attribute.type == ir.AttributeType.INT
        and attribute.value in [int(h) for h in HALVES]
    ):
        return ir.AttrInt64(name, int(ir.DataType.FLOAT))
    return None


def _widen_value(value: ir.Value) -> bool:
    if value.const_value is not None and value.const_value.dtype in HALVES:
        value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
        value.dtype = ir.DataType.FLOAT
        return True
    if value.dtype in HALVES:
        value.dtype = ir.DataType.FLOAT
        return True
    return False
