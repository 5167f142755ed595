# SPDX-License-Identifier: Apache-2.0
"""What a report measured: report.json. Plots and pages are drawn from it alone, so that they can be drawn again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yoloq_quantize.bootstrap import Difference
from yoloq_quantize.compare.latency import Cost
from yoloq_quantize.compare.layers import Layers
from yoloq_quantize.compare.worst import WorstPicture
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.machine import Machine
from yoloq_quantize.metrics import Accuracy, Agreement

FORMAT = 1
FILE = "report.json"


@dataclass(frozen=True)
class Histogram:
    """`counts` of objects between `low` and `high`; the outermost bins hold those beyond. `within_95`: 95 % of the
    objects changed by no more than this."""

    low: float
    high: float
    counts: tuple[int, ...]
    median: float | None  # of the absolute change
    within_95: float | None


@dataclass(frozen=True)
class DriftSummary:
    """What moved on the objects that the first row sees (score >= 0.25): scores, and box sides in pixels."""

    score: Histogram
    box: Histogram
    kept: int
    lost: int  # that the candidate does not see at any score


@dataclass(frozen=True)
class Row:
    """One candidate. `absent`: why it could not be measured, then all figures are None. `seconds`, `peak_mb`: of making
    it. `steps`: of our recipes, {"step", "detail", "seconds"}."""

    key: str
    name: str
    engine: str
    ours: bool
    int8: bool
    absent: str | None = None
    accuracy: Accuracy | None = None
    loss: Difference | None = None
    agreement: Agreement | None = None
    drift: DriftSummary | None = None
    cost: Cost | None = None
    int8_macs: float | None = None
    size_mb: float | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    steps: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report. `primary`: key of the row whose pictures and layers are shown; None: no INT8 row of ours."""

    model: str
    data: str
    split: str
    pictures: int
    calibration_pictures: int | None
    classes: tuple[str, ...]
    machine: Machine
    seconds: float
    rows: tuple[Row, ...]
    primary: str | None
    layers: Layers | None
    sensitivity: dict[str, Any] | None
    worst: tuple[WorstPicture, ...]
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_document(folder: Path) -> dict[str, Any]:
    """The JSON of an earlier report."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuantizeError(f"{folder}: no {FILE} in it; measure first: yoloq report {folder} --model ...") from None
    except (OSError, ValueError) as error:
        raise QuantizeError(f"{path}: cannot be read ({error}); measure again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise QuantizeError(f"{path}: not a report of format {FORMAT}; measure again")
    return document
