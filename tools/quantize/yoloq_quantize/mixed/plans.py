# SPDX-License-Identifier: Apache-2.0
"""Parts of a plan: the same numbers, fewer nodes in INT8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from yoloq_quantize.params import Params
from yoloq_quantize.place import Placement, place
from yoloq_quantize.runner import Runner
from yoloq_quantize.scheme import PlaceScheme
from yoloq_quantize.subject import Plan, Subject, quantized


def widest(scheme: PlaceScheme) -> PlaceScheme:
    """The scheme with no more than the last operator of each branch in float: where a search starts."""
    depths = {kind: {role: min(1, depth) for role, depth in roles.items()} for kind, roles in scheme.float_last.items()}
    return replace(scheme, float_last=depths)


def narrowed(subject: Subject, plan: Plan, keep_float: Collection[str]) -> Plan:
    """The plan with further nodes in float. Ranges and weights stay those of the plan."""
    placement = part_of(subject, plan, set(plan.placement.weighted) - set(keep_float))
    return Plan(
        placement,
        Params(
            {name: plan.params.activations[name] for name in placement.edges},
            {name: plan.params.weights[name] for name in placement.weighted},
            {name: bias for name, bias in plan.params.biases.items() if name in placement.weighted},
        ),
    )


def plan_runner(subject: Subject, plan: Plan) -> Runner:
    """Runs the plan's QDQ graph as its target computes it, on any CPU."""
    return Runner(quantized(subject, plan), integers=subject.target.weights.sums_fit)


def part_of(subject: Subject, plan: Plan, weighted: Collection[str]) -> Placement:
    """What is quantised if of the plan's nodes only `weighted` are in INT8."""
    scheme = replace(subject.target.place, float_last={kind: {} for kind in subject.target.place.float_last})
    operators = {node.name for node in subject.graph.graph if node.op_type in scheme.operators}
    allowed = set(weighted) & set(plan.placement.weighted)
    return place(subject.graph, scheme, subject.head, frozenset(operators - allowed))


def int8_share(macs: Mapping[str, int], weighted: Collection[str]) -> float:
    """Of the multiply-adds in INT8, 0 to 1."""
    return sum(macs[name] for name in weighted if name in macs) / max(1, sum(macs.values()))
