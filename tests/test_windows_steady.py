# SPDX-License-Identifier: Apache-2.0
"""Memory, handles and threads of a Windows process stay flat over calls, detectors and callers' threads."""

from __future__ import annotations

from pathlib import Path

import pytest

import wine
from soak import Sample, growth
from tiny_model import write_tiny_package

TIMEOUT_S = 300


def soak(host: Path, kind: str, backend: str, package: Path, count: int) -> list[Sample]:
    """Samples of tests/native/windows_soak.c; the handles are counted as files."""
    printed = wine.must(host / "yoloq_soak.exe", kind, backend, package, str(count), timeout=TIMEOUT_S)
    rows = [[int(word) for word in line.split()] for line in printed.splitlines()]
    return [Sample(done, kib / 1024, threads, handles) for done, kib, handles, threads in rows]


@pytest.fixture(scope="module")
def tiny_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_package(tmp_path_factory.mktemp("tiny") / "tiny.yoloq")


@pytest.mark.parametrize(
    ("kind", "backend", "count", "mib"),
    [
        ("calls", "dummy", 4000, 0.5),
        ("calls", "cpu", 2000, 2.0),
        ("lives", "dummy", 400, 1.0),
        ("lives", "cpu", 40, 8.0),
        ("threads", "dummy", 4000, 0.5),
    ],
)
def test_nothing_grows(
    windows_host: Path, dummy_package: Path, tiny_package: Path, kind: str, backend: str, count: int, mib: float
) -> None:
    package = dummy_package if backend == "dummy" else tiny_package
    samples = soak(windows_host, kind, backend, package, count)
    grown = growth(samples)
    assert len(samples) == 40 and min(sample.files for sample in samples) > 5
    # One handle: Windows and Wine open some of their own when they like.
    assert grown.resident_mib <= mib and grown.threads <= 0 and grown.files <= 1, f"{grown} in {samples}"


def test_a_forgotten_detector_is_seen(windows_host: Path, dummy_package: Path) -> None:
    grown = growth(soak(windows_host, "leak", "dummy", dummy_package, 80))
    assert grown.resident_mib > 4 and grown.threads >= 30 and grown.files >= 80
