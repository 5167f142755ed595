# SPDX-License-Identifier: Apache-2.0
"""A target's quantisation scheme: chip facts as data, read from targets/NAME.toml.

A scheme that cannot work is refused when it is made, whether by a file or by code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from yoloq_quantize.errors import QuantizeError

METHODS = ("minmax", "moving_average", "percentile", "mse", "mse_peaks", "entropy")  # of activations; see ranges.py
WEIGHT_METHODS = ("minmax", "mse")
ACTIVATION_DTYPES = ("uint8", "int8", "int16")
WEIGHT_LIMITS = {"int8": (-127, 127), "int4": (-8, 7)}
REDUCED_LIMITS = (-64, 64)
SCALE_FORMS = ("float", "power_of_two", "position")
NO_FLOAT = "none"
FLOAT_TYPES = ("f32", "f16", "bf16", NO_FLOAT)
HEAD_KINDS = ("one_to_one", "one_to_many")
MAX_BINS = 65536
MOST_FLOAT_TIME = 100.0


def _check(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise QuantizeError(f"{what} {value!r} is not known; expected {', '.join(known)}")


@dataclass(frozen=True)
class ActivationScheme:
    """How activations are quantised, per tensor. `percentile`: in percent, of method "percentile". `bins`: of the
    calibration histogram.

    `scale_form`: "float" any scale; "power_of_two"; "position": real = stored * 2^position / fraction with
    1 <= fraction < 2 (see ranges.position_fraction). `narrow_range`: the scale gives the largest magnitude the
    largest integer, 127 of int8, on both sides.
    """

    dtype: str
    symmetric: bool
    method: str
    percentile: float
    bins: int
    scale_form: str = "float"
    narrow_range: bool = False

    def __post_init__(self) -> None:
        _check("dtype", self.dtype, ACTIVATION_DTYPES)
        _check("method", self.method, METHODS)
        _check("scale_form", self.scale_form, SCALE_FORMS)
        if not 50 < self.percentile <= 100:
            raise QuantizeError(f"percentile {self.percentile} is not above 50 and up to 100")
        if self.bins < 2 or self.bins % 2 or self.bins > MAX_BINS:
            raise QuantizeError(f"bins {self.bins} is not an even number up to {MAX_BINS}")
        if not self.symmetric and self.scale_form != "float":
            raise QuantizeError(f"scale_form {self.scale_form!r} has no zero point; set symmetric = true")
        if not self.symmetric and self.narrow_range:
            raise QuantizeError("narrow_range is of symmetric schemes; set symmetric = true")
        smallest, largest = self.limits
        if self.method == "entropy" and self.bins < 2 * (largest - smallest + 1):
            raise QuantizeError(f"method 'entropy' needs two bins per level or more; {self.bins} are too few")

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer that the scale is chosen for."""
        info = np.iinfo(self.dtype)
        return int(info.min) + self.narrow_range, int(info.max)


@dataclass(frozen=True)
class WeightScheme:
    """How weights are quantised: always symmetric. `method` as for activations.

    `reduced_range`, `pair_sums`: two ways to keep AVX2's vpmaddubsw exact, which adds two products uint8 * int8 in an
    int16 that saturates; CPUs with VNNI add in 32 bits. The first limits every weight to 64, as 2 * 255 * 64 = 32640
    fits. The second limits the sum of the neighbours that are added, and leaves most channels their 8 bits. `largest`:
    the largest stored magnitude, where a chip's compiler keeps no larger one; 0: that of the type.
    """

    dtype: str
    symmetric: bool
    per_channel: bool
    method: str = "minmax"
    reduced_range: bool = False
    scale_form: str = "float"
    pair_sums: bool = False
    largest: int = 0

    def __post_init__(self) -> None:
        _check("dtype", self.dtype, tuple(WEIGHT_LIMITS))
        _check("method", self.method, WEIGHT_METHODS)
        _check("scale_form", self.scale_form, SCALE_FORMS)
        if not self.symmetric:
            raise QuantizeError("weights with a zero point are not supported; set symmetric = true")
        if self.reduced_range and self.dtype != "int8":
            raise QuantizeError("reduced_range is of int8 weights; leave it away")
        if self.pair_sums and (self.dtype != "int8" or self.reduced_range):
            raise QuantizeError("pair_sums is of int8 weights without reduced_range; leave it away")
        if self.largest and (self.dtype != "int8" or self.sums_fit or not 0 < self.largest <= WEIGHT_LIMITS["int8"][1]):
            raise QuantizeError(f"largest {self.largest} is no magnitude of plain int8 weights; write 1 to 127")

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest stored integer."""
        if self.largest:
            return -self.largest, self.largest
        return REDUCED_LIMITS if self.reduced_range else WEIGHT_LIMITS[self.dtype]

    @property
    def sums_fit(self) -> bool:
        """Whether every CPU adds the products exactly."""
        return self.reduced_range or self.pair_sums


@dataclass(frozen=True)
class PlaceScheme:
    """Which operators read quantised numbers. `float_last`: kind of head -> role of a raw tensor -> how many of the
    last operators before it stay in float; see targets/cpu.toml. `prescale`: the engine multiplies by a vector, one
    number per channel, while it quantises, at no cost (recover/prescale.py). `integer`: operators that make integers
    of integers, so that what they give is stored quantised; SiLU is x * sigmoid(x). `same_scale`: those of them that
    keep the scale of what they read. `fused`: activations that a convolution does before it stores; `fused_ungrouped`:
    further ones of convolutions that are not in groups. `float_before`: what reads a convolution that stays in
    float. `outputs`: what the last nodes give is stored quantised, too; needs `integer`. `symmetric_second`: operators
    whose second input has its zero point in the middle, whatever the scheme of activations."""

    operators: tuple[str, ...]
    through: tuple[str, ...]
    both_inputs: tuple[str, ...]
    float_last: dict[str, dict[str, int]]
    prescale: bool = False
    integer: tuple[str, ...] = ()
    same_scale: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()
    fused_ungrouped: tuple[str, ...] = ()
    float_before: tuple[str, ...] = ()
    outputs: bool = False
    symmetric_second: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.outputs and not self.integer:
            raise QuantizeError("outputs are stored where operators hand integers to each other; set integer")


@dataclass(frozen=True)
class Target:
    """One chip: its names in the manifest, its artefact, its scheme. `float_type`: of the nodes that are not INT8;
    "none": the chip has no float, and everything is INT8. `float_time`: share of the INT8 graph's time that recipes
    which spend may add, whatever is left in INT8; 0: their own."""

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
    float_type: str = "f32"
    float_time: float = 0.0
    cost: dict[str, dict[str, float]] | None = None  # rates of mixed/cost.py, where they are known
    compiler: dict[str, Any] = field(default_factory=dict)  # what the chip's own compiler wants to know

    def __post_init__(self) -> None:
        _check("float_type", self.float_type, FLOAT_TYPES)
        if not 0 <= self.float_time <= MOST_FLOAT_TIME:
            raise QuantizeError(f"float_time {self.float_time} is no share of the INT8 graph's time; write 0.15 or 2")
        if not self.has_float:
            self._check_no_float()
        if self.opset_min > self.opset_max:
            raise QuantizeError(f"opset_min {self.opset_min} is above opset_max {self.opset_max}")
        if self.activations.dtype == "int16" and self.opset_max < 21:
            raise QuantizeError("ONNX quantises to int16 from opset 21 on; raise opset_max")

    @property
    def has_float(self) -> bool:
        """Whether the chip can run a node that is not INT8."""
        return self.float_type != NO_FLOAT

    def _check_no_float(self) -> None:
        counts = [count for roles in self.place.float_last.values() for count in roles.values()]
        if self.float_time or any(counts) or self.place.float_before or not self.place.outputs:
            raise QuantizeError(
                'float_type "none" leaves nothing in float: float_time 0, float_last 0, no float_before, outputs = true'
            )


def target_names() -> list[str]:
    """The targets that this installation knows, sorted."""
    folder = resources.files(__package__) / "targets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_target(name: str | Path) -> Target:
    """Reads targets/NAME.toml, or the file that a path ending in .toml names."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise QuantizeError(f"{path}: no such file; give a target's name or its .toml")
        source = path
    elif name in target_names():
        source = resources.files(__package__) / "targets" / f"{name}.toml"
    else:
        raise QuantizeError(f"unknown target {str(name)!r}; known: {', '.join(target_names())}")
    try:
        return parse_target(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, QuantizeError) as error:
        raise QuantizeError(f"target {name}: {error}") from error


def parse_target(text: str) -> Target:
    """A target from TOML; refuses keys that it does not know and schemes that cannot work."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise QuantizeError(f"not TOML: {error}") from error
    _keys(
        "file",
        table,
        {"target", "artifact", "activations", "weights", "place"},
        {"backend_options", "cost", "compiler"},
    )
    for name, section in table.items():
        if not isinstance(section, dict):
            raise QuantizeError(f"{name} is not a table; write [{name}]")
    _keys("[target]", table["target"], {"chip", "backend", "sdk", "sdk_version"}, {"float_type", "float_time"})
    _keys("[artifact]", table["artifact"], {"file", "opset_min", "opset_max"})
    made = {
        "activations": _section("activations", table, ActivationScheme),
        "weights": _section("weights", table, WeightScheme),
        "place": _section("place", table, PlaceScheme),
    }
    _check_place(made["place"])
    options = table.get("backend_options", {})
    for precision, strings in options.items():
        if not isinstance(strings, dict) or not all(isinstance(value, str) for value in strings.values()):
            raise QuantizeError(f"[backend_options.{precision}] holds something that is no string")
    top = {**table["target"], **table["artifact"]}
    _check_types("[target], [artifact]", top, Target)
    return Target(**top, backend_options=options, cost=table.get("cost"), compiler=table.get("compiler", {}), **made)


def _section(name: str, table: dict[str, Any], kind: Callable[..., Any]) -> Any:
    """One dataclass from one table; arrays become tuples."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in table[name].items()}
    wanted = {entry.name for entry in fields(kind)}
    needed = {entry.name for entry in fields(kind) if entry.default is MISSING}
    _keys(f"[{name}]", given, needed, wanted - needed)
    _check_types(f"[{name}]", given, kind)
    try:
        return kind(**given)
    except QuantizeError as error:
        raise QuantizeError(f"[{name}] {error}") from error


def _keys(where: str, given: dict[str, Any], needed: set[str], optional: set[str] = frozenset()) -> None:
    unknown, missing = sorted(set(given) - needed - optional), sorted(needed - set(given))
    if unknown:
        raise QuantizeError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(needed | optional))}")
    if missing:
        raise QuantizeError(f"{where}: {missing[0]!r} is missing")


def _check_types(where: str, given: dict[str, Any], kind: Callable[..., Any]) -> None:
    """Types as the dataclass annotates them; containers are checked by what reads them."""
    simple = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}
    for entry in fields(kind):
        wanted = simple.get(entry.type)
        if entry.name not in given or wanted is None:
            continue
        value = given[entry.name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise QuantizeError(f"{where}: {entry.name} = {value!r} is not of type {entry.type}")


def _check_place(scheme: PlaceScheme) -> None:
    for key in (entry.name for entry in fields(PlaceScheme) if entry.type == "tuple[str, ...]"):
        names = getattr(scheme, key)
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise QuantizeError(f"[place] {key} is not an array of operator names")
    if not isinstance(scheme.float_last, dict):
        raise QuantizeError("[place] float_last is not a table")
    _keys("[place.float_last]", scheme.float_last, set(HEAD_KINDS))
    for kind, counts in scheme.float_last.items():
        if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
            raise QuantizeError(f"[place.float_last.{kind}] holds something that is no count")
