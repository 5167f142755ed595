# SPDX-License-Identifier: Apache-2.0
"""Step `spend`: a share of the time that INT8 takes is spent on leaving nodes in float: those whose quantisation
changes the raw head most for what float costs them. Errors are hardly touched by chance, measured losses are: so
nothing is searched for here, a few dear layers buy what no rounding gives back, and whether that is needed at all is
told by the error of the whole."""

from __future__ import annotations

from dataclasses import dataclass

from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.plans import narrowed, plan_runner
from yoloq_quantize.mixed.prices import Prices
from yoloq_quantize.mixed.sensitivity import find_units, measure_sensitivity
from yoloq_quantize.subject import Plan, Subject

PICTURES = 6  # for the error of each layer


@dataclass(frozen=True)
class Spent:
    """`plan` with `kept_float` in float, in the order of their worth. `time`: share that they add, by the target's
    cost model; the free nodes (prices.py) among them may make it negative. `error`: share of the summed error that is
    gone. `raw_error`: of the raw head before (objective.Raw), on all of the objective's pictures."""

    plan: Plan
    kept_float: tuple[str, ...]
    time: float
    error: float
    raw_error: float


@dataclass(frozen=True)
class Purse:
    """What may be spent: `share` of the plan's time, or `little` of it where the raw head's error is `enough` or less.
    `min_int8_macs`: share of the multiply-adds that stays in INT8."""

    share: float
    min_int8_macs: float
    little: float = 0.0
    enough: float = 0.0


def spend(subject: Subject, plan: Plan, objective: Objective, purse: Purse) -> Spent:
    """The plan with what the purse buys in float."""
    raw_error = objective.raw(plan_runner(subject, plan).run, len(objective.stream)).error
    share = purse.share if raw_error > purse.enough else purse.little
    if not share:
        return Spent(plan, (), 0.0, 0.0, raw_error)
    prices = Prices(subject, plan, purse.min_int8_macs)
    layers = [unit for unit in find_units(subject, plan) if unit.kind == "layer"]
    errors = measure_sensitivity(
        subject, plan, objective, units=layers, gains=False, sqnr=False, pictures=PICTURES
    ).by_layer()
    whole = prices.cost.time(plan.placement)
    bought = prices.order(errors, share * whole)
    kept = (*bought, *(name for name in plan.placement.weighted if name in prices.free))
    narrow = narrowed(subject, plan, kept)
    total = sum(errors.values()) or 1.0
    time = prices.cost.time(narrow.placement) / whole - 1
    return Spent(narrow, kept, time, sum(errors[name] for name in kept) / total, raw_error)
