# SPDX-License-Identifier: Apache-2.0
"""Turns, figures and energy of the latency measurement."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tiny_model import write_tiny_package
from yoloq_quantize.compare.candidates import Candidate
from yoloq_quantize.compare.energy import EnergyCounter
from yoloq_quantize.compare.latency import PICTURES, measure_costs
from yoloq_quantize.dataset import load_pictures
from yoloq_quantize.errors import QuantizeError


def zone(root: Path, name: str, title: str, energy: int, limit: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for file, value in (("name", title), ("energy_uj", energy), ("max_energy_range_uj", limit)):
        (folder / file).write_text(f"{value}\n")
    return folder


def test_energy_sums_packages_and_survives_the_wrap(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 100)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    zone(tmp_path, "intel-rapl:2", "psys", 0)
    counter = EnergyCounter.open(tmp_path)
    assert counter.joules() == 0
    (first / "energy_uj").write_text("100000\n")  # past its range of 1 J
    (second / "energy_uj").write_text("300100\n")
    (core / "energy_uj").write_text("999\n")  # part of package-0
    assert counter.joules() == pytest.approx(0.2 + 0.3)
    (first / "energy_uj").write_text("150000\n")
    assert counter.joules() == pytest.approx(0.55)


def test_no_counter_no_figure(tmp_path: Path) -> None:
    assert EnergyCounter.open(tmp_path / "nowhere") is None
    broken = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (broken / "energy_uj").unlink()
    assert EnergyCounter.open(tmp_path) is None


def test_candidates_take_turns_and_their_figures_hang_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(PICTURES + 2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (96, 96, 3), np.uint8))
    candidates = []
    for name, width in (("narrow", 4), ("wide", 96)):
        path = write_tiny_package(tmp_path / f"{name}.yoloq", 320, width)
        candidates.append(Candidate(name, name, "yoloq", path, True, True))
    turns: list[int] = []
    counted = lambda items, _: (turns.append(i) or i for i in items)  # noqa: E731
    costs = measure_costs(candidates, None, load_pictures(tmp_path), 4, counted)
    assert len(turns) == 4
    for cost in costs.values():
        assert cost.measurements == 4 * PICTURES
        assert 0 < cost.engine_p50_ms < cost.p50_ms <= cost.p99_ms
        assert cost.cpu_ms > 0
        assert cost.cores == pytest.approx(cost.cpu_ms / cost.p50_ms, rel=2)
        assert cost.device == {}  # the CPU's backend tells nothing about its health
    assert costs["wide"].engine_p50_ms > costs["narrow"].engine_p50_ms
    assert costs["wide"].cpu_ms > costs["narrow"].cpu_ms
    with pytest.raises(QuantizeError, match="0 rounds"):
        measure_costs(candidates, None, load_pictures(tmp_path), 0, lambda items, _: items)
