# SPDX-License-Identifier: Apache-2.0
"""Misuse through the C ABI: every scenario of tests/native on the release build.

tests/sanitize.py runs the same ones under ASan, UBSan and TSan.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import BUILD
from sanitize import EXECUTABLES, Scenario, doubles, run, scenario_package, scenarios

TESTING = BUILD / "testing"
ABUSE = TESTING / "yoloq_abuse"
FILES = [TESTING / name for name in EXECUTABLES]
RUNS = [(file, scenario) for file in FILES if file.exists() for scenario in scenarios(file)]


def test_scenarios_are_there() -> None:
    assert all(file.exists() for file in FILES), f"one of {FILES} is missing: run python3 build.py build"
    assert len(RUNS) >= 85, "an executable lists too few"
    assert len({scenario.name for _, scenario in RUNS}) == len(RUNS)


@pytest.mark.parametrize(("executable", "scenario"), RUNS, ids=[scenario.name for _, scenario in RUNS])
def test_scenario(executable: Path, scenario: Scenario, tmp_path: Path) -> None:
    outcome = run([executable, scenario.name, scenario_package(tmp_path, scenario)], doubles(TESTING))
    assert not outcome.failure, outcome.failure


def test_a_failing_scenario_is_seen(tmp_path: Path) -> None:
    """The scenario "lost" on a device that is never lost must fail, with the line that says why."""
    package = scenario_package(tmp_path, Scenario("lost"))
    outcome = run([ABUSE, "lost", package], {})
    assert "FAILED" in outcome.failure and "abuse_device.c" in outcome.failure
