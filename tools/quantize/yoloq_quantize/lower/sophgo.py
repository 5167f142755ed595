# SPDX-License-Identifier: Apache-2.0
"""From the QDQ graph to what Sophgo's compiler takes: a float ONNX, a calibration table and a quantize table.

The compiler rewrites the graph before it reads the tables, so both are made for its own operators, by the names that it
gives them: `<onnx tensor>_<operator>`. Each has a row in the calibration table, as a missing one crashes the compiler;
the quantize table names what is not INT8. Operators that the compiler made anew have no name that we know: they run in
F16, and their range is that of the edge that reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.unquantise import Unquantised, unquantise
from yoloq_quantize.place import MOVES, Edge, kind_of, silu_source
from yoloq_quantize.scheme import PlaceScheme

BYTES = (0.0, 255.0)  # the range of the picture's input and of what moves it: scale 1, so that bytes go in as they are
UNREAD = (-1.0, 1.0)  # of values that neither are integers nor come of any; the compiler wants a row all the same
LEAKY_ALPHA = 0.01  # ONNX's default, which the compiler takes for 0
RESHAPES = ("Reshape", "Permute", "Transpose", "Squeeze", "Unsqueeze")
NO_ROW = ("Weight", "None")


@dataclass(frozen=True)
class Operator:
    """An operator of the compiler's graph: kind without its dialect, names of what it gives, names of what it reads
    ("" for constants)."""

    kind: str
    names: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Tables:
    """Texts of the two files. `int8`, `float`: operators of each precision."""

    calibration: str
    quantize: str
    int8: int
    float: int


@dataclass(frozen=True)
class Lowered:
    """`graph`: float32 ONNX from the picture's bytes, as float32 [n, h, w, 3], to the raw tensors. `ranges`: by value
    name. `int8`: nodes that compute with integers. `nodes`: by name of their first output."""

    graph: ir.Model
    ranges: dict[str, tuple[float, float]]
    edges: frozenset[Edge]
    int8: frozenset[str]


def lower(model: ir.Model, scheme: PlaceScheme) -> Lowered:
    """`model`: a cut QDQ graph (or float: then everything is F16), taken apart in place. `scheme`: of the target."""
    found = unquantise(model)
    _scale_picture(found)
    for node in found.graph.graph:
        if node.op_type == "LeakyRelu":
            node.attributes["alpha"] = ir.AttrFloat32("alpha", node.attributes.get_float("alpha", LEAKY_ALPHA))
    ranges, int8 = _follow(found, scheme)
    return Lowered(found.graph, ranges, found.edges, int8)


def _scale_picture(found: Unquantised) -> None:
    """Puts the scale of the bytes into the convolutions that read them; quantised weights stay the same integers."""
    graph, value = found.graph.graph, found.graph.graph.inputs[0]
    while all(node.op_type == "Transpose" for node in value.consumers()) and len(list(value.consumers())) == 1:
        value = next(iter(value.consumers())).outputs[0]
    readers = list(value.consumers())
    if not all(node.op_type == "Conv" and node.inputs[1].const_value is not None for node in readers):
        kinds = ", ".join(sorted({node.op_type for node in readers}))
        raise QuantizeError(f"the picture is read by {kinds}; Sophgo packages need a model that begins with Conv")
    for node in readers:
        scaled = node.inputs[1].const_value.numpy() * np.float32(found.picture)
        weight = ir.val(f"{node.name}/bytes_weight", const_value=ir.tensor(scaled, name=f"{node.name}/bytes_weight"))
        graph.register_initializer(weight)
        node.replace_input_with(1, weight)


def _follow(found: Unquantised, scheme: PlaceScheme) -> tuple[dict[str, tuple[float, float]], frozenset[str]]:
    """Ranges of everything that is stored as integers, also through what only moves them; and who computes so."""
    ranges, int8 = dict(found.ranges), set()
    picture = found.graph.graph.inputs[0]
    ranges[picture.name] = BYTES
    of_bytes, fused = {picture}, set()
    for node in found.graph.graph:
        sources = _sources(node)
        if node.op_type == "Transpose" and node.inputs[0] in of_bytes:
            of_bytes.add(node.outputs[0])
            ranges[node.outputs[0].name] = BYTES
            int8.add(node.name)
        elif node.name in found.weighted:
            int8.add(node.name)
            if node.outputs[0].name not in ranges:
                fused.add(node.outputs[0])
        elif node.op_type in scheme.fused and node.inputs[0] in fused:
            int8.add(node.name)
        elif all(Edge(node.name, i) in found.edges or _moved(value, ranges, found) for i, value in sources):
            if node.op_type in MOVES:
                int8.add(node.name)
                for value in node.outputs:
                    ranges.setdefault(value.name, ranges[sources[0][1].name])
            elif node.outputs[0].name in ranges and kind_of(node) in scheme.integer:
                int8.add(node.name)
    return ranges, frozenset(int8)


def _sources(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """Index and value of the tensors that a node reads; of x * sigmoid(x) it is x alone."""
    silu = silu_source(node)
    found = [(i, value) for i, value in enumerate(node.inputs) if value is not None and value.const_value is None]
    return found if silu is None else [(i, value) for i, value in found if value is silu]


def _moved(value: ir.Value, ranges: dict[str, tuple[float, float]], found: Unquantised) -> bool:
    """Whether the value is an integer because what it is made of is: it has a range, but no pair of its own."""
    return value.name in ranges and value.name not in found.ranges


# --------------------------------------------------------------------------------------- the compiler's own graph


def read_operators(text: str) -> tuple[Operator, ...]:
    """The operators of a top-level .mlir, in its order, constants left out."""
    locations = dict(re.findall(r"^(#loc\d*) = loc\((.*)\)$", text, flags=re.M))
    named: dict[str, str] = {}
    found = []
    pattern = r'^ +(%\d+)(?::\d+)? = "(?:top|tpu)\.(\w+)"\((.*?)\).*loc\((.*?)\)$'
    for result, kind, operands, location in re.findall(pattern, text, flags=re.M):
        if kind in NO_ROW:
            continue
        names = _names(location, locations)
        sources = tuple(named.get(operand.strip(), "") for operand in operands.split(",") if operand.strip())
        found.append(Operator(kind, names, sources))
        named[result] = names[0]
        named.update({f"{result}#{index}": name for index, name in enumerate(names)})
    if not found:
        raise QuantizeError("Sophgo's compiler wrote a graph that this version of yoloq cannot read; update yoloq")
    return tuple(found)


def _names(location: str, locations: dict[str, str]) -> tuple[str, ...]:
    """`#loc5`, `"name"` or `fused[#loc5, #loc6]` as names."""
    text = locations.get(location, location)
    if text.startswith("fused"):
        return tuple(name for part in re.findall(r"#loc\d*", text) for name in _names(part, locations))
    return (text.strip('"'),)


def make_tables(lowered: Lowered, operators: tuple[Operator, ...]) -> Tables:
    """Rows for every operator of the compiler's graph."""
    graph = lowered.graph.graph
    nodes = {_key(value, node): (node, value) for node in graph for value in node.outputs}
    ranges: dict[str, tuple[float, float]] = {graph.inputs[0].name: BYTES}
    for operator in operators:
        for name in operator.names:
            if name in nodes and nodes[name][1].name in lowered.ranges:
                ranges[name] = lowered.ranges[nodes[name][1].name]
    for operator in operators:  # what has no name that we know: the range that its reader expects
        node = nodes.get(operator.names[0], (None,))[0]
        for index, source in enumerate(operator.sources if node else ()):
            value = _read(node, index)
            if source and source not in ranges and value is not None and value.name in lowered.ranges:
                ranges[source] = lowered.ranges[value.name]
    for operator in reversed(operators):  # the compiler casts before it reshapes, by the row of what it reshapes
        if operator.kind in RESHAPES and operator.names[0] in ranges and operator.sources:
            ranges.setdefault(operator.sources[0], ranges[operator.names[0]])
    int8 = {operator for operator in operators if operator.kind == "Input" or _node(nodes, operator) in lowered.int8}
    for operator in operators:  # the compiler hands ranges on backwards: a made-up one would spoil its source's
        known = [ranges[source] for source in operator.sources if source in ranges]
        for name in operator.names if known and operator not in int8 else ():
            ranges.setdefault(name, (min(low for low, _ in known), max(high for _, high in known)))
    rows, kept = [], []
    for operator in operators:
        integer = operator in int8
        if integer and (missing := [n for n in (*operator.names, *filter(None, operator.sources)) if n not in ranges]):
            raise QuantizeError(f"{missing[0]!r} has no range, though {operator.names[0]!r} is INT8; keep it in float")
        for name in operator.names:
            low, high = ranges.get(name, UNREAD)
            rows.append(f"{name} {max(-low, high):.9f} {low:.9f} {high:.9f}\n")
            if not integer:
                kept.append(f"{name} F16\n")
    head = "# op_name    threshold    min    max\n"
    return Tables(head + "".join(rows), "# op_name   quantize_mode\n" + "".join(kept), len(rows) - len(kept), len(kept))


def _node(nodes: dict[str, tuple[ir.Node, ir.Value]], operator: Operator) -> str | None:
    """The name of our node that the operator was made of."""
    return nodes[operator.names[0]][0].name if operator.names[0] in nodes else None


def _key(value: ir.Value, node: ir.Node) -> str:
    return f"{value.name}_{node.op_type}"


def _read(node: ir.Node, index: int) -> ir.Value | None:
    """What the compiler's operand number `index` is in our node; its SiLU reads x alone."""
    silu = silu_source(node)
    if silu is not None:
        return silu if index == 0 else None
    return node.inputs[index] if index < len(node.inputs) else None


def other_ranges(tables: Tables, text: str, symmetric: bool) -> list[str]:
    """INT8 operators, and casts to INT8, whose scale in the lowered .mlir is not their row's. A cast is named after
    what it casts and who reads it."""
    rows = {line.split()[0]: line.split()[1:] for line in tables.calibration.splitlines() if not line.startswith("#")}
    floats = {line.split()[0] for line in tables.quantize.splitlines()}
    locations = dict(re.findall(r'^(#loc\d*) = loc\("(.*)"\)$', text, flags=re.M))
    found = []
    for scale, location in re.findall(
        r"-> tensor<[^>]*uniform<[iu]8:f\d+, ([\d.e+-]+).* loc\((#loc\d*)\)$", text, flags=re.M
    ):
        place = locations.get(location, "")
        cast = place.endswith(("_si8", "_ui8"))
        name = max((row for row in rows if place.startswith(row)), key=len, default="") if cast else place
        if name in rows and (cast or name not in floats):
            threshold, low, high = map(float, rows[name])
            wanted = [threshold / 127, threshold / 255] if symmetric else [(high - low) / 255]
            if all(abs(float(scale) - one) > 1e-4 * one for one in wanted):
                found.append(name)
    return found
