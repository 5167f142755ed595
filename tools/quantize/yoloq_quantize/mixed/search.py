# SPDX-License-Identifier: Apache-2.0
"""Automatic mixed precision: the cheapest set of nodes left in float that keeps the loss under a limit.

Nodes that INT8 makes no faster are float from the start. The others are put in the order of error per nanosecond that
they cost in float. Real QDQ graphs of the first n of them are measured on the calibration pictures; n is bisected; then
the dearest nodes are tried without again. What the target file keeps in float by rule is tried as well, so that the
search is never worse than the rule on its own measure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from yoloq_quantize.mixed.objective import Objective, Score
from yoloq_quantize.mixed.plans import int8_share, narrowed, plan_runner
from yoloq_quantize.mixed.prices import Prices
from yoloq_quantize.mixed.sensitivity import Sensitivity, find_units, measure_sensitivity
from yoloq_quantize.place import place
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.summary import multiply_adds

MIN_INT8_MACS = 0.95
TAKE_BACKS = 6  # measurements spent on taking nodes back
RANK_PICTURES = 4  # for the error of each layer


@dataclass(frozen=True)
class Step:
    """One graph that was measured. kept_float: nodes in float beyond the plan's. error: of the raw head.
    int8_macs: 0 to 1. nanoseconds: by the target's cost model."""

    kept_float: tuple[str, ...]
    score: Score
    error: float
    int8_macs: float
    nanoseconds: float


@dataclass(frozen=True)
class MixedResult:
    """`plan` with `kept_float` in float. `loss`: judged, in points (see _Search.loss). `met`: whether it is under the
    limit; if not, the plan is the best that was found. `steps`: everything that was measured, in order."""

    plan: Plan
    kept_float: tuple[str, ...]
    loss: float
    met: bool
    int8_macs: float
    steps: tuple[Step, ...]
    sensitivity: Sensitivity

    def message(self, max_drop: float) -> str:
        """One line for people."""
        kept = f"{len(self.kept_float)} nodes in float, {100 * self.int8_macs:.1f} % of the multiply-adds in INT8"
        if self.met:
            return f"loss {self.loss:.2f} points on the calibration pictures, {kept}"
        if not self.sensitivity.rows:
            return (
                f"cannot keep the loss under {max_drop:.2f} points: it is {self.loss:.2f} with everything in INT8, and"
                " the chip has no float; allow more with --max-drop, or recover accuracy with --recipe best"
            )
        worst = max(self.sensitivity.by_layer().items(), key=lambda item: item[1], default=("none", 0.0))[0]
        return (
            f"cannot keep the loss under {max_drop:.2f} points: {self.loss:.2f} is the best, with {kept};"
            f" the most sensitive layer is {worst!r}; allow more with --max-drop, or recover accuracy first"
        )


def mixed_precision(
    subject: Subject,
    plan: Plan,
    objective: Objective,
    max_drop: float,
    min_int8_macs: float = MIN_INT8_MACS,
    sensitivity: Sensitivity | None = None,
) -> MixedResult:
    """Searches, where the target has float to search in. `plan`: as much in INT8 as may be (place with plans.widest).
    `max_drop`: points of mAP. `min_int8_macs`: share of the multiply-adds that stays in INT8. `sensitivity`: with rows
    for the plan's layers; measured here if it is needed and not given."""
    if not subject.target.has_float:
        return _measured(subject, plan, objective, max_drop)
    search = _Search(subject, plan, objective, min_int8_macs)
    bare = search.measure(())
    if sensitivity is None and search.loss(bare) > max_drop:
        layers = [unit for unit in find_units(subject, plan) if unit.kind == "layer"]
        sensitivity = measure_sensitivity(
            subject, plan, objective, units=layers, gains=False, sqnr=False, pictures=RANK_PICTURES
        )
    sensitivity = sensitivity or Sensitivity((), bare.error, 0)
    best = bare
    if search.loss(bare) > max_drop:
        order = search.prices.order(sensitivity.by_layer())
        candidates = [search.measure(search.by_rule()), search.shortest(order, max_drop)]
        best = search.choose([bare, *candidates], max_drop)
        if search.loss(best) <= max_drop:
            best = search.take_back(best, max_drop)
    return MixedResult(
        plan=narrowed(subject, plan, best.kept_float),
        kept_float=best.kept_float,
        loss=search.loss(best),
        met=search.loss(best) <= max_drop,
        int8_macs=best.int8_macs,
        steps=tuple(search.steps.values()),
        sensitivity=sensitivity,
    )


def _measured(subject: Subject, plan: Plan, objective: Objective, max_drop: float) -> MixedResult:
    """The plan as it is, and what it loses."""
    runner = plan_runner(subject, plan)
    score, error = objective.score(runner.run), objective.raw(runner.run).error
    macs = int8_share(multiply_adds(subject.graph), plan.placement.weighted)
    step = Step((), score, error, macs, 0.0)
    return MixedResult(plan, (), score.loss, score.loss <= max_drop, macs, (step,), Sensitivity((), error, 0))


class _Search:
    """What was measured, and how to measure more."""

    def __init__(self, subject: Subject, plan: Plan, objective: Objective, min_int8_macs: float) -> None:
        self.subject, self.plan, self.objective = subject, plan, objective
        self.prices = Prices(subject, plan, min_int8_macs)
        self.steps: dict[frozenset[str], Step] = {}

    def measure(self, kept: Collection[str]) -> Step:
        """Compiles and runs the real graph with `kept` and the free nodes in float, once for each set."""
        key = self.prices.free | frozenset(kept)
        if key not in self.steps:
            narrow = narrowed(self.subject, self.plan, key)
            runner = plan_runner(self.subject, narrow)
            self.steps[key] = Step(
                kept_float=tuple(name for name in self.plan.placement.weighted if name in key),
                score=self.objective.score(runner.run),
                error=self.objective.raw(runner.run).error,
                int8_macs=int8_share(self.prices.macs, narrow.placement.weighted),
                nanoseconds=self.prices.cost.time(narrow.placement),
            )
        return self.steps[key]

    def loss(self, step: Step) -> float:
        """The mean of what was measured and of what its error suggests: measured losses are noisy, errors are not, and
        on one model a loss grows in proportion to the error. The proportion comes from all steps so far."""
        steps = list(self.steps.values())
        squares = sum(one.error**2 for one in steps)
        slope = max(0.0, sum(one.score.loss * one.error for one in steps) / squares) if squares else 0.0
        return (step.score.loss + slope * step.error) / 2

    def by_rule(self) -> tuple[str, ...]:
        """What the target's scheme keeps in float, if that leaves enough in INT8."""
        ruled = set(place(self.subject.graph, self.subject.target.place, self.subject.head).weighted)
        kept = tuple(name for name in self.plan.placement.weighted if name not in ruled)
        return kept if self.prices.allowed(kept) else ()

    def shortest(self, order: list[str], max_drop: float) -> Step:
        """The shortest beginning of `order` whose loss is within the limit; all of it if none is."""
        good, bad = len(order), 0
        if self.loss(self.measure(order)) > max_drop:
            return self.measure(order)
        while good - bad > 1:
            middle = (good + bad) // 2
            if self.loss(self.measure(order[:middle])) <= max_drop:
                good = middle
            else:
                bad = middle
        return self.measure(order[:good])

    def choose(self, steps: list[Step], max_drop: float) -> Step:
        """The fastest within the limit; the least loss if none is."""
        within = [step for step in steps if self.loss(step) <= max_drop]
        if within:
            return min(within, key=lambda step: (step.nanoseconds, self.loss(step)))
        return min(self.steps.values(), key=lambda step: (self.loss(step), step.nanoseconds))

    def take_back(self, step: Step, max_drop: float) -> Step:
        """Puts the dearest nodes back into INT8, one after another, where the loss allows it."""
        prices = {
            name: self.prices.price({name}, set(step.kept_float) - {name})
            for name in step.kept_float
            if name not in self.prices.free
        }
        for name in sorted(prices, key=lambda name: (-prices[name], name))[:TAKE_BACKS]:
            fewer = self.measure([other for other in step.kept_float if other != name])
            if self.loss(fewer) <= max_drop:
                step = fewer
        return step
