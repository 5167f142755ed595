# SPDX-License-Identifier: Apache-2.0
"""A recipe says which steps a quantisation takes. Recipes are data: recipes/NAME.toml."""

from yoloq_quantize.recipes.recipe import STEPS, Recipe, load_recipe, recipe_names

__all__ = ["STEPS", "Recipe", "load_recipe", "recipe_names"]
