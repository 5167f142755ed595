# SPDX-License-Identifier: Apache-2.0
"""Misuse through the C ABI: every scenario of tests/native/abuse*.c on the release build. tests/sanitize.py runs the
same ones under ASan, UBSan and TSan."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BUILD
from sanitize import Scenario, dummy_package, run, scenarios

ABUSE = BUILD / "testing" / "yoloq_abuse"
SCENARIOS = scenarios(ABUSE) if ABUSE.exists() else []


def test_scenarios_are_there() -> None:
    assert len(SCENARIOS) >= 28, f"{ABUSE} is missing or lists too few: run python3 build.py build"
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, tmp_path: Path) -> None:
    outcome = run([ABUSE, scenario.name, dummy_package(tmp_path, scenario)], {})
    assert not outcome.failure, outcome.failure


def test_a_failing_scenario_is_seen(tmp_path: Path) -> None:
    """The scenario "lost" on a device that is never lost must fail, with the line that says why."""
    package = dummy_package(tmp_path, Scenario("lost"))
    outcome = run([ABUSE, "lost", package], {})
    assert "FAILED" in outcome.failure and "abuse_device.c" in outcome.failure
