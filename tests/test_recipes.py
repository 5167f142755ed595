# SPDX-License-Identifier: Apache-2.0
"""Recipes are data: what is read, and what may be switched."""

from __future__ import annotations

import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.recipes import STEPS, load_recipe, recipe_names


def test_recipes_from_the_quickest_to_the_most_thorough() -> None:
    assert recipe_names() == ["fast", "default", "best"]
    steps = [load_recipe(name).steps for name in recipe_names()]
    assert steps[0] == ("prescale",)
    assert set(steps[1]) < set(steps[2])
    for taken in steps:
        assert list(taken) == [step for step in STEPS if step in taken], "in the pipeline's order"


def test_steps_are_switched_in_the_pipelines_order() -> None:
    recipe = load_recipe("default").switched(on=["swap", "ranges"], off=["mixed"])
    assert recipe.steps == ("swap", "equalize", "prescale", "ranges", "rounding", "biases", "spend")
    assert recipe.takes("swap")
    assert not recipe.takes("mixed")


def test_a_limit_is_for_recipes_that_search() -> None:
    assert load_recipe("default").switched(max_drop=0.1).max_drop == 0.1
    assert load_recipe("fast").switched(on=["mixed"], max_drop=1.5).max_drop == 1.5
    with pytest.raises(QuantizeError, match="recipe 'fast' does not search"):
        load_recipe("fast").switched(max_drop=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": ["bias"]}, "unknown step 'bias'; known: boxes, swap, equalize"),
        ({"on": ["swap"], "off": ["swap"]}, "step 'swap' is switched on and off"),
        ({"max_drop": -1}, "max drop -1 is no loss"),
        ({"max_drop": float("nan")}, "max drop nan is no loss"),
    ],
)
def test_nonsense_is_refused(options: dict, message: str) -> None:
    with pytest.raises(QuantizeError, match=message):
        load_recipe("default").switched(**options)


def test_time_for_float_layers_adds_the_step_and_takes_the_floor_away() -> None:
    recipe = load_recipe("default").switched(float_time=2)
    assert recipe.steps == ("equalize", "prescale", "rounding", "biases", "spend", "mixed")
    assert (recipe.time, recipe.little_time, recipe.raw_error, recipe.min_int8_macs) == (2, 2, 0, 0)
    for time in (0, -1, 101, float("nan")):
        with pytest.raises(QuantizeError, match=r"float time .* is no share"):
            load_recipe("default").switched(float_time=time)


def test_unknown_recipe_names_the_known() -> None:
    with pytest.raises(QuantizeError, match="unknown recipe 'good'; known: fast, default, best"):
        load_recipe("good")
