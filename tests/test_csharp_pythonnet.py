# SPDX-License-Identifier: Apache-2.0
"""The C# assembly driven from Python by pythonnet on .NET 8, each time in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

import yoloq
from conftest import BUILD, ROOT
from csharp import REGION, dotnet

Run = Callable[[str], Any]
TIME_LIMIT_S = 300


@pytest.fixture(scope="module")
def pixels() -> Any:
    return cv2.imread(str(sorted((ROOT / "datasets/fasteners/images/val").glob("*.jpg"))[0]))


@pytest.fixture(scope="module")
def run(
    pixels: Any,
    demo_package: Path,
    make_dummy_package: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """run(what) -> what tests/pythonnet_host.py answers."""
    folder = tmp_path_factory.mktemp("pythonnet")
    (folder / "pixels").write_bytes(pixels.tobytes())
    damaged = make_dummy_package("damaged")
    (damaged / "model.bin").write_bytes(b"damaged")
    sdk = {"chip": "ascend310p", "backend": "cpu", "sdk": "CANN", "sdk_version": "8.0", "compiler": "the tests"}
    dotnet.write_runtime_config(folder / "host.dll")
    given = {
        "dotnet": dotnet.runtime(),
        "config": folder / "host.runtimeconfig.json",
        "assembly": dotnet.library(dotnet.NETSTANDARD),
        "demo": demo_package,
        "slow": make_dummy_package("slow", options={"dummy.delay_ms": "1000"}),
        "damaged": damaged,
        "ascend": make_dummy_package("ascend", target=sdk),
        "pixels": folder / "pixels",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "region": REGION,
    }
    file = folder / "given.json"
    file.write_text(json.dumps(given, default=str), encoding="utf-8")

    def ask(what: str) -> Any:
        command = [sys.executable, str(ROOT / "tests" / "pythonnet_host.py"), what, str(file)]
        environment = {**os.environ, "YOLOQ_LIBRARY": str(BUILD / "lib" / "libyoloq.so")}
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return ask


def rows(result: yoloq.Result) -> list[list[float]]:
    return [[d.x1, d.y1, d.x2, d.y2, d.score, d.class_id] for d in result.detections]


def test_detections_are_those_of_the_python_binding(run: Run, pixels: Any, demo_package: Path) -> None:
    with yoloq.Detector(demo_package) as detector:
        whole, region = rows(detector.detect(pixels)), rows(detector.detect(pixels, roi=REGION))
        classes = detector.class_names
    assert len(whole) > 5 and region != whole
    found = run("detections")
    assert found["view"] == found["array"] == found["async"] == whole
    assert found["region"] == region and found["batch"] == [whole, region]
    assert found["classes"] == list(classes) and found["pictures"] == 6
    assert found["library"] == str(BUILD / "lib" / "libyoloq.so")


def test_threads_share_a_detector(run: Run, pixels: Any, demo_package: Path) -> None:
    with yoloq.Detector(demo_package) as detector:
        whole = rows(detector.detect(pixels))
    assert run("threads") == {"different": 1, "first": whole}


def test_a_detection_lets_other_python_threads_run(run: Run) -> None:
    found = run("freedom")
    assert found["turns"] >= 5 and found["found"] > 0  # some 90 on an idle machine; one, if it held Python's lock


def test_errors_arrive_as_typed_exceptions(run: Run) -> None:
    caught = run("errors")
    expected = {
        "absent": ("NotFoundException", "NotFound", "absent.yoloq"),
        "damaged": ("PackageException", "Package", "model.bin"),
        "chip": ("PackageException", "Package", "ascend310p"),
        "short": ("InvalidArgumentException", "InvalidArgument", "9"),
        "null": ("InvalidArgumentException", "InvalidArgument", ""),
        "disposed": ("ObjectDisposedException", "", "Detector"),
        "timeout": ("DetectionTimeoutException", "Timeout", "50 ms"),
    }
    assert caught.keys() == expected.keys()
    for name, (kind, status, words) in expected.items():
        assert caught[name][:2] == [kind, status] and words in caught[name][2], caught[name]


def test_log_events_reach_a_handler_in_python(run: Run) -> None:
    lines = run("log")
    assert any("fasteners" in line for line in lines), lines
