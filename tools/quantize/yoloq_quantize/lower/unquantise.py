# SPDX-License-Identifier: Apache-2.0
"""Takes a QDQ graph apart: the float graph it was made from, and the numbers that its pairs held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.remove_dead import RemoveDead
from yoloq_quantize.place import Edge


@dataclass(frozen=True)
class Unquantised:
    """`graph`: float32, one input of the picture's bytes as float32 [n, h, w, 3]. `ranges`: by value name, the reals
    (low, high) that its 8-bit integers cover. `edges`: inputs of nodes that read such integers. `weighted`: names of
    the nodes whose weights are quantised; the graph holds the quantised weights as float32. `picture`: the scale that
    makes the model's input of a byte."""

    graph: ir.Model
    ranges: dict[str, tuple[float, float]]
    edges: frozenset[Edge]
    weighted: frozenset[str]
    picture: float


def unquantise(model: ir.Model) -> Unquantised:
    """`model`: a cut graph with a uint8 picture input, quantised or not; it is taken apart in place."""
    graph = model.graph
    ranges, edges, weighted, picture = {}, set(), set(), None
    for node in list(graph):
        if node.op_type != "DequantizeLinear":
            continue
        stored, reader = node.inputs[0], node.outputs[0]
        if stored.const_value is not None:
            weighted.update(use.node.name for use in reader.uses())
            _replace(graph, node, _weight(graph, node))
        elif stored.producer() is None or stored.producer().op_type != "QuantizeLinear":  # bytes, moved or not
            picture = float(node.inputs[1].const_value.numpy())
            _replace(graph, node, stored)
        else:
            source = stored.producer().inputs[0]
            ranges[source.name] = _range(node)
            edges |= {Edge(use.node.name, use.idx) for use in reader.uses()}
            _replace(graph, node, source)
    if picture is None:
        raise QuantizeError("the graph does not begin with a picture's bytes; quantise it with yoloq quantize")
    graph.inputs[0].dtype = ir.DataType.FLOAT
    model = run_passes(model, RemoveDead())
    return Unquantised(model, ranges, frozenset(edges), frozenset(weighted), picture)


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """`value` for what the node gives; the node goes."""
    node.outputs[0].replace_all_uses_with(value)
    graph.remove(node, safe=True)


def _range(node: ir.Node) -> tuple[float, float]:
    scale, zero = (value.const_value.numpy() for value in node.inputs[1:3])
    limits = np.iinfo(zero.dtype)
    scale, zero = float(scale), int(zero)
    return (limits.min - zero) * scale, (limits.max - zero) * scale


def _weight(graph: ir.Graph, node: ir.Node) -> ir.Value:
    """The reals that the node makes of its integers, as a constant."""
    stored, scales = (value.const_value.numpy() for value in node.inputs[:2])
    sides = [1] * stored.ndim
    if scales.ndim:
        sides[node.attributes["axis"].as_int()] = -1
    real = stored.astype(np.float32) * scales.reshape(sides).astype(np.float32)
    value = ir.val(node.outputs[0].name, const_value=ir.tensor(real, name=node.outputs[0].name))
    graph.register_initializer(value)
    return value
