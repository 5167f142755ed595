# SPDX-License-Identifier: Apache-2.0
"""A warm detector allocates nothing: malloc, calloc, realloc and operator new of our own objects are redirected to a
counter at link time (tests/native/counted.cmake). The engine's allocations are told apart and printed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import ascend_double
import rockchip
import sophgo
from sanitize import doubles
from tiny_model import write_tiny_package

COUNT = "counted/yoloq_count"
WARM = ("gray8", "bgr24", "rgb24", "bgra32", "rgba32", "nv12", "batch", "refused", "stats")


@dataclass(frozen=True)
class Count:
    """Allocations in `calls` calls: by our libraries, and by the whole process."""

    calls: int
    ours: int
    everyone: int


def measure(build_dir: Path, backend: str, package: Path) -> dict[str, Count]:
    executable = build_dir / COUNT
    assert executable.exists(), f"{executable} is missing: run python3 build.py build"
    command = [executable, build_dir / "counted", backend, package]
    environment = os.environ | doubles(build_dir / "testing")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {name: Count(*map(int, numbers)) for name, *numbers in rows}


@pytest.fixture(scope="module", params=["dummy", "cpu", "sophgo", "rockchip", "ascend"])
def counts(
    request: pytest.FixtureRequest, build_dir: Path, dummy_package: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Count]:
    folder = tmp_path_factory.mktemp("tiny") / "tiny.yoloq"
    package = dummy_package
    if request.param == "cpu":
        package = write_tiny_package(folder)
    if request.param == "sophgo":  # over the double
        package = sophgo.package(folder, sophgo.container("BM1688"))
    if request.param == "rockchip":
        package = rockchip.package(folder, rockchip.container())
    if request.param == "ascend":
        package = ascend_double.package(folder, (1, 2))
    found = measure(build_dir, request.param, package)
    for name, count in found.items():
        others = (count.everyone - count.ours) / count.calls
        print(f"{request.param:6} {name:8} per call: ours {count.ours / count.calls:g}, engine {others:g}")
    return found


def test_a_warm_call_allocates_nothing(counts: dict[str, Count]) -> None:
    assert {name: counts[name].ours for name in WARM} == dict.fromkeys(WARM, 0)
    assert all(counts[name].calls == 50 for name in WARM)


def test_the_counter_can_fail(counts: dict[str, Count]) -> None:
    """Creating a detector allocates, by both counters."""
    assert counts["create"].ours > 50
    assert counts["create"].everyone >= counts["create"].ours


def test_the_dummy_has_no_engine(build_dir: Path, dummy_package: Path) -> None:
    """Nobody else in the process allocates: what the counter at the allocators' own end sees is ours, and 0."""
    found = measure(build_dir, "dummy", dummy_package)
    assert {name: found[name].everyone for name in WARM} == dict.fromkeys(WARM, 0)
