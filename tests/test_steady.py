# SPDX-License-Identifier: Apache-2.0
"""Memory, threads and file descriptors stay flat: the short form of `build.py prove soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak import Growth, Sample, growth, soak
from tiny_model import write_tiny_package


@pytest.fixture(scope="module")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_package(tmp_path_factory.mktemp("tiny") / "tiny.yoloq")


@pytest.mark.parametrize(
    ("kind", "backend", "count", "mib"),
    [
        ("calls", "dummy", 5000, 0.5),
        ("calls", "cpu", 400, 2.0),
        ("lives", "dummy", 200, 2.0),
        ("lives", "cpu", 40, 8.0),
    ],
)
def test_nothing_grows(
    dummy_package: Path, tiny_package: Path, kind: str, backend: str, count: int, mib: float
) -> None:
    samples, _ = soak(kind, backend, dummy_package if backend == "dummy" else tiny_package, count)
    grown = growth(samples)
    assert len(samples) >= 20
    assert grown.resident_mib <= mib and grown.threads <= 0 and grown.files <= 0, f"{grown} in {samples}"


def test_a_forgotten_detector_is_seen(dummy_package: Path) -> None:
    samples, _ = soak("lives", "dummy", dummy_package, 80, leak=True)
    grown = growth(samples)
    assert grown.resident_mib > 4 and grown.threads >= 80


def test_growth_compares_warm_with_late() -> None:
    flat = [Sample(i, 50 + (i < 10) * i, 4, 9) for i in range(1, 41)]
    assert growth(flat) == Growth(0, 0, 0)
    leaking = [Sample(i, 50 + 0.1 * i, 4, 9 + (i > 35)) for i in range(1, 41)]
    assert growth(leaking) == Growth(2.0, 0, 1)
