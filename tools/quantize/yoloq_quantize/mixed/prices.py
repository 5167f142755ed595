# SPDX-License-Identifier: Apache-2.0
"""What it costs to leave nodes of a plan in float, and in which order that is worth it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from yoloq_quantize.mixed.cost import CostModel, rates_of
from yoloq_quantize.mixed.plans import int8_share, part_of
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.summary import multiply_adds

FRESH = 8  # nodes whose cost is computed anew before one is taken


class Prices:
    """`free`: nodes that INT8 makes no faster, by the target's cost model, as many as `min_int8_macs` (share of the
    multiply-adds that stays in INT8, 0 to 1) allows."""

    def __init__(self, subject: Subject, plan: Plan, min_int8_macs: float) -> None:
        self.subject, self.plan, self.least = subject, plan, min_int8_macs
        self.cost = CostModel(subject.graph, rates_of(subject.target))
        self.macs = multiply_adds(subject.graph)
        self.free: frozenset[str] = frozenset()
        for name in plan.placement.weighted:
            if self.allowed({name}) and self.price({name}) <= 0:
                self.free |= {name}

    def int8(self, kept: Collection[str]) -> set[str]:
        """What stays in INT8 beside `kept` and the free nodes."""
        return set(self.plan.placement.weighted) - self.free - set(kept)

    def allowed(self, kept: Collection[str]) -> bool:
        return int8_share(self.macs, self.int8(kept)) >= self.least

    def price(self, kept: Collection[str], beside: Collection[str] = ()) -> float:
        """Nanoseconds that leaving `kept` in float adds where `beside` is in float already."""
        more, before = (self.int8(nodes) for nodes in ({*beside, *kept}, beside))
        return self.cost.time(part_of(self.subject, self.plan, more)) - self.cost.time(
            part_of(self.subject, self.plan, before)
        )

    def order(self, errors: Mapping[str, float], budget: float | None = None) -> list[str]:
        """Nodes by error per nanosecond that float costs them beside those before them, while multiply-adds allow, and
        the budget, in nanoseconds, if there is one: a node that is too dear for what is left of it is passed over."""
        left = {
            name: error / max(1.0, self.price({name}))
            for name, error in errors.items()
            if error > 0 and name not in self.free
        }
        taken: list[str] = []
        spent = 0.0
        while left:
            left = {name: worth for name, worth in left.items() if self.allowed({*taken, name})}
            fresh = sorted(left, key=lambda name: (-left[name], name))[:FRESH]
            prices = {name: self.price({name}, taken) for name in fresh}
            for name in fresh:
                left[name] = errors[name] / max(1.0, prices[name])
            for name in sorted(fresh, key=lambda name: (-left[name], name)):
                if budget is not None and spent + prices[name] > budget:
                    del left[name]
                    continue
                taken.append(name)
                spent += prices[name]
                del left[name]
                break
        return taken
