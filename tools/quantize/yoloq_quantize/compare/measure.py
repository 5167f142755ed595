# SPDX-License-Identifier: Apache-2.0
"""Makes and measures all candidates of a report, on the same pictures, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yoloq_quantize.bootstrap import Matches, compare
from yoloq_quantize.compare.candidates import Candidate, Request, list_candidates, open_candidate, read_manifest
from yoloq_quantize.compare.document import Document, DriftSummary, Histogram, Row
from yoloq_quantize.compare.latency import measure_costs
from yoloq_quantize.compare.layers import Layers, int8_share, measure_layers
from yoloq_quantize.compare.make import make
from yoloq_quantize.compare.worst import draw_worst
from yoloq_quantize.dataset import Dataset, list_images
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import run_detector
from yoloq_quantize.machine import describe_machine
from yoloq_quantize.metrics import Detections, measure_accuracy, measure_agreement
from yoloq_quantize.plots import Drift, measure_drift

BINS = 41
Progress = Callable[[Iterable, str], Iterable]


@dataclass(frozen=True)
class _Measured:
    """A candidate that ran: its row so far, and what it found."""

    candidate: Candidate
    row: Row
    detections: tuple[Detections, ...]


def measure(
    request: Request,
    dataset: Dataset,
    out: Path,
    *,
    rounds: int = 20,
    draws: int = 1000,
    threads: int | None = None,
    sensitivity: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
    progress: Progress = lambda items, _: items,
) -> Document:
    """Everything that the report says. Models go into `out`/models, pictures into `out`/pictures.

    rounds: of the latency measurement; draws: of the bootstrap; threads: what the process was limited to, to be told.
    """
    start = time.perf_counter()
    if not dataset.has_labels:
        raise QuantizeError(f"{dataset.source}: no picture has labels; a report measures accuracy and needs them")
    candidates = list_candidates(request, out / "models")
    (out / "models").mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = {}
    measured: list[_Measured] = []
    for candidate in candidates:
        say(f"{candidate.name}: making and measuring it on {len(dataset.samples)} pictures")
        result = _run(candidate, request, dataset)
        rows[candidate.key] = result if isinstance(result, Row) else result.row
        if isinstance(result, _Measured):
            measured.append(result)
    say("latency: all candidates in turn")
    costs = measure_costs([m.candidate for m in measured], request.model, dataset, rounds, progress)
    say("comparison with the first row")
    for row in _compared(measured, dataset, draws):
        rows[row.key] = replace(row, cost=costs[row.key])
    primary = next((m for m in measured if m.candidate.ours and m.candidate.int8), None)
    return Document(
        model=request.model.name if request.model else candidates[0].name,
        data=str(dataset.source),
        split=dataset.split,
        pictures=len(dataset.samples),
        calibration_pictures=len(list_images(request.calib)) if request.calib else None,
        classes=dataset.class_names,
        machine=describe_machine(threads),
        rows=tuple(rows.values()),
        primary=primary.row.key if primary else None,
        layers=_layers(measured, dataset),
        sensitivity=sensitivity,
        worst=_worst(measured[0], primary, dataset, out) if primary else (),
        seconds=time.perf_counter() - start,
    )


def _run(candidate: Candidate, request: Request, dataset: Dataset) -> _Measured | Row:
    """Makes and runs one. A peer that fails, or a package that this machine cannot run, gives a row that says why."""
    row = Row(candidate.key, candidate.name, candidate.engine, candidate.ours, candidate.int8)
    optional = not candidate.ours or candidate.job is None
    try:
        if candidate.job is not None:
            _check_installed(candidate)
            made = make(candidate.job)
            if candidate.int8:
                row = replace(row, seconds=made.seconds, peak_mb=made.peak_mb, steps=made.steps)
        with closing(open_candidate(candidate, request.model)) as detector:
            run = run_detector(detector, dataset, candidate.name)
    except QuantizeError as error:
        if not optional or candidate.key == "source":
            raise
        return replace(row, absent=str(error), seconds=None, peak_mb=None)
    package = candidate.path.is_dir()
    summary = read_manifest(candidate.path).get("quantization", {}) if package else None
    share = summary.get("int8_macs") if package else int8_share(candidate.path)
    row = replace(
        row,
        accuracy=measure_accuracy(dataset, run.detections),
        int8_macs=share,
        size_mb=_size(candidate.path) / 1e6,
    )
    return _Measured(candidate, row, run.detections)


def _check_installed(candidate: Candidate) -> None:
    if candidate.job["kind"] != "nncf":
        return
    from yoloq_quantize.peers.nncf_peer import nncf_version

    if nncf_version(candidate.job["python"]) is None:
        raise QuantizeError("not installed: pip install nncf, or name a Python that has it: --nncf-python")


def _size(path: Path) -> int:
    """Bytes of a package folder, of an .onnx, or of an OpenVINO model with its weights."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


# ------------------------------------------------------------------------------------------------ comparison


def _compared(measured: Sequence[_Measured], dataset: Dataset, draws: int) -> list[Row]:
    """The rows with what they lose against the first one."""
    first = measured[0]
    truth = Matches.of(dataset, first.detections)
    drifts = {m.row.key: measure_drift(first.detections, m.detections) for m in measured[1:]}
    ours = [drift for m in measured[1:] if m.candidate.ours for drift in [drifts[m.row.key]]]
    reach = _reach(ours or list(drifts.values()))
    rows = [first.row]
    for m in measured[1:]:
        rows.append(
            replace(
                m.row,
                loss=compare(truth, Matches.of(dataset, m.detections), draws),
                agreement=measure_agreement(m.detections, first.detections),
                drift=summarize_drift(drifts[m.row.key], *reach),
            )
        )
    return rows


def _reach(drifts: Sequence[Drift]) -> tuple[float, float]:
    """How far histograms of score and box reach, the same for all rows: nearly all of what ours change."""

    def far(values: list[np.ndarray], least: float) -> float:
        together = np.abs(np.concatenate(values)) if values else np.zeros(0)
        return max(least, float(np.percentile(together, 99.5))) if len(together) else least

    return far([d.score_change for d in drifts], 0.02), far([d.box_shift for d in drifts], 0.5)


def summarize_drift(drift: Drift, score_reach: float, box_reach: float) -> DriftSummary:
    """Histograms over -score_reach..score_reach and 0..box_reach (pixels)."""
    return DriftSummary(
        _histogram(drift.score_change, -score_reach, score_reach),
        _histogram(drift.box_shift, 0.0, box_reach),
        len(drift.box_shift),
        drift.lost,
    )


def _histogram(values: np.ndarray, low: float, high: float) -> Histogram:
    counts, _ = np.histogram(np.clip(values, low, high), BINS, (low, high))
    size = np.abs(values)
    median, far = np.percentile(size, [50, 95]).tolist() if len(size) else (None, None)
    return Histogram(low, high, tuple(counts.tolist()), median, far)


def _layers(measured: Sequence[_Measured], dataset: Dataset) -> Layers | None:
    """None without a float package, or without an INT8 package of the same model that holds ONNX."""
    packages = {m.row.key: m.candidate for m in measured if m.candidate.path.is_dir() and _is_onnx(m.candidate.path)}
    floats = [candidate.path for candidate in packages.values() if not candidate.int8]
    quantised = {key: candidate.path for key, candidate in packages.items() if candidate.int8}
    return measure_layers(floats[0], quantised, dataset) if floats and quantised else None


def _is_onnx(package: Path) -> bool:
    return read_manifest(package)["artifacts"][0]["file"].endswith(".onnx")


def _worst(first: _Measured, primary: _Measured, dataset: Dataset, out: Path) -> tuple:
    if primary is first:
        return ()
    return draw_worst(dataset, (first.row.name, first.detections), (primary.row.name, primary.detections), out)
