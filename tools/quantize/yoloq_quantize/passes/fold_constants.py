# SPDX-License-Identifier: Apache-2.0
"""Pass: whatever depends on constants only becomes an initializer."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from yoloq_quantize.passes.rewrite import infer_shapes, static_shape

MAX_ELEMENTS = 1 << 24  # a bigger constant is left as the node that makes it
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}


class FoldConstants(ir.passes.InPlacePass):
    """Ensures: no node is left whose inputs are all constant, nor a Shape of a value of known shape.

    Shapes that only become known by that are inferred, and folding starts anew. Nodes with subgraphs, random nodes and
    nodes that quantise weights are left alone.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        while self._sweep(model):
            modified = True
            if all(static_shape(value) is not None for node in model.graph for value in node.outputs):
                break
            infer_shapes(model)
        return ir.passes.PassResult(model, modified=modified)

    def _sweep(self, model: ir.Model) -> bool:
        modified = False
        for node in list(model.graph):
            arrays = self._evaluate(node, model)
            if arrays is None:
                continue
            for value, array in zip(node.outputs, arrays, strict=True):
                constant = ir.Value(
                    name=value.name, type=ir.TensorType(ir.tensor(array).dtype), shape=ir.Shape(array.shape)
                )
                constant.const_value = ir.tensor(array, name=value.name)
                model.graph.initializers[value.name] = constant
                value.replace_all_uses_with(constant, replace_graph_outputs=True)
            model.graph.remove(node, safe=True)
            modified = True
        return modified

    def _evaluate(self, node: ir.Node, model: ir.Model) -> list[np.ndarray] | None:
        if node.op_type in RANDOM or node.op_type == "DequantizeLinear" or node.domain not in ("", "ai.onnx"):
            return None
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            return None
        if node.op_type == "Shape":
            return self._shape_of(node)
        feeds = {}
        for value in node.inputs:
            if value is None:
                continue
            if value.const_value is None:
                return None
            feeds[value.name] = value.const_value.numpy()
        if any(_too_big(value) for value in node.outputs):
            return None
        return _run(node, feeds, model.graph.opset_imports.get("", 17))

    @staticmethod
    def _shape_of(node: ir.Node) -> list[np.ndarray] | None:
        shape = static_shape(node.inputs[0])
        if shape is None:
            return None
        start = node.attributes["start"].as_int() if "start" in node.attributes else 0
        end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
        return [np.array(list(shape)[start:end], dtype=np.int64)]


def _too_big(value: ir.Value) -> bool:
    shape = value.shape
    return (
        shape is not None
        and all(isinstance(side, int) for side in shape)
        and (int(np.prod([int(side) for side in shape], dtype=np.int64)) > MAX_ELEMENTS)
    )


def _run(node: ir.Node, feeds: dict[str, np.ndarray], opset: int) -> list[np.ndarray]:
    proto = ir.to_proto(node)
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in proto.output],
    )
    evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)]))
    return [np.asarray(array) for array in evaluator.run(None, feeds)]
