# SPDX-License-Identifier: Apache-2.0
"""report.html: one file for people, drawn from report.json and the pictures beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from yoloq_quantize.compare import plots
from yoloq_quantize.compare.sensitivity import sensitivity_chart
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.report import Figure, render_html, replacing, write_text

LANGUAGES = ("en", "zh")
_CLASSES = 40  # rows of the table of classes


def write_page(document: dict[str, Any], out: Path, lang: str = "en") -> Path:
    """Writes `out`/plots/*.png and `out`/report.html, which holds all of them; the path of the page."""
    text = load_texts(lang)
    figures = {}
    for name, draw in _charts(document, text["plot"]).items():
        data = draw()
        with replacing(out / "plots" / f"{name}.png") as part:
            part.write_bytes(data)
        figures[name] = Figure(text["plot"][name], "", data)
    page = render_html(
        "report.html.j2",
        document=document,
        t=text,
        lang=lang,
        rows=document["rows"],
        float_row=document["rows"][0],
        primary=next((row for row in document["rows"] if row["key"] == document["primary"]), None),
        colors=plots.colors_of(document["rows"]),
        figures=figures,
        lowest=plots.lowest_layers(document),
        classes=_classes(document),
        worst=[(worst, _picture(out, worst)) for worst in document["worst"]],
        steps=_steps(document),
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def load_texts(lang: str) -> dict[str, Any]:
    """The words of the page."""
    if lang not in LANGUAGES:
        raise QuantizeError(f"language {lang!r} is not known; choose {' or '.join(LANGUAGES)}")
    file = resources.files("yoloq_quantize") / "templates" / f"report.{lang}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _charts(document: dict[str, Any], text: dict[str, str]) -> dict[str, Callable[[], bytes]]:
    """By name; those for which there is something to draw."""
    rows = document["rows"]
    charts: dict[str, Callable[[], bytes]] = {}
    if any(row["loss"] for row in rows):
        charts["loss"] = lambda: plots.loss_chart(rows, text)
    if any(row["cost"] for row in rows):
        charts["speed"] = lambda: plots.speed_chart(rows, text)
    if any(value["ap50_95"] is not None for value in rows[0]["accuracy"]["per_class"]):
        charts["classes"] = lambda: plots.class_chart(document, text)
    if any(row["drift"] and row["int8"] and row["drift"]["kept"] for row in rows):
        charts["drift"] = lambda: plots.drift_chart(rows, text)
    if document["layers"]:
        charts["layers"] = lambda: plots.layer_chart(document, text)
    if document["sensitivity"]:
        charts["sensitivity"] = lambda: sensitivity_chart(document["sensitivity"], text)
    return charts


def _classes(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, instances and each measured row's AP50-95; of many classes those that the primary row loses most on."""
    rows = [row for row in document["rows"] if row["accuracy"]]
    table = [
        {
            "name": name,
            "instances": rows[0]["accuracy"]["per_class"][i]["instances"],
            "values": [row["accuracy"]["per_class"][i]["ap50_95"] for row in rows],
        }
        for i, name in enumerate(document["classes"])
    ]
    known = [line for line in table if line["values"][0] is not None]
    if len(known) <= _CLASSES:
        return known
    at = next((i for i, row in enumerate(rows) if row["key"] == document["primary"]), len(rows) - 1)
    return sorted(known, key=lambda line: line["values"][at] - line["values"][0])[:_CLASSES]


def _steps(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each of our recipes what it did."""
    return [(row["name"], row["steps"]) for row in document["rows"] if row["steps"]]


def _picture(out: Path, worst: dict[str, Any]) -> Figure:
    path = out / worst["file"]
    try:
        return Figure(worst["key"], "", path.read_bytes())
    except OSError as error:
        raise QuantizeError(f"{path}: cannot be read ({error.strerror}); measure again") from None
