# SPDX-License-Identifier: Apache-2.0
"""`yoloq report` on a handful of pictures: its figures against other ways to get them, its page, its second drawing."""

from __future__ import annotations

import argparse
import io
import json
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from test_demo_report import Page
from yoloq_quantize.bootstrap import paired_bootstrap
from yoloq_quantize.compare import plots
from yoloq_quantize.compare.cli import register
from yoloq_quantize.compare.document import read_document
from yoloq_quantize.compare.measure import summarize_drift
from yoloq_quantize.compare.page import load_texts, write_page
from yoloq_quantize.compare.sensitivity import read_sensitivity
from yoloq_quantize.dataset import load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import run_model
from yoloq_quantize.metrics import measure_accuracy
from yoloq_quantize.plots import Drift

PICTURES = 4


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(["report", *map(str, arguments)])
    return args.run(args)


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on four pictures, with a class of a Chinese name, a package, and an NNCF that is not installed."""
    folder = tmp_path_factory.mktemp("report")
    source = root / "datasets/fasteners"
    (folder / "calib").mkdir()
    for path in sorted((source / "images/calib").iterdir())[:4]:
        (folder / "calib" / path.name).write_bytes(path.read_bytes())
    pictures = sorted((source / "images/val").iterdir())[:PICTURES]
    (folder / "val.txt").write_text("".join(f"{path}\n" for path in pictures))
    (folder / "data.yaml").write_text("val: val.txt\nnames: [bolt, nut, washer, screw, 划痕]\n", encoding="utf-8")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    unit = {"name": "/model.0/conv/Conv", "kind": "layer", "nodes": []}
    rows = [{"unit": unit, "only": 0.2, "gain": None, "macs": 0.1, "sqnr_db": 30.0}]
    (folder / "s.json").write_text(json.dumps({"rows": rows, "whole": 0.5, "pictures": 3}))
    given = ["--calib", folder / "calib", "--data", folder / "data.yaml", "--recipe", "fast", "--rounds", "1"]
    given += ["--peers", "ort-conv,nncf", "--nncf-python", python, "--sensitivity", folder / "s.json"]
    assert run(folder / "out", "--model", root / "models/fasteners-yolo26n-e2e.onnx", *given) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def document(out: Path) -> dict:
    return read_document(out)


def test_rows_are_those_asked_for_and_absence_is_told(document: dict) -> None:
    assert [row["key"] for row in document["rows"]] == ["source", "float32", "ort-conv", "nncf", "recipe-fast"]
    absent = {row["key"]: row["absent"] for row in document["rows"] if row["absent"]}
    assert list(absent) == ["nncf"] and "pip install nncf" in absent["nncf"]
    assert document["primary"] == "recipe-fast"
    assert (document["pictures"], document["calibration_pictures"]) == (PICTURES, 4)


def test_figures_are_those_of_the_other_commands(out: Path, document: dict, root: Path) -> None:
    data = load_dataset(out.parent / "data.yaml")
    before = run_model(root / "models/fasteners-yolo26n-e2e.onnx", data).detections
    after = run_model(out / "models/fast.yoloq", data).detections
    rows = {row["key"]: row for row in document["rows"]}
    first, ours = rows["source"], rows["recipe-fast"]
    assert first["accuracy"] == json.loads(json.dumps(measure_accuracy(data, before).to_json()))
    assert ours["accuracy"] == json.loads(json.dumps(measure_accuracy(data, after).to_json()))
    assert ours["loss"] == json.loads(json.dumps(paired_bootstrap(data, before, after).to_json()))
    assert rows["float32"]["loss"]["map50_95"]["estimate"] == pytest.approx(0, abs=0.3)
    size = sum(path.stat().st_size for path in (out / "models/fast.yoloq").iterdir())
    manifest = json.loads((out / "models/fast.yoloq/manifest.json").read_text(encoding="utf-8"))
    assert (ours["size_mb"], ours["int8_macs"]) == (size / 1e6, manifest["quantization"]["int8_macs"])
    assert rows["ort-conv"]["int8_macs"] == pytest.approx(1)
    assert first["int8_macs"] == 0
    assert ours["seconds"] > 0 and ours["peak_mb"] > 100 and first["seconds"] is None
    assert [step["step"] for step in ours["steps"]] == ["prescale", "calibrate"]
    assert sum(ours["drift"]["box"]["counts"]) == ours["drift"]["kept"] > 10
    assert all(row["cost"]["measurements"] == PICTURES for row in document["rows"] if row["cost"])


def test_layers_tell_float_from_int8(document: dict) -> None:
    layers = document["layers"]
    values, int8 = layers["sqnr"]["recipe-fast"], layers["int8"]["recipe-fast"]
    assert len(layers["names"]) == len(values) == len(int8) == 102
    assert 0 < sum(not stored for stored in int8) < 30
    known = [value for value in values if value is not None]
    assert len(known) > 95
    assert 10 < min(known) < max(known) < 100
    assert [layer["db"] for layer in plots.lowest_layers(document)] == sorted(known)[:12]


def test_page_stands_alone_and_tells_the_figures(out: Path, document: dict) -> None:
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.addresses) == 6 + len(document["worst"])
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert sorted(path.stem for path in (out / "plots").iterdir()) == [
        "classes", "drift", "layers", "loss", "sensitivity", "speed",
    ]  # fmt: skip
    for row in document["rows"]:
        assert row["name"] in page.text
        if row["accuracy"]:
            assert f"{row['accuracy']['map50_95']:.2f}" in page.text
            assert f"{row['cost']['p50_ms']:.1f}" in page.text
    assert "not installed: pip install nncf" in page.text
    assert "划痕" in page.text
    assert [path for path in out.rglob("*") if ".part" in path.name] == []


def test_it_is_drawn_again_from_json_alone_in_chinese_too(out: Path, capsys: pytest.CaptureFixture) -> None:
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert run(out) == 0
    assert (out / "report.html").read_bytes() == before
    assert "INT8, yoloq fast" in capsys.readouterr().out
    assert run(out, "--lang", "zh", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == read_document(out)
    assert "量化报告" in (out / "report.html").read_text(encoding="utf-8")
    assert run(out) == 0


def test_chinese_labels_have_glyphs(document: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        for lang in ("en", "zh"):
            image = Image.open(io.BytesIO(plots.class_chart(document, load_texts(lang)["plot"])))
            assert image.width > 900


def test_languages_have_the_same_texts() -> None:
    def keys(table: dict, prefix: str = "") -> set[str]:
        return {name for key, value in table.items() for name in _names(prefix + key, value)}

    def _names(key: str, value: object) -> set[str]:
        return keys(value, key + ".") if isinstance(value, dict) else {key}

    english, chinese = load_texts("en"), load_texts("zh")
    assert keys(english) == keys(chinese)
    fields = lambda text: sorted(part.split("}")[0] for part in text.split("{")[1:])  # noqa: E731
    for key in keys(english):
        table, _, name = key.rpartition(".")
        a, b = (texts[table][name] if table else texts[name] for texts in (english, chinese))
        assert fields(a) == fields(b), key


def test_bad_input_is_one_line(tmp_path: Path, document: dict, root: Path) -> None:
    with pytest.raises(QuantizeError, match=r"no report\.json in it"):
        run(tmp_path)
    (tmp_path / "report.json").write_text('{"format": 99}')
    with pytest.raises(QuantizeError, match="not a report of format"):
        run(tmp_path)
    with pytest.raises(QuantizeError, match="--data"):
        run(tmp_path, "--model", root / "models/fasteners-yolo26n-e2e.onnx")
    with pytest.raises(QuantizeError, match=r"worst-1\.jpg: cannot be read"):
        write_page({**document, "worst": [{**document["worst"][0]}]}, tmp_path)
    (tmp_path / "s.json").write_text('{"rows": [{"only": 1}]}')
    with pytest.raises(QuantizeError, match="yoloq sensitivity"):
        read_sensitivity(tmp_path / "s.json")


def test_histograms_hold_every_object() -> None:
    before, after = np.array([0.5, 0.6, 0.7]), np.array([0.5, 0.9, 0.69])
    drift = summarize_drift(Drift(before, after, np.array([0.0, 9.0, 0.5]), 2), 0.1, 1.0)
    assert (sum(drift.score.counts), drift.score.counts[-1], sum(drift.box.counts), drift.box.counts[-1]) == (
        3,
        1,
        3,
        1,
    )
    assert (drift.kept, drift.lost) == (3, 2)
    assert drift.score.median == pytest.approx(0.01)
    nothing = summarize_drift(Drift(np.zeros(0), np.zeros(0), np.zeros(0), 0), 0.1, 1.0)
    assert (sum(nothing.box.counts), nothing.box.median) == (0, None)


def test_templates_name_their_licence(root: Path) -> None:
    for path in (root / "tools/quantize/yoloq_quantize/templates").iterdir():
        assert "SPDX-License-Identifier: Apache-2.0" in path.read_text(encoding="utf-8")[:100]
        if path.suffix == ".toml":
            assert tomllib.loads(path.read_text(encoding="utf-8"))["title"]
