# SPDX-License-Identifier: Apache-2.0
"""Which parts of a network lose what in INT8: each layer, block, branch of the head and shared scale by itself.

The measure is the error of the raw head (objective.py), which adds up over independent quantisers: an error of 1 is as
much as the model's answers vary anyway. Nothing is compiled but a switchboard's few tails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from yoloq_quantize.mixed.blocks import find_blocks
from yoloq_quantize.mixed.objective import RAW_PICTURES, Objective, Raw
from yoloq_quantize.mixed.plans import part_of
from yoloq_quantize.mixed.switchboard import Switchboard
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Plan, Subject, quantized
from yoloq_quantize.summary import multiply_adds

SQNR_PICTURES = 2
SQNR_BYTES = 256 << 20  # of outputs held at once


@dataclass(frozen=True)
class Unit:
    """A part that can be quantised by itself. `kind`: layer, block, attention, branch or scale. `nodes`: its weighted
    nodes; for a scale, the values that share it."""

    name: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One unit's figures. only: error when nothing else is INT8. gain: by how much the error of the whole falls when
    this alone is float; None if not measured, and for scales. macs: share of the multiply-adds, 0 to 1.
    sqnr_db: of a layer's output when everything is INT8; None for other units."""

    unit: Unit
    only: float
    gain: float | None
    macs: float
    sqnr_db: float | None


@dataclass(frozen=True)
class Sensitivity:
    """Rows in the graph's order; `whole`: the error when everything of the plan is INT8."""

    rows: tuple[Row, ...]
    whole: float
    pictures: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def by_layer(self) -> dict[str, float]:
        """The error of each layer alone, by node name."""
        return {row.unit.name: row.only for row in self.rows if row.unit.kind == "layer"}


def find_units(subject: Subject, plan: Plan) -> tuple[Unit, ...]:
    """Layers, blocks and branches of several layers, and scales that several tensors share."""
    weighted = set(plan.placement.weighted)
    units = [Unit(name, "layer", (name,)) for name in plan.placement.weighted]
    for block in find_blocks(subject.graph):
        nodes = tuple(name for name in block.nodes if name in weighted)
        if len(nodes) > 1:
            units.append(Unit(block.name, "attention" if block.attention else "block", nodes))
    units += [Unit(name, "branch", nodes) for name, nodes in _branches(subject.graph, weighted).items()]
    readers = _joins(subject.graph)
    for values in plan.placement.groups:
        if len(values) > 1:
            units.append(Unit(_scale_name(values, readers), "scale", values))
    return tuple(units)


def measure_sensitivity(
    subject: Subject,
    plan: Plan,
    objective: Objective,
    *,
    units: Iterable[Unit] | None = None,
    gains: bool = True,
    sqnr: bool = True,
    pictures: int = RAW_PICTURES,
) -> Sensitivity:
    """Measures `units` (None: all of find_units) on `pictures` calibration pictures."""
    board = Switchboard(subject, plan)
    ratios = layer_sqnr(subject, plan) if sqnr else {}
    macs = multiply_adds(subject.graph)
    total = max(1, sum(macs.values()))
    units = tuple(units or find_units(subject, plan))
    states = [board.state(plan.placement), *(_only(board, subject, plan, unit) for unit in units)]
    gaining = [unit for unit in units if gains and unit.kind != "scale"]
    for unit in gaining:
        rest = set(plan.placement.weighted) - set(unit.nodes)
        states.append(board.state(part_of(subject, plan, rest)))
    whole, *errors = _errors(board, objective, states, pictures)
    without = dict(zip(gaining, errors[len(units) :], strict=True))
    rows = []
    for unit, only in zip(units, errors, strict=False):
        gain = whole - without[unit] if unit in without else None
        share = sum(macs.get(name, 0) for name in unit.nodes) / total
        rows.append(Row(unit, only, gain, share, ratios.get(unit.name) if unit.kind == "layer" else None))
    return Sensitivity(tuple(rows), whole, min(pictures, len(objective.stream)))


def _only(board: Switchboard, subject: Subject, plan: Plan, unit: Unit) -> np.ndarray:
    """The state with this unit alone in INT8."""
    if unit.kind == "scale":
        return board.only(edge for value in unit.nodes for edge in plan.placement.edges[value])
    return board.state(part_of(subject, plan, unit.nodes))


def _errors(board: Switchboard, objective: Objective, states: Sequence[np.ndarray], pictures: int) -> list[float]:
    """The raw head's error in each state."""
    sums, nothing = np.zeros((len(states), 3)), np.zeros_like(states[0])
    places = objective.places(pictures)
    for tail, members in board.tails(states):
        for place in objective.subject.progress(places, f"sensitivity, {len(members)} of {len(states)}"):
            tail.enter(objective.stream[place], nothing)
            for index in members:
                sums[index] += objective.raw_sums(place, tail.run(states[index]))
    return [Raw.of(each).error for each in sums]


def layer_sqnr(subject: Subject, plan: Plan) -> dict[str, float]:
    """Signal to quantisation noise of every weighted node's output, dB, with everything of the plan in INT8:
    10 log10 of the sum of the float output's squares over that of the difference. Exact layers have 200."""
    nodes = {node.name: node for node in subject.graph.graph}
    names = {name: nodes[name].outputs[0].name for name in plan.placement.weighted}
    graph, integers = quantized(subject, plan), subject.target.weights.sums_fit
    found: dict[str, float] = {}
    for chunk in _chunks([nodes[name] for name in names]):
        values = [names[name] for name in chunk]
        ours, theirs = Runner(subject.graph, values), Runner(graph, values, integers)
        signal, noise = np.zeros(len(values)), np.zeros(len(values))
        for picture in subject.pictures.spread(SQNR_PICTURES):
            a, b = ours.run(picture), theirs.run(picture)
            signal += [np.square(a[value], dtype=np.float64).sum() for value in values]
            noise += [np.square(a[value] - b[value], dtype=np.float64).sum() for value in values]
        for name, s, n in zip(chunk, signal, noise, strict=True):
            found[name] = float(10 * np.log10(max(s, 1e-20) / n)) if n > 1e-20 * s else 200.0
    return found


def _chunks(nodes: list[ir.Node]) -> list[list[str]]:
    """Node names, so that no chunk's outputs pass SQNR_BYTES on both sides together."""
    chunks: list[list[str]] = [[]]
    held = 0
    for node in nodes:
        size = 8 * int(np.prod([int(side) for side in node.outputs[0].shape]))
        if chunks[-1] and held + size > SQNR_BYTES:
            chunks.append([])
            held = 0
        chunks[-1].append(node.name)
        held += size
    return chunks


def _branches(model: ir.Model, weighted: set[str]) -> dict[str, tuple[str, ...]]:
    """The weighted nodes that lead to one output of the graph alone, two or more, by the output's name."""
    leads: dict[str, set[str]] = {}
    for output in model.graph.outputs:
        waiting, seen = [output.producer()], set()
        while waiting:
            node = waiting.pop()
            if node is not None and node not in seen:
                seen.add(node)
                leads.setdefault(node.name, set()).add(output.name)
                waiting.extend(value.producer() for value in node.inputs if value is not None)
    names = {output.name: [] for output in model.graph.outputs}
    for node in model.graph:
        if node.name in weighted and len(leads[node.name]) == 1:
            names[next(iter(leads[node.name]))].append(node.name)
    return {output: tuple(nodes) for output, nodes in names.items() if len(nodes) > 1}


def _joins(model: ir.Model) -> Mapping[str, str]:
    """The first Concat or Add that reads a value, by the value's name."""
    found: dict[str, str] = {}
    for node in model.graph:
        if node.op_type in ("Concat", "Add"):
            for value in node.inputs:
                found.setdefault(value.name, node.name)
    return found


def _scale_name(values: tuple[str, ...], readers: Mapping[str, str]) -> str:
    joins = sorted({readers[value] for value in values if value in readers})
    return f"scale of {joins[0] if joins else values[0]}"
