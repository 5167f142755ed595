# SPDX-License-Identifier: Apache-2.0
"""Misuse through the C ABI on Windows: every scenario of tests/native against the real DLLs, in Wine."""

from __future__ import annotations

from pathlib import Path

import pytest

import wine
from sanitize import Scenario, scenario_package
from test_abuse import RUNS

EXECUTABLES = ("yoloq_abuse", "yoloq_parts")  # the chips' backends are for Linux
# The same as on Linux, whose executables list them.
NAMES = [(executable.name, scenario) for executable, scenario in RUNS if executable.name in EXECUTABLES]


def test_both_systems_know_the_same_scenarios(windows_host: Path) -> None:
    listed = [line.split("\t")[0] for name in EXECUTABLES
              for line in wine.must(windows_host / f"{name}.exe").splitlines()]  # fmt: skip
    assert listed == [scenario.name for _, scenario in NAMES] and len(listed) >= 34


@pytest.mark.parametrize(("executable", "scenario"), NAMES, ids=[scenario.name for _, scenario in NAMES])
def test_scenario(windows_host: Path, executable: str, scenario: Scenario, tmp_path: Path) -> None:
    wine.must(windows_host / f"{executable}.exe", scenario.name, scenario_package(tmp_path, scenario))


def test_a_failing_scenario_is_seen(windows_host: Path, tmp_path: Path) -> None:
    """The scenario "lost" on a device that is never lost must fail, with the line that says why."""
    done = wine.run(windows_host / "yoloq_abuse.exe", "lost", scenario_package(tmp_path, Scenario("lost")))
    assert done.returncode == 1 and "FAILED" in done.stderr and "abuse_device.c" in done.stderr
