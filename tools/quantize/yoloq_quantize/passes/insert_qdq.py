# SPDX-License-Identifier: Apache-2.0
"""Pass: Quantize/Dequantize pairs where the placement says, weights as stored integers. Biases stay float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.params import Params
from yoloq_quantize.place import Edge, Placement


class InsertQdq(ir.passes.InPlacePass):
    """Requires: unique node and value names, all those of the placement among them; no pair inserted yet.

    Ensures: every edge of the placement reads a DequantizeLinear, one pair per value however many edges read it;
    every weighted node reads its weight through a DequantizeLinear of stored integers, per channel on axis 0.
    """

    def __init__(self, placement: Placement, params: Params, activation_dtype: str) -> None:
        self.placement, self.params, self.dtype = placement, params, activation_dtype

    def requires(self, model: ir.Model) -> None:
        nodes = {node.name for node in model.graph}
        values = {value.name for node in model.graph for value in node.outputs}
        missing = [name for name in self.placement.weighted if name not in nodes]
        missing += [name for name in self.placement.edges if name not in values]
        if missing:
            raise ir.passes.PreconditionError(f"{missing[0]!r} is not in the graph")
        if any(node.op_type == "QuantizeLinear" for node in model.graph):
            raise ir.passes.PreconditionError("the graph is quantised already")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        nodes = {node.name: node for node in graph}
        values = {value.name: value for node in graph for value in node.outputs}
        for name, edges in self.placement.edges.items():
            real = self._pair(graph, values[name])
            for edge in edges:
                nodes[edge.node].replace_input_with(edge.index, real)
        for name in self.placement.weighted:
            self._weight(graph, nodes[name])
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        nodes = {node.name: node for node in model.graph}
        weights = [Edge(name, 1) for name in self.placement.weighted]
        for edge in [edge for edges in self.placement.edges.values() for edge in edges] + weights:
            producer = nodes[edge.node].inputs[edge.index].producer()
            if producer is None or producer.op_type != "DequantizeLinear":
                raise ir.passes.PostconditionError(f"input {edge.index} of {edge.node!r} is not quantised")

    def _pair(self, graph: ir.Graph, value: ir.Value) -> ir.Value:
        params = self.params.activations[value.name]
        dtype = np.dtype(self.dtype)
        scale = _constant(graph, value.name + "/scale", np.array(params.scale, np.float32))
        zero = _constant(graph, value.name + "/zero_point", np.array(params.zero_point, dtype))
        quantize = ir.node(
            "QuantizeLinear",
            [value, scale, zero],
            name=value.name + "/QuantizeLinear",
            outputs=[ir.val(value.name + "/stored", ir.DataType.from_numpy(dtype), value.shape)],
        )
        dequantize = ir.node(
            "DequantizeLinear",
            [quantize.outputs[0], scale, zero],
            name=value.name + "/DequantizeLinear",
            outputs=[ir.val(value.name + "/real", ir.DataType.FLOAT, value.shape)],
        )
        graph.insert_after(value.producer(), [quantize, dequantize])
        return dequantize.outputs[0]

    def _weight(self, graph: ir.Graph, node: ir.Node) -> None:
        params = self.params.weights[node.name]
        per_channel = len(params.scales) > 1
        scales = params.scales if per_channel else params.scales.reshape(())
        stored = _constant(graph, node.name + "/weight", params.stored)
        scale = _constant(graph, node.name + "/weight_scale", scales)
        zero = _constant(graph, node.name + "/weight_zero_point", np.zeros(scales.shape, params.stored.dtype))
        attributes = {"axis": 0} if per_channel else {}
        dequantize = ir.node(
            "DequantizeLinear",
            [stored, scale, zero],
            attributes,
            name=node.name + "/weight_DequantizeLinear",
            outputs=[ir.val(node.name + "/weight_real", ir.DataType.FLOAT, node.inputs[1].shape)],
        )
        graph.insert_before(node, [dequantize])
        node.replace_input_with(1, dequantize.outputs[0])


def _constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
