# SPDX-License-Identifier: Apache-2.0
"""Step `report`: results as a table for machines (JSON), for text (Markdown) and for people (one HTML file)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2

from yoloq_quantize.metrics import Accuracy


@dataclass(frozen=True)
class Row:
    """One engine of a comparison. drop: points of mAP50-95 below the first row; latency: None if not measured."""

    name: str
    engine: str
    accuracy: Accuracy
    drop: float | None
    latency_p50_ms: float | None
    latency_p90_ms: float | None
    size_mb: float  # 10^6 bytes on disk
    ours: bool


@dataclass(frozen=True)
class Table:
    """A comparison on one model and data set."""

    model: str
    data: str
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Figure:
    """A picture of the report: PNG or JPEG bytes, and a sentence that says what to see."""

    title: str
    text: str
    data: bytes

    @property
    def uri(self) -> str:
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode('ascii')}"


_HEAD = ("", "mAP50", "mAP50-95", "drop", "p50 ms", "MB")


def table_cells(table: Table) -> list[tuple[str, ...]]:
    """The rows of a table as text, without the head."""
    return [
        (
            row.name,
            points(row.accuracy.map50),
            points(row.accuracy.map50_95),
            points(row.drop),
            "—" if row.latency_p50_ms is None else f"{row.latency_p50_ms:.1f}",
            f"{row.size_mb:.2f}",
        )
        for row in table.rows
    ]


def table_text(table: Table) -> str:
    """For a terminal."""
    rows = [_HEAD, *table_cells(table)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def table_markdown(table: Table) -> str:
    """For a README."""
    lines = [_HEAD, ("---", *("---:" for _ in _HEAD[1:])), *table_cells(table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def points(value: float | None) -> str:
    """A figure in points, or a dash where there is none."""
    return "—" if value is None else f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no "-0.00"


def render_html(template: str, **values: Any) -> str:
    """A page of `templates/`; values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates"), encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = points
    return environment.get_template(template).render(**values)


def write_json(path: Path, document: Any) -> None:
    """Indented UTF-8; appears whole or not at all."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """UTF-8; appears whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, which takes its place if the block succeeds and is removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")  # keeps the suffix: writers go by it
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
