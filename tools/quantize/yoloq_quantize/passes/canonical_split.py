# SPDX-License-Identifier: Apache-2.0
"""Pass: what cuts a map into parts is one Split with its sizes given, which every chip's compiler takes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.passes.rewrite import constant_of, drop_unused, new_constant, number, static_shape


class CanonicalSplit(ir.passes.InPlacePass):
    """Requires: opset 13 or later, known shapes.

    Ensures: Slices with step 1 that together cut one axis of a value into adjoining parts without rest are one Split;
    every Split of known shape has its sizes as a constant second input, and no num_outputs.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for value, axis, parts in _partitions(model.graph):
            _join(model.graph, value, axis, parts)
            modified = True
        for node in model.graph:
            modified |= _give_sizes(model.graph, node)
        if modified:
            drop_unused(model)
        return ir.passes.PassResult(model, modified=modified)


Part = tuple[int, int, ir.Node]  # start, end, the Slice


def _partitions(graph: ir.Graph) -> list[tuple[ir.Value, int, list[Part]]]:
    """Values whose Slices along one axis are a partition, with the Slices in order."""
    groups: dict[tuple[ir.Value, int], dict[tuple[int, int], Part]] = {}
    for node in graph:
        found = _slice(node)
        if found is not None:
            axis, start, end = found
            groups.setdefault((node.inputs[0], axis), {}).setdefault((start, end), (start, end, node))
    result = []
    for (value, axis), parts in groups.items():
        ordered = [parts[key] for key in sorted(parts)]
        edges = [0, *(end for _, end, _ in ordered)]
        whole = edges[-1] == static_shape(value)[axis] and edges[:-1] == [start for start, _, _ in ordered]
        if len(ordered) > 1 and whole and not any(node.outputs[0].is_graph_output() for _, _, node in ordered):
            result.append((value, axis, ordered))
    return result


def _slice(node: ir.Node) -> tuple[int, int, int] | None:
    """Axis, start and end of a Slice along one axis with step 1 and a known range."""
    if node.op_type != "Slice" or (shape := static_shape(node.inputs[0])) is None or len(node.inputs) < 4:
        return None
    parts = [constant_of(part) for part in node.inputs[1:]]
    if any(part is None or part.size != 1 for part in parts) or (len(parts) == 4 and parts[3].item() != 1):
        return None
    start, end, axis = (int(part.item()) for part in parts[:3])
    axis %= len(shape)
    start, end = (min(max(each + shape[axis] if each < 0 else each, 0), shape[axis]) for each in (start, end))
    return (axis, start, end) if start < end else None


def _join(graph: ir.Graph, value: ir.Value, axis: int, parts: list[Part]) -> None:
    first = min((node for _, _, node in parts), key=list(graph).index)
    sizes = new_constant(graph, f"{first.name}/split", np.array([end - start for start, end, _ in parts], np.int64))
    split = ir.node("Split", [value, sizes], {"axis": axis}, num_outputs=len(parts), name=f"{first.name}/Split")
    graph.insert_before(first, [split])
    twins = {(start, end): made for (start, end, _), made in zip(parts, split.outputs, strict=True)}
    for use in list(value.uses()):
        found = _slice(use.node)
        if found is None or found[0] != axis or use.node.outputs[0].is_graph_output():
            continue
        made, old = twins[found[1:]], use.node.outputs[0]
        if made.name is None:
            made.name, made.type, made.shape = f"{old.name}/part", old.type, old.shape
        old.replace_all_uses_with(made)


def _give_sizes(graph: ir.Graph, node: ir.Node) -> bool:
    if node.op_type != "Split" or graph.opset_imports.get("", 13) < 13:
        return False
    axis = int(number(node, "axis", 0))
    shapes = [static_shape(value) for value in node.outputs]
    given = len(node.inputs) > 1 and node.inputs[1] is not None
    if given or any(shape is None for shape in shapes):
        return False
    sizes = new_constant(graph, f"{node.name}/split", np.array([shape[axis] for shape in shapes], np.int64))
    node.resize_inputs(2)
    node.replace_input_with(1, sizes)
    node.attributes.pop("num_outputs", None)
    return True
