# SPDX-License-Identifier: Apache-2.0
"""pipeline.yaml: what it may say, and errors that name the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.plan import read_plan

GOOD = """\
work: w
models:
  - name: parts
    model: m.onnx
    quantize: &options
      calib: calib
      size: 480x640
      input_scale: 1/255
      backend_options: {precision: f32}
    gate:
      data: data.yaml
      max_drop: {map50: 0.5}
      min: 40
    push:
      - folder: dest
        keep: 1
      - ssh: me@board:/srv/models
        port: 2222
        identity: key
        options: [StrictHostKeyChecking=accept-new]
        links: false
  - model: m.onnx
    quantize:
      <<: *options
      color: BGR
    gate: {data: calib, min_agreement: 95}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(b"never opened here")
    (tmp_path / "calib").mkdir()
    (tmp_path / "data.yaml").write_text("names: [a]\n")
    path = tmp_path / "pipeline.yaml"
    path.write_text(GOOD)
    return path


def test_everything_is_read(plan: Path, tmp_path: Path) -> None:
    read = read_plan(plan)
    parts, second = read.jobs
    assert read.work == tmp_path / "w"
    assert (parts.name, parts.model, parts.target) == ("parts", tmp_path / "m.onnx", "cpu")
    assert parts.options == {
        "name": "parts",
        "calib": tmp_path / "calib",
        "size": (480, 640),
        "input_scale": 1 / 255,
        "backend_options": {"precision": "f32"},
    }
    assert parts.gate.max_drop == {"map50": 0.5}
    assert parts.gate.least == {"map50": 40.0, "map50_95": 40.0}
    folder, board = parts.push
    assert (folder.host, folder.folder, folder.keep, folder.links) == (None, str(tmp_path / "dest"), 1, True)
    assert (board.host, board.folder, board.port, board.keep, board.links) == (
        "me@board",
        "/srv/models",
        2222,
        3,
        False,
    )
    assert board.identity == tmp_path / "key"
    assert second.name == "m"
    assert second.options["color"] == "BGR"
    assert second.options["size"] == (480, 640)  # by the merge key
    assert second.gate.agreement == 95


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("max_drop", "max_dorp", 12, "max_dorp: unknown key; known here: .*max_drop"),
        ("calib: calib\n      size", "calib: calib\n      sice", 7, "unknown key; known here: .*size"),
        ("480x640", "many", 7, "'many' is no size; write 640 or 480x640"),
        ("480x640", "1e9", 7, "is no size"),
        ("model: m.onnx\n    quantize: &", "model: n.onnx\n    quantize: &", 4, "no such file .*n.onnx"),
        ("calib: calib", "calib: nowhere", 6, "no such file or folder"),
        ("keep: 1", "keep: 1.5", 16, "expected a whole number, found 1.5"),
        ("keep: 1", "keep: -1", 16, "expected a number from 0 to 1000, found -1"),
        ("min: 40", "min: much", 13, "expected a number from 0 to 100, found 'much'"),
        ("min: 40", "min: true", 13, "expected a number from 0 to 100, found True"),
        ("me@board:/srv/models", "-oProxyCommand=x:/srv", 17, "is no destination; write user@host:/folder"),
        ("folder: dest", "fodler: dest", 15, "unknown key"),
        ("folder: dest", "folder: dest\n        port: 22", 16, "goes with ssh only"),
        ("links: false", "links: 0", 21, "expected true or false, found 0"),
        ("color: BGR", "color: BGR\n      color: RGB", 26, "'color' is there twice"),
        ("min_agreement: 95", "max_drop: 1", 26, "a folder has no labels; use min_agreement"),
        (", min_agreement: 95", "", 26, "no limit; add max_drop, min or min_agreement"),
        ("  - model: m.onnx", "  - name: parts\n    model: m.onnx", 22, "two models are called parts"),
        ("  - model: m.onnx", "  - targets: [gpu]\n    model: m.onnx", 22, "unknown target 'gpu'; known: .*cpu"),
        ("name: parts", "name: ../parts", 3, "'../parts' is no name"),
        ("work: w", "work: [w", 2, "not valid YAML"),
        ("work: w", "work: 7", 1, "expected text, found 7"),
    ],
)
def test_errors_name_the_line(plan: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    plan.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(QuantizeError, match=words) as caught:
        read_plan(plan)
    assert f"{plan}:{line}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: empty"),
        ("models: []\n", ":1: models: expected a list with at least one entry"),
        ("work: x\n", "'models' is missing"),
        ("- a\n", "expected keys and values, found a list"),
        ("models:\n  - &a {model: *a}\n", "contains itself|expected text"),
        ("models:\n  - model: m.onnx\n", "'calib' is missing"),
    ],
)
def test_other_broken_files(plan: Path, text: str, words: str) -> None:
    plan.write_text(text)
    with pytest.raises(QuantizeError, match=words):
        read_plan(plan)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match=r"no such file; give a pipeline.yaml"):
        read_plan(tmp_path / "none.yaml")
    with pytest.raises(QuantizeError, match="cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"models: \xff\xfe")
    with pytest.raises(QuantizeError, match="not UTF-8"):
        read_plan(tmp_path / "b.yaml")
