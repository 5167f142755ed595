# SPDX-License-Identifier: Apache-2.0
"""What a report compares, how it is made in a process of its own, and NNCF where it is and is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from tiny_model import write_tiny_package
from yoloq_quantize.compare.candidates import Candidate, Request, list_candidates, open_candidate
from yoloq_quantize.compare.make import make, peak_memory_mb
from yoloq_quantize.dataset import read_image
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.peers.nncf_peer import nncf_version, quantize_nncf
from yoloq_quantize.reference import ReferenceDetector

MODEL = "models/fasteners-yolo26n-e2e.onnx"


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """An interpreter without any installed package."""
    path = tmp_path / "bare-python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_rows_and_their_order(root: Path, tmp_path: Path) -> None:
    packages = (write_tiny_package(tmp_path / "mine.yoloq", 64),)
    request = Request(root / MODEL, tmp_path, ("fast", "best"), packages, ("nncf", "ort-conv"))
    rows = list_candidates(request, tmp_path)
    assert [row.key for row in rows] == [
        "source", "float32", "nncf", "ort-conv", "recipe-fast", "recipe-best", "package-mine",
    ]  # fmt: skip
    assert [row.int8 for row in rows] == [False, False, True, True, True, True, True]
    assert [row.ours for row in rows] == [False, True, False, False, True, True, True]
    assert [row.job["options"]["recipe"] for row in rows[4:6]] == ["fast", "best"]
    assert rows[0].job is None and rows[6].job is None


def test_bad_requests_are_refused(root: Path, tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "mine.yoloq", 64)
    for request, words in (
        (Request(root / MODEL, None, ("default",)), "--calib"),
        (Request(root / MODEL, tmp_path, peers=("tensorrt",)), "peer 'tensorrt' is not known"),
        (Request(root / MODEL, tmp_path, ("fast", "fast")), "'recipe-fast' is there twice"),
        (Request(None, None, packages=(package,)), "nothing to compare"),
        (Request(None, None, packages=(tmp_path,)), "no manifest.json"),
    ):
        with pytest.raises(QuantizeError, match=words):
            list_candidates(request, tmp_path)


def test_making_has_its_own_memory_and_its_errors_come_through(root: Path, tmp_path: Path) -> None:
    ballast = np.ones(400_000_000 // 8)  # of this process; must not be counted
    job = {"kind": "recipe", "model": str(root / MODEL), "calib": None, "out": str(tmp_path / "f.yoloq")}
    made = make({**job, "options": {"precision": "float32"}})
    assert (tmp_path / "f.yoloq/manifest.json").is_file()
    assert 50 < made.peak_mb < peak_memory_mb()
    assert made.seconds > 0.2 and made.steps == ()
    with pytest.raises(QuantizeError, match=r"no-such\.onnx"):
        make({**job, "model": str(tmp_path / "no-such.onnx"), "options": {"precision": "float32"}})
    assert ballast.sum() > 0


def test_nncf_that_is_not_there_is_told(root: Path, tmp_path: Path, bare_python: str) -> None:
    assert nncf_version(bare_python) is None
    with pytest.raises(QuantizeError, match="cannot be run"):
        nncf_version(str(tmp_path / "no-python"))
    picture = root / "datasets/fasteners/images/calib"
    pictures = sorted(picture.iterdir())[:1]
    with pytest.raises(QuantizeError, match="NNCF failed: ModuleNotFoundError"):
        quantize_nncf(root / MODEL, pictures, tmp_path / "out.xml", bare_python)
    assert [path.name for path in tmp_path.iterdir()] == [os.path.basename(bare_python)]


@pytest.mark.parametrize("kind", ["e2e", "dense"])
def test_openvino_models_are_read_like_their_source(root: Path, tmp_path: Path, kind: str) -> None:
    """The way NNCF's model runs, with a model that nothing was done to."""
    source = root / f"models/fasteners-yolo26n-{kind}.onnx"
    ov.save_model(ov.convert_model(source), tmp_path / "m.xml", compress_to_fp16=False)
    candidate = Candidate("nncf", "NNCF", "OpenVINO", tmp_path / "m.xml", False, True)
    image = read_image(sorted((root / "datasets/fasteners/images/val").iterdir())[0])
    ours, theirs = (
        open_candidate(candidate, source, score_threshold=0.25),
        ReferenceDetector(source, score_threshold=0.25, box_voting=True),
    )
    found, expected = ours.detect(image), theirs.detect(image)
    assert len(expected) > 3 and ours.engine_ms > 0
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
