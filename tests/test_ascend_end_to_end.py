# SPDX-License-Identifier: Apache-2.0
"""From a trained model to detections: quantised, compiled by the double of ATC, run by the C library and its Ascend
module on the double of the runtime, whose models the interpreter executes. No part is left out, and none is a chip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ascend_double
from ascend import atc
from ascend.interpreter import Mode
from ascend.om import Executor
from ascend_proof import Session
from conftest import ROOT
from flow_case import make_world
from yoloq_quantize import quantize
from yoloq_quantize.compile.compiled import Order
from yoloq_quantize.dataset import read_image
from yoloq_quantize.evaluate import open_detector
from yoloq_quantize.flow.compilers import compile_package

# Every picture alone, then all at once: boxes, scores and classes, and what the model was for.
PROGRAM = """
import json, sys, yoloq
from yoloq_quantize.dataset import read_image
package, *files = sys.argv[1:]
pictures = [read_image(file) for file in files]
with yoloq.Detector(package, score_threshold=0.05, timeout_ms=100_000) as detector:
    alone = [detector.detect(picture, format="BGR") for picture in pictures]
    together = detector.detect_batch(pictures, format="BGR")
    said = [[r.boxes.tolist(), r.scores.tolist(), r.class_ids.tolist()] for r in [*alone, *together]]
    print(json.dumps({"found": said, "batch": detector.info.batch, "backend": detector.info.backend}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same detector as the CPU runs its quantised graph, and compiled for 1 and 4 pictures."""
    world = make_world(tmp_path_factory.mktemp("ascend") / "world").folder
    host, chip = world / "host.yoloq", world / "chip.yoloq"
    quantize(
        world / "tiny.onnx", world / "calib", host, "ascend310p", recipe="fast", data=world / "data.yaml",
        measure=False, compiled=False,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", atc.path_with(atc.install(world / "cann")))
        order = Order(ascend_double.SOC, (1, 4))
        compile_package(host, "ascend310p", chip, world / "log", lambda items, _: items, order=order)
    return {"host": host, "chip": chip, "pictures": world / "images" / "val"}


def environment() -> dict[str, str]:
    command = f'"{sys.executable}" "{ROOT / "tests" / "ascend" / "serve.py"}"'
    return ascend_double.environment(ascend_double.runtime()) | {
        "YOLOQ_ASCEND_EXECUTOR": command,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def on_library(package: Path, files: list[Path]) -> dict:
    command = [sys.executable, "-c", PROGRAM, package, *files]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_library_finds_what_the_interpreter_finds(made: dict[str, Path]) -> None:
    """And nearly what the CPU finds, whose engine rounds otherwise."""
    files = sorted(made["pictures"].glob("*.png"))
    assert len(files) == 4
    said = on_library(made["chip"], files)
    assert (said["backend"], said["batch"]) == ("ascend", 4)
    detector = open_detector(made["host"], engine="reference", score_threshold=0.05)
    near = [detector.detect(read_image(file)) for file in files]
    detector._session = Session(Executor.load((made["chip"] / "model.om").read_bytes(), Mode()))
    total = 0
    for index, file in enumerate(files):
        wanted = detector.detect(read_image(file))
        total += len(wanted.scores)
        for boxes, scores, ids in (said["found"][index], said["found"][4 + index]):
            assert ids == wanted.class_ids.tolist()
            np.testing.assert_allclose(scores, wanted.scores, atol=1e-4)
            np.testing.assert_allclose(boxes, wanted.boxes, atol=0.02)
        size = min(len(wanted.scores), len(near[index].scores))
        assert max(len(wanted.scores), len(near[index].scores)) - size <= 1
        np.testing.assert_allclose(wanted.scores[:size], near[index].scores[:size], atol=0.02)
    assert total > 10


def test_another_chip_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", atc.path_with(atc.install(tmp_path / "cann")))
        out = tmp_path / "other.yoloq"
        compile_package(
            made["host"], "ascend310p", out, tmp_path / "log", lambda items, _: items, order=Order("Ascend310P1")
        )
    files = sorted(made["pictures"].glob("*.png"))[:1]
    command = [sys.executable, "-m", "yoloq", "detect", out, *files, "--json", tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 1
    assert "Ascend310P1" in done.stderr and ascend_double.SOC in done.stderr, done.stderr
