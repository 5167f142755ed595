# SPDX-License-Identifier: Apache-2.0
"""Targets are data: what a file may say, and what it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import ActivationScheme, WeightScheme, load_target, parse_target, target_names


@pytest.fixture
def text(root: Path) -> str:
    return (root / "tests" / "data" / "targets" / "reduced.toml").read_text(encoding="utf-8")


def test_the_cpu_is_what_its_figures_were_measured_with() -> None:
    chip = load_target("cpu")
    assert chip.activations == ActivationScheme("uint8", False, "mse_peaks", 99.99, 4096)
    assert chip.weights == WeightScheme("int8", True, True, pair_sums=True)
    assert chip.weights.limits == (-127, 127)
    assert chip.activations.limits == (0, 255)
    assert chip.float_type == "f32"
    assert chip.place.operators == ("Conv",)


def test_every_target_of_the_installation_loads() -> None:
    assert "cpu" in target_names()
    assert [load_target(name).chip for name in target_names()] == target_names()


def test_a_path_names_a_target_too(root: Path, tmp_path: Path) -> None:
    folder = root / "tests" / "data" / "targets"
    chips = {path.stem: load_target(path) for path in sorted(folder.glob("*.toml"))}
    assert chips["reduced"].weights.limits == (-64, 64)
    assert chips["int4"].weights.limits == (-8, 7)
    assert chips["int4"].float_type == "f16"
    assert chips["position"].activations.limits == (-127, 127)
    assert chips["position"].weights.scale_form == "position"
    assert chips["shift"].activations.limits == (-128, 127)
    assert chips["wide"].activations.limits == (-32768, 32767)
    assert chips["wide"].float_type == "bf16"
    assert load_target(str(folder / "int4.toml")) == chips["int4"]
    with pytest.raises(QuantizeError, match="no such file"):
        load_target(tmp_path / "none.toml")
    with pytest.raises(QuantizeError, match=r"unknown target 'gpu'; known: .*cpu"):
        load_target("gpu")
    with pytest.raises(QuantizeError, match=r"unknown target '\.\./targets/cpu'"):
        load_target("../targets/cpu")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("reduced_range", "reduce_range", r"\[weights\]: unknown key 'reduce_range'; known: .*reduced_range"),
        ("[weights]", "[weight]", "unknown key 'weight'"),
        ('chip = "reduced"', "", r"\[target\]: 'chip' is missing"),
        ('chip = "reduced"', "chip = 3", "chip = 3 is not of type str"),
        ('sdk = "none"', 'sdk = "none"\ncolor = "red"', r"\[target\]: unknown key 'color'"),
        ("bins = 4096", "bins = 4095", r"\[activations\] bins 4095"),
        ("bins = 4096", "bins = 131072", "bins 131072"),
        ("bins = 4096", "bins = true", "bins = True is not of type int"),
        ("percentile = 99.99", "percentile = 0.01", "percentile 0.01"),
        ("percentile = 99.99", 'percentile = "99"', "percentile = '99' is not of type float"),
        ('method = "mse"', 'method = "best"', r"method 'best' is not known; expected minmax, moving_average"),
        ("symmetric = false", "symmetric = 0", "symmetric = 0 is not of type bool"),
        ("symmetric = false", 'symmetric = false\nscale_form = "position"', "no zero point"),
        ("symmetric = false", "symmetric = false\nnarrow_range = true", "narrow_range"),
        ("symmetric = false", 'symmetric = true\nscale_form = "shift"', "scale_form 'shift' is not known"),
        ('dtype = "uint8"', 'dtype = "float8"', "dtype 'float8' is not known"),
        ('dtype = "uint8"', 'dtype = "int16"', "opset 21"),
        ('dtype = "int8"', 'dtype = "int4"', "reduced_range is of int8"),
        ("reduced_range = true", "reduced_range = true\npair_sums = true", "pair_sums is of int8"),
        ("symmetric = true", "symmetric = false", r"\[weights\] weights with a zero point"),
        ("per_channel = true", "per_channel = true\nmethod = 'entropy'", r"\[weights\] method 'entropy'"),
        ("opset_min = 13", "opset_min = 30", "opset_min 30 is above"),
        (
            'sdk = "none"',
            'sdk = "none"\nfloat_type = "f8"',
            "'f8' is not known; expected f32, f16, bf16, none",
        ),
        ('sdk = "none"', 'sdk = "none"\nfloat_type = "none"', 'float_type "none" leaves nothing in float'),
        (
            'operators = ["Conv"]',
            'operators = ["Conv"]\noutputs = true',
            r"\[place\] outputs .* set integer",
        ),
        ('operators = ["Conv"]', 'operators = ["Conv"]\noutputs = 1', "outputs = 1 is not of type bool"),
        ("reduced_range = true", "reduced_range = true\nlargest = 126", "largest 126 is no magnitude of plain int8"),
        ("reduced_range = true", "largest = 128", "largest 128 is no magnitude of plain int8"),
        ('sdk = "none"', 'sdk = "none"\nfloat_time = -1.0', "float_time -1.0 is no share of the INT8 graph's time"),
        ('operators = ["Conv"]', 'operators = "Conv"', r"\[place\] operators is not an array"),
        ("[place.float_last.one_to_one]", "[place.float_last.one_to_two]", "unknown key 'one_to_two'"),
        ("[place.float_last.one_to_one]", "[place.float_last.one_to_one]\nbox = -1", "no count"),
        ("[artifact]", "[backend_options.int8]\nprecision = 8\n[artifact]", r"backend_options\.int8\] holds"),
        ("[weights]", "[weights", "not TOML"),
    ],
)
def test_what_cannot_work_is_refused(text: str, tmp_path: Path, old: str, new: str, match: str) -> None:
    assert old in text
    path = tmp_path / "chip.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(QuantizeError, match=match) as caught:
        load_target(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_section_must_be_a_table(text: str) -> None:
    start, end = text.index("[activations]"), text.index("[weights]")
    with pytest.raises(QuantizeError, match=r"write \[activations\]"):
        parse_target("activations = 3\n" + text[:start] + text[end:])
    with pytest.raises(QuantizeError, match="'activations' is missing"):
        parse_target(text[:start] + text[end:])


def test_entropy_needs_more_bins_than_levels() -> None:
    scheme = ActivationScheme("uint8", False, "entropy", 99.99, 512)
    with pytest.raises(QuantizeError, match="two bins per level"):
        replace(scheme, bins=256)
    with pytest.raises(QuantizeError, match="two bins per level"):
        replace(scheme, dtype="int16", bins=4096)
    assert replace(scheme, dtype="int16", method="minmax").limits == (-32768, 32767)
