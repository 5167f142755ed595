# SPDX-License-Identifier: Apache-2.0
"""`yoloq sensitivity` on the demo model's files, on few small pictures; its table, JSON, plot and errors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from mixed_subject import HURT, make_plan, make_subject
from yoloq_quantize.mixed import cli, prepare
from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.plot import sensitivity_chart
from yoloq_quantize.mixed.sensitivity import Sensitivity, find_units, measure_sensitivity


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Sensitivity:
    subject = make_subject(tmp_path_factory.mktemp("sensitivity_cli"))
    plan = make_plan(subject)
    units = [unit for unit in find_units(subject, plan) if unit.kind != "layer" or unit.name in (HURT, "stem")]
    return measure_sensitivity(subject, plan, Objective(subject), units=units)


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers())
    return parser.parse_args(["sensitivity", *words])


def test_the_table_shows_the_worst_first(result: Sensitivity) -> None:
    lines = cli.format_sensitivity(result).splitlines()
    first = lines.index("layers") + 2
    assert lines[first].startswith(HURT) and lines[first + 1].startswith("stem")
    assert any(line.startswith("scale of concat") for line in lines)
    assert "branches of the head" in lines
    row = next(row for row in result.rows if row.unit.name == HURT)
    assert f"{row.only:.5f}" in lines[first] and f"{row.sqnr_db:.1f}" in lines[first]


def test_json_has_every_figure(result: Sensitivity) -> None:
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["whole"] == result.whole and document["pictures"] == result.pictures
    assert [row["unit"]["name"] for row in document["rows"]] == [row.unit.name for row in result.rows]


def test_the_plot_is_a_picture_and_the_same_twice(result: Sensitivity) -> None:
    picture = sensitivity_chart(result)
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    assert sensitivity_chart(result) == picture


@pytest.mark.parametrize("words", [("--pictures", "0"), ("--pictures", "x"), ("--size", "big"), ()])
def test_wrong_words_are_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse("m.onnx", *(("--calib", "c") if words else ()), *words)
    assert stopped.value.code == 2
    assert "error" in capsys.readouterr().err


def test_the_command_runs_on_a_model_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo model at a small size would need another export: so its own, two pictures, and two units."""
    from yoloq_quantize.mixed import sensitivity

    found = sensitivity.find_units
    monkeypatch.setattr(sensitivity, "find_units", lambda *given: found(*given)[:2])
    pictures = sorted((root / "datasets/fasteners/images/calib").iterdir())[:2]
    for picture in pictures:
        (tmp_path / "calib").mkdir(exist_ok=True)
        (tmp_path / "calib" / picture.name).write_bytes(picture.read_bytes())
    model = root / "models/fasteners-yolo26n-e2e.onnx"
    out, plot = tmp_path / "s.json", tmp_path / "s.png"
    args = parse(str(model), "--calib", str(tmp_path / "calib"), "--json", str(out), "--plot", str(plot))
    assert args.run(args) == 0
    assert "error of the whole in INT8" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert document["pictures"] == 2 and len(document["rows"]) == 2 and document["whole"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calib", "s.json", "s.png"]


def test_the_source_takes_what_the_command_offers() -> None:
    args = parse("m.onnx", "--calib", "c", "--color", "BGR", "--align", "topleft", "--input-scale", "1")
    source = prepare.Source(**{name: getattr(args, name) for name in prepare.Source.__dataclass_fields__})
    assert (source.color, source.align, source.input_scale, source.size) == ("BGR", "topleft", 1.0, None)
