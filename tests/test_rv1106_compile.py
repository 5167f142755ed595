# SPDX-License-Identifier: Apache-2.0
"""A chip without float, the vendor's compiler and simulator really run: everything in INT8, attention and outputs too;
the simulator computes our graph; what would break that is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import attention_tiny
from exact import exact_session
from vendor_case import both_packages, manifest, simulator_errors
from yoloq_quantize.compile.rockchip import compile_rockchip, simulate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import Target, load_target

TARGET = load_target("rv1106")
MOST_ERROR = 0.06  # RMS by standard deviation: a rounding that falls otherwise makes others fall so behind it
pytestmark = pytest.mark.usefixtures("vendors_compilers")


def errors(proto: onnx.ModelProto, target: Target, folder: Path) -> list[float]:
    return simulator_errors(proto, target, attention_tiny.pictures(9)[8], folder)


@pytest.mark.parametrize("chip", ["rv1106", "rv1103"])
def test_nothing_runs_in_float(chip: str, tmp_path: Path) -> None:
    packages = both_packages(tmp_path / "world", chip)
    made = manifest(packages["chip"])
    assert (made["target"]["chip"], made["precision"]) == (chip, "int8")
    assert made["quantization"]["f16_operators"] == made["quantization"]["cpu_operators"] == 0
    assert made["quantization"]["int8_operators"] >= 11
    assert made["outputs"] == manifest(packages["cpu"])["outputs"], "float32, as of other chips"
    assert f'"target_platform":["{chip}"]'.encode() in (packages["chip"] / "model.rknn").read_bytes()


def test_attention_and_outputs_compute_the_quantised_graph(tmp_path: Path) -> None:
    proto = attention_tiny.quantised(TARGET)
    made = compile_rockchip(proto.SerializeToString(), TARGET, tmp_path / "log", lambda items, _: items)
    assert made.summary["f16_operators"] == 0 and made.summary["int8_operators"] > 10
    found = errors(proto, TARGET, tmp_path)
    assert max(found) < MOST_ERROR


def test_attention_with_a_second_input_that_is_not_symmetric_is_seen(tmp_path: Path) -> None:
    ignorant = replace(TARGET, place=replace(TARGET.place, symmetric_second=()))
    found = errors(attention_tiny.quantised(ignorant), ignorant, tmp_path)
    assert max(found) > MOST_ERROR


@pytest.mark.parametrize("compiler", [TARGET.compiler, {}])
def test_a_convolution_gives_the_graphs_own_integers(compiler: dict, tmp_path: Path) -> None:
    """Only if the lowering undoes what the compiler does to scales; else it rounds all weights anew."""
    target = replace(TARGET, compiler=compiler)
    proto, picture = attention_tiny.one_convolution(target), attention_tiny.pictures(9)[8]
    simulator = simulate(proto.SerializeToString(), target, tmp_path / "log")
    try:
        (found,) = simulator.run(["box_0"], {"images_u8": picture})
    finally:
        simulator.close()
    (wanted,) = exact_session(proto).run(["box_0"], {"images_u8": picture})
    other = float((np.abs(found - wanted) > 0.01 * np.abs(wanted).max() / 255).mean())
    assert other < 0.01 if compiler else other > 0.05


def test_an_operator_that_needs_float_is_one_line(tmp_path: Path) -> None:
    proto = attention_tiny.quantised(load_target("rk3588"))  # attention and last convolutions in float
    log = tmp_path / "made.log"
    with pytest.raises(QuantizeError, match=r"Conv '\w+' cannot run in F16 on \S*rv1106, nor in INT8 here") as said:
        compile_rockchip(proto.SerializeToString(), TARGET, log, lambda items, _: items)
    assert "\n" not in str(said.value) and log.exists()
