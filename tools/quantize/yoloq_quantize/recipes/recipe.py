# SPDX-License-Identifier: Apache-2.0
"""Reads a recipe and applies what the user switches on or off."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import MOST_FLOAT_TIME

# In the order in which pipeline.py takes them.
STEPS = ("boxes", "swap", "equalize", "prescale", "ranges", "rounding", "biases", "reconstruct", "spend", "mixed")


@dataclass(frozen=True)
class Recipe:
    """`steps`: those of STEPS that are taken. `max_drop`: the loss that `mixed` allows, in points of mAP; `insists`:
    the user named it, so that it must be measured. `time`: share of the INT8 graph's time that `spend` may add
    where the raw head's error (mixed/objective.py) is above `raw_error`, and `little_time` where it is not;
    `min_int8_macs`: share of the multiply-adds that `spend` and `mixed` leave in INT8."""

    name: str
    steps: tuple[str, ...]
    max_drop: float
    time: float
    little_time: float
    raw_error: float
    min_int8_macs: float
    insists: bool = False

    def takes(self, step: str) -> bool:
        return step in self.steps

    def spending(self, time: float) -> Recipe:
        """The recipe whose `spend` may take this share of the time, whatever is left in INT8 then."""
        return replace(self, time=time, little_time=time, raw_error=0.0, min_int8_macs=0.0)

    def switched(
        self,
        on: Sequence[str] = (),
        off: Sequence[str] = (),
        max_drop: float | None = None,
        float_time: float | None = None,
    ) -> Recipe:
        """The recipe with steps added and taken away, and other limits. float_time: adds `spend`, which may take this
        `time`, however small the error is and whatever is left in INT8 then."""
        if float_time is not None:
            if not 0 < float_time <= MOST_FLOAT_TIME:
                raise QuantizeError(f"float time {float_time} is no share of the INT8 graph's time; write 0.15 or 2")
            return self.spending(float_time).switched((*on, "spend"), off, max_drop)
        for step in (*on, *off):
            if step not in STEPS:
                raise QuantizeError(f"unknown step {step!r}; known: {', '.join(STEPS)}")
        if both := sorted(set(on) & set(off)):
            raise QuantizeError(f"step {both[0]!r} is switched on and off; say which")
        steps = tuple(step for step in STEPS if (step in self.steps or step in on) and step not in off)
        if max_drop is None:
            return replace(self, steps=steps)
        if not 0 <= max_drop <= 100:
            raise QuantizeError(f"max drop {max_drop} is no loss in points of mAP; write 0.2")
        if "mixed" not in steps:
            raise QuantizeError(
                f"recipe {self.name!r} does not search, so it cannot keep a limit; take recipe default or add the step"
                " mixed"
            )
        return replace(self, steps=steps, max_drop=max_drop, insists=True)


def recipe_names() -> list[str]:
    """The recipes of this installation, from the quickest to the most thorough."""
    folder = resources.files(__package__)
    found = [entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return sorted(found, key=lambda name: (len(load_recipe(name, found).steps), name))


def load_recipe(name: str, known: Sequence[str] | None = None) -> Recipe:
    """Reads recipes/NAME.toml."""
    if name not in (known if known is not None else recipe_names()):
        raise QuantizeError(f"unknown recipe {name!r}; known: {', '.join(recipe_names())}")
    table = tomllib.loads((resources.files(__package__) / f"{name}.toml").read_text(encoding="utf-8"))
    numbers = ("max_drop", "time", "little_time", "raw_error", "min_int8_macs")
    return Recipe(name, tuple(table["steps"]), *(float(table[key]) for key in numbers))
