# SPDX-License-Identifier: Apache-2.0
"""A target's quantisation scheme: chip facts as data, read from targets/NAME.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

import numpy as np

from yoloq_quantize.errors import QuantizeError

METHODS = ("minmax", "percentile", "mse")


@dataclass(frozen=True)
class ActivationScheme:
    """How activations are quantised; `percentile` in percent, `bins` of the calibration histogram."""

    dtype: str
    symmetric: bool
    method: str
    percentile: float
    bins: int

    @property
    def limits(self) -> tuple[int, int]:
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)


@dataclass(frozen=True)
class WeightScheme:
    dtype: str
    symmetric: bool
    per_channel: bool


@dataclass(frozen=True)
class PlaceScheme:
    """Which operators read quantised numbers. `float_last`: kind of head -> role of a raw tensor -> how many of the
    last operators before it stay in float; see targets/cpu.toml."""

    operators: tuple[str, ...]
    through: tuple[str, ...]
    both_inputs: tuple[str, ...]
    float_last: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Target:
    """One chip: its names in the manifest, its artefact, its scheme."""

    chip: str
    backend: str
    sdk: str
    sdk_version: str
    file: str
    opset_min: int
    opset_max: int
    backend_options: dict[str, dict[str, str]]  # by precision
    activations: ActivationScheme
    weights: WeightScheme
    place: PlaceScheme


def target_names() -> list[str]:
    """The targets that this installation knows, sorted."""
    folder = resources.files(__package__) / "targets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_target(name: str) -> Target:
    """Reads targets/NAME.toml."""
    if name not in target_names():
        raise QuantizeError(f"unknown target {name!r}; known: {', '.join(target_names())}")
    table = tomllib.loads((resources.files(__package__) / "targets" / f"{name}.toml").read_text(encoding="utf-8"))
    place = {key: tuple(value) if isinstance(value, list) else value for key, value in table["place"].items()}
    return Target(
        **table["target"],
        **table["artifact"],
        backend_options=table.get("backend_options", {}),
        activations=ActivationScheme(**table["activations"]),
        weights=WeightScheme(**table["weights"]),
        place=PlaceScheme(**place),
    )
