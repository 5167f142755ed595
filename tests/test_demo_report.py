# SPDX-License-Identifier: Apache-2.0
"""The demo on a handful of pictures, its report, and the drift and drawing behind them."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image

from yoloq_quantize import demo
from yoloq_quantize.dataset import load_dataset
from yoloq_quantize.metrics import Accuracy, ClassAccuracy, Detections, measure_agreement
from yoloq_quantize.plots import Bar, bar_chart, class_chart, mark_truth, measure_drift, score_chart, side_by_side
from yoloq_quantize.report import Row, Table, points, render_html, replacing, table_markdown, table_text

PICTURES = 4
ROWS = ["FP32, ONNX Runtime", "Generic INT8, ONNX Runtime", "Conv-only INT8, ONNX Runtime", "yoloq FP32", "yoloq INT8"]


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's output folder, made from four validation and four calibration pictures."""
    folder = tmp_path_factory.mktemp("demo")
    source = root / "datasets/fasteners"
    (folder / "calib").mkdir()
    for path in sorted((source / "images/calib").iterdir())[:4]:
        (folder / "calib" / path.name).write_bytes(path.read_bytes())
    pictures = sorted((source / "images/val").iterdir())[:PICTURES]
    (folder / "val.txt").write_text("".join(f"{path}\n" for path in pictures))
    data = folder / "data.yaml"
    data.write_text("val: val.txt\nnames: [bolt, nut, washer, screw, scratch]\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "LATENCY_REPEATS", 1)
        demo.run_demo(root / "models/fasteners-yolo26n-e2e.onnx", data, folder / "calib", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def document(out: Path) -> dict:
    return json.loads((out / "table.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Collects the text, the addresses and the unclosed tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.addresses, self.open = "", [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_table_has_every_engine_and_its_figures_hang_together(document: dict) -> None:
    rows = document["rows"]
    assert [row["name"] for row in rows] == ROWS
    float_map = rows[0]["accuracy"]["map50_95"]
    assert rows[0]["drop"] is None
    for row in rows[1:]:
        assert row["drop"] == pytest.approx(float_map - row["accuracy"]["map50_95"])
    for row in rows:
        assert row["accuracy"]["pictures"] == PICTURES
        assert 0 < row["latency_p50_ms"] <= row["latency_p90_ms"]
    assert document["latency_measurements"] == PICTURES
    # What the demo is there to show: our float path loses nothing, INT8 little, the generic way nearly everything.
    assert rows[3]["drop"] == pytest.approx(0, abs=0.5)
    assert rows[4]["drop"] < 5
    assert rows[1]["drop"] > 20
    assert rows[4]["size_mb"] < 0.4 * rows[0]["size_mb"]


def test_sizes_are_those_on_disk(out: Path, document: dict, root: Path) -> None:
    package = out / "models/fasteners-yolo26n-e2e-int8.yoloq"
    size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    assert document["rows"][4]["size_mb"] == size / 1e6
    assert document["rows"][0]["size_mb"] == (root / "models/fasteners-yolo26n-e2e.onnx").stat().st_size / 1e6


def test_report_stands_alone_and_tells_the_same_figures(out: Path, document: dict) -> None:
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert len(page.addresses) == 5 + demo.SIDE_BY_SIDE
    assert all(address.startswith("data:image/") for address in page.addresses)
    markdown = (out / "table.md").read_text(encoding="utf-8")
    for row in document["rows"]:
        for figure in (f"{row['accuracy']['map50_95']:.2f}", f"{row['latency_p50_ms']:.1f}", f"{row['size_mb']:.2f}"):
            assert figure in page.text
            assert figure in markdown
        assert row["name"] in page.text
    assert document["machine"]["cpu"] in page.text


def test_pictures_are_drawn(out: Path) -> None:
    drawn = sorted(path.name for path in (out / "pictures").iterdir())
    names = [f"{i:05}" for i in range(PICTURES)]
    pairs = [f"{name}-fp32-int8" for name in names[: demo.SIDE_BY_SIDE]]
    assert drawn == sorted(f"{name}.png" for name in [*names, *pairs, "00000-zh"])
    original = load_dataset(out.parent / "data.yaml").samples[0].read()[:, :, ::-1]
    english, chinese = (np.asarray(Image.open(out / f"pictures/{name}.png")) for name in ("00000", "00000-zh"))
    assert english.shape == original.shape
    assert 500 < (english != original).any(2).sum() < 0.5 * original[:, :, 0].size
    assert (english != chinese).any()
    assert Image.open(out / "pictures/00000-fp32-int8.png").width > 2 * original.shape[1]


def test_no_parts_are_left_behind(out: Path) -> None:
    assert [path for path in out.rglob("*") if "part" in path.name] == []


def test_bad_input_is_one_line_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "limit_threads", lambda count: None)  # it would hold for the tests after this one
        assert demo.main(["--data", str(tmp_path / "no.yaml")]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"demo: error: .*no\.yaml: no such file.*\n", error)


# ------------------------------------------------------------------------------------------------ parts


def found(boxes: list, scores: list, ids: list) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(ids, np.int64))


def test_drift_by_hand() -> None:
    before = [
        found([[0, 0, 10, 10], [50, 50, 60, 60], [90, 90, 99, 99]], [0.9, 0.5, 0.2], [0, 1, 0]),
        found([], [], []),
    ]
    after = [found([[0, 1, 10, 12], [50, 50, 60, 60]], [0.8, 0.1], [0, 0]), found([], [], [])]
    drift = measure_drift(before, after)
    assert drift.lost == 1  # the second object changed its class; the third was not visible before
    np.testing.assert_allclose(drift.score_change, [-0.1], atol=1e-6)
    np.testing.assert_allclose(drift.box_shift, [2])


def table() -> Table:
    def accuracy(value: float | None) -> Accuracy:
        classes = (ClassAccuracy("a<b>", value, value, 3),)
        return Accuracy(value, value, value, None, value, None, classes, 1, 3, 9)

    first = Row("FP32", "x", accuracy(50.0), None, 20.0, 30.0, 9.5, False)
    second = Row("INT8 | ours", "y", accuracy(50.001), -0.001, None, None, 2.5, True)
    return Table("m<1>.onnx", "data.yaml", (first, second))


def test_tables_as_text() -> None:
    lines = table_text(table()).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split() == ["FP32", "50.00", "50.00", "—", "20.0", "9.50"]
    assert lines[3].split()[-4:] == ["50.00", "0.00", "—", "2.50"]
    assert table_markdown(table()).splitlines()[1] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert [points(v) for v in (None, -0.004, -0.006, 12.345)] == ["—", "0.00", "-0.01", "12.35"]


def test_pages_escape_names_and_refuse_gaps(root: Path) -> None:
    nothing = measure_drift([found([], [], [])], [found([], [], [])])
    values = {
        "table": Table("m<1>.onnx", "a&b.yaml", table().rows[:1]),
        "machine": demo.describe_machine(),
        "dataset": load_dataset(root / "datasets/fasteners/data.yaml"),
        "drift": nothing,
        "agreement": measure_agreement([], []),
        "document": {"pictures": 1, "seconds": 2.0, "latency_measurements": 3},
        "plots": [],
        "pictures": [],
    }
    page = render_html("demo.html.j2", **values)
    assert "m&lt;1&gt;.onnx" in page and "m<1>" not in page and "a&amp;b.yaml" in page
    with pytest.raises(jinja2.UndefinedError, match="'drift' is undefined"):
        render_html("demo.html.j2", **{key: value for key, value in values.items() if key != "drift"})


def test_plots_are_pictures_even_of_nothing() -> None:
    nothing = measure_drift([found([], [], [])], [found([], [], [])])
    bars = [Bar("a", 3.0, True), Bar("b", None, False)]
    accuracy = table().rows[0].accuracy
    for data in (bar_chart("t", "u", bars, "more"), score_chart(nothing), class_chart(["a<b>"], accuracy, accuracy)):
        image = Image.open(io.BytesIO(data))
        assert image.width > 600
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_truth_is_marked_outside_the_box_and_panels_lie_side_by_side() -> None:
    blank = Image.new("RGB", (100, 80), (128, 128, 128))
    marked = np.asarray(mark_truth(blank, np.array([[30.0, 20.0, 60.0, 50.0]])))
    changed = (marked != 128).any(2)
    assert changed.any() and not changed[21:49, 31:59].any()
    assert (np.asarray(blank) == 128).all()
    pair = side_by_side([("left", blank), ("right", Image.fromarray(marked))])
    assert pair.width > 200
    assert (np.asarray(pair)[-80:, -100:] == marked).all()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="cut off"), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError("cut off")
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]
    assert path.read_text() == "old"
