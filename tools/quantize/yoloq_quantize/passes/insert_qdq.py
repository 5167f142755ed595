# SPDX-License-Identifier: Apache-2.0
"""Pass: Quantize/Dequantize pairs where the placement says, weights as stored integers. Biases are float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.params import Params, weight_axis
from yoloq_quantize.place import Edge, Placement

WIDE_OPSET = 21  # the first whose Quantize and Dequantize know int16 and int4
WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")


class InsertQdq(ir.passes.InPlacePass):
    """Requires: unique node and value names, all those of the placement among them; no pair inserted yet; opset 21 for
    int16 activations; biases only for operators that have one.

    Ensures: every edge of the placement reads a DequantizeLinear, one pair per value however many edges read it;
    every weighted node reads its weight through a DequantizeLinear of stored integers, per channel on the axis of its
    output channels. With `weight_dtype` "int4" they are stored as INT4 from opset 21 on, as INT8 below.
    """

    def __init__(self, placement: Placement, params: Params, activation_dtype: str, weight_dtype: str = "int8") -> None:
        self.placement, self.params, self.dtype = placement, params, activation_dtype
        self.int4 = weight_dtype == "int4"

    def requires(self, model: ir.Model) -> None:
        nodes = {node.name: node for node in model.graph}
        values = {value.name for node in model.graph for value in node.outputs}
        missing = [name for name in (*self.placement.weighted, *self.params.biases) if name not in nodes]
        missing += [name for name in self.placement.edges if name not in values]
        if missing:
            raise ir.passes.PreconditionError(f"{missing[0]!r} is not in the graph")
        if any(node.op_type == "QuantizeLinear" for node in model.graph):
            raise ir.passes.PreconditionError("the graph is quantised already")
        for name in self.params.biases:
            if nodes[name].op_type not in WITH_BIAS:
                raise ir.passes.PreconditionError(f"{name!r} is a {nodes[name].op_type}, which has no bias")
        opset = model.graph.opset_imports.get("", 0)
        if np.dtype(self.dtype).itemsize > 1 and opset < WIDE_OPSET:
            raise QuantizeError(f"{self.dtype} activations need opset {WIDE_OPSET}, the model has {opset}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        nodes = {node.name: node for node in graph}
        values = {value.name: value for node in graph for value in node.outputs}
        self.int4 = self.int4 and graph.opset_imports.get("", 0) >= WIDE_OPSET
        self.taken = {*values, *graph.initializers, *(value.name for value in graph.inputs)}
        for name, edges in self.placement.edges.items():
            real = self._pair(graph, values[name])
            for edge in edges:
                nodes[edge.node].replace_input_with(edge.index, real)
        for name in self.placement.weighted:
            self._weight(graph, nodes[name])
        for name, bias in self.params.biases.items():
            self._bias(graph, nodes[name], bias)
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
        scale = self._constant(graph, value.name + "/scale", ir.tensor(np.array(params.scale, np.float32)))
        zero = self._constant(graph, value.name + "/zero_point", ir.tensor(np.array(params.zero_point, dtype)))
        quantize = ir.node(
            "QuantizeLinear",
            [value, scale, zero],
            name=value.name + "/QuantizeLinear",
            outputs=[ir.val(self._name(value.name + "/stored"), ir.DataType.from_numpy(dtype), value.shape)],
        )
        dequantize = ir.node(
            "DequantizeLinear",
            [quantize.outputs[0], scale, zero],
            name=value.name + "/DequantizeLinear",
            outputs=[ir.val(self._name(value.name + "/real"), ir.DataType.FLOAT, value.shape)],
        )
        graph.insert_after(value.producer(), [quantize, dequantize])
        return dequantize.outputs[0]

    def _weight(self, graph: ir.Graph, node: ir.Node) -> None:
        params = self.params.weights[node.name]
        per_channel = len(params.scales) > 1
        scales = params.scales if per_channel else params.scales.reshape(())
        integers, zeros = params.stored, np.zeros(scales.shape, params.stored.dtype)
        if self.int4:
            int4 = ir.DataType.INT4.numpy()
            integers, zeros = integers.astype(int4), zeros.astype(int4)
        stored = self._constant(graph, node.name + "/weight", ir.tensor(integers))
        scale = self._constant(graph, node.name + "/weight_scale", ir.tensor(scales))
        zero = self._constant(graph, node.name + "/weight_zero_point", ir.tensor(zeros))
        attributes = {"axis": weight_axis(node)} if per_channel else {}
        dequantize = ir.node(
            "DequantizeLinear",
            [stored, scale, zero],
            attributes,
            name=node.name + "/weight_DequantizeLinear",
            outputs=[ir.val(self._name(node.name + "/weight_real"), ir.DataType.FLOAT, node.inputs[1].shape)],
        )
        graph.insert_before(node, [dequantize])
        node.replace_input_with(1, dequantize.outputs[0])

    def _bias(self, graph: ir.Graph, node: ir.Node, bias: np.ndarray) -> None:
        """Input 2 becomes `bias`, float32 [out]; the old constant may serve other nodes and is left to them."""
        value = self._constant(graph, node.name + "/bias", ir.tensor(np.ascontiguousarray(bias, dtype=np.float32)))
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, value)

    def _constant(self, graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        name = self._name(name)
        tensor.name = name
        value = ir.val(name, const_value=tensor)
        graph.register_initializer(value)
        return value

    def _name(self, name: str) -> str:
        """The name, or the first of name_1, name_2, ... that the graph does not use."""
        free, number = name, 0
        while free in self.taken:
            number += 1
            free = f"{name}_{number}"
        self.taken.add(free)
        return free
