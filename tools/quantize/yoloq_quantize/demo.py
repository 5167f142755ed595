# SPDX-License-Identifier: Apache-2.0
"""The demo: a float model becomes an INT8 package, and every way to run it is measured on the same pictures.

    python -m yoloq_quantize.demo --model M.onnx --data data.yaml --calib DIR --out out/demo

Writes table.json, table.md, report.html, pictures/ and models/ into the output folder. All figures are measured.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from yoloq_quantize import quantize
from yoloq_quantize.baselines import quantize_conv_only, quantize_generic
from yoloq_quantize.compare.worst import annotate
from yoloq_quantize.dataset import Dataset, list_images, load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import Latency, Run, open_detector, run_model
from yoloq_quantize.machine import describe_machine, limit_threads
from yoloq_quantize.metrics import AGREEMENT_SCORE, measure_accuracy, measure_agreement
from yoloq_quantize.plots import (
    Bar,
    Drift,
    bar_chart,
    box_chart,
    class_chart,
    mark_truth,
    measure_drift,
    score_chart,
    side_by_side,
)
from yoloq_quantize.report import (
    Figure,
    Row,
    Table,
    render_html,
    replacing,
    table_markdown,
    table_text,
    write_json,
    write_text,
)

THREADS = 2
LATENCY_PICTURES = 5
LATENCY_REPEATS = 12  # of each picture: 60 measurements per engine
PICTURES = 8  # drawn; the first SIDE_BY_SIDE of them beside the float model's
SIDE_BY_SIDE = 3


@dataclass(frozen=True)
class Variant:
    """One way to run the model. `make` writes it to `path`."""

    name: str
    engine: str
    path: Path
    ours: bool
    make: Callable[[], None]


def main(argv: Sequence[str] | None = None) -> int:
    """0 done, 1 failed, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="yoloq demo", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/fasteners-yolo26n-e2e.onnx"))
    parser.add_argument("--data", type=Path, default=Path("datasets/fasteners/data.yaml"))
    parser.add_argument("--calib", type=Path, default=Path("datasets/fasteners/images/calib"))
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    arguments = parser.parse_args(argv)
    limit_threads(THREADS)
    try:
        run_demo(arguments.model, arguments.data, arguments.calib, arguments.out)
    except QuantizeError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    return 0


def run_demo(model: Path, data: Path, calib: Path, out: Path) -> Table:
    """Makes all variants, measures them, and writes everything into `out`."""
    start = time.perf_counter()
    dataset = load_dataset(data)
    if not dataset.has_labels:
        raise QuantizeError(f"{data}: no picture has labels; the demo measures accuracy and needs them")
    progress = sys.stderr.isatty()
    variants = _variants(model, calib, out / "models")
    runs = []
    for variant in variants:
        print(f"{variant.name}: making and measuring it on {len(dataset.samples)} pictures", flush=True)
        variant.make()
        runs.append(run_model(variant.path, dataset, progress=progress))
    print("latency: all engines in turn", flush=True)
    latencies = measure_latency([v.path for v in variants], dataset, progress)
    table = _table(model, data, dataset, variants, runs, latencies)
    shown = _draw_pictures(dataset, runs[0], runs[-1], out / "pictures")
    _write_report(table, dataset, runs, shown, out, time.perf_counter() - start)
    print(f"\n{table_text(table)}\n\nreport: {out / 'report.html'}, pictures: {out / 'pictures'}")
    return table


def _variants(model: Path, calib: Path, folder: Path) -> list[Variant]:
    pictures = list_images(calib)
    stem = model.stem
    folder.mkdir(parents=True, exist_ok=True)

    def package(precision: str) -> Variant:
        label = {"float32": "FP32", "int8": "INT8"}[precision]
        path = folder / f"{stem}-{precision}.yoloq"
        make = lambda: quantize(model, calib, path, target="cpu", precision=precision, force=True)  # noqa: E731
        return Variant(f"yoloq {label}", "yoloq", path, True, make)

    generic, conv = folder / f"{stem}-ort-generic.onnx", folder / f"{stem}-ort-conv.onnx"
    runtime = "ONNX Runtime"
    return [
        Variant("FP32, ONNX Runtime", runtime, model, False, lambda: None),
        Variant(
            "Generic INT8, ONNX Runtime", runtime, generic, False, lambda: quantize_generic(model, pictures, generic)
        ),
        Variant(
            "Conv-only INT8, ONNX Runtime", runtime, conv, False, lambda: quantize_conv_only(model, pictures, conv)
        ),
        package("float32"),
        package("int8"),
    ]


def measure_latency(paths: Sequence[Path], dataset: Dataset, progress: bool = False) -> list[Latency]:
    """From the decoded picture to boxes at the usual threshold; the engines take turns, so that all meet the same
    machine."""
    images = [sample.read() for sample in dataset.samples[:LATENCY_PICTURES]]
    times: list[list[float]] = [[] for _ in paths]
    with ExitStack() as stack:
        detectors = [
            stack.enter_context(
                closing(open_detector(path, score_threshold=AGREEMENT_SCORE, threads=THREADS, exact=False))
            )
            for path in paths
        ]
        rounds = [None, *range(LATENCY_REPEATS)]  # the first one warms up
        for repeat in tqdm(rounds, desc="latency", disable=not progress, leave=False):
            for image in images:
                for i, detector in enumerate(detectors):
                    start = time.perf_counter()
                    detector.detect(image)
                    if repeat is not None:
                        times[i].append((time.perf_counter() - start) * 1e3)
    return [Latency.of(each) for each in times]


def _table(
    model: Path,
    data: Path,
    dataset: Dataset,
    variants: Sequence[Variant],
    runs: Sequence[Run],
    latencies: Sequence[Latency],
) -> Table:
    rows: list[Row] = []
    for variant, run, latency in zip(variants, runs, latencies, strict=True):
        accuracy = measure_accuracy(dataset, run.detections)
        base = rows[0].accuracy.map50_95 if rows else accuracy.map50_95
        rows.append(
            Row(
                name=variant.name,
                engine=variant.engine,
                accuracy=accuracy,
                drop=base - accuracy.map50_95 if rows else None,
                latency_p50_ms=latency.p50_ms,
                latency_p90_ms=latency.p90_ms,
                size_mb=_size(variant.path) / 1e6,
                ours=variant.ours,
            )
        )
    return Table(model.name, str(data), tuple(rows))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


# ------------------------------------------------------------------------------------------------ pictures


def _draw_pictures(dataset: Dataset, float_run: Run, int8_run: Run, folder: Path) -> list[Figure]:
    """Writes annotated pictures of the INT8 package; returns the side-by-side ones for the report."""
    chosen = _evenly(len(dataset.samples), PICTURES)
    figures = []
    for rank, i in enumerate(chosen):
        sample = dataset.samples[i]
        image = Image.fromarray(cv2.cvtColor(sample.read(), cv2.COLOR_BGR2RGB))
        names = dataset.class_names
        quantised = annotate(image, int8_run.detections[i], names)
        _save(quantised, folder / f"{sample.path.stem}.png")
        if rank >= SIDE_BY_SIDE:
            continue
        marked = mark_truth(image, sample.boxes)
        pair = side_by_side(
            [
                ("FP32, ONNX Runtime", annotate(marked, float_run.detections[i], names)),
                ("yoloq INT8", annotate(marked, int8_run.detections[i], names)),
            ]
        )
        _save(pair, folder / f"{sample.path.stem}-fp32-int8.png")
        jpeg = io.BytesIO()
        pair.save(jpeg, "JPEG", quality=88)
        figures.append(Figure(sample.key, "White corners: ground truth.", jpeg.getvalue()))
    _draw_chinese(dataset, int8_run, chosen[0], folder)
    return figures


def _draw_chinese(dataset: Dataset, run: Run, index: int, folder: Path) -> None:
    """The same picture with Chinese class names, where the demo's classes are known and a font has the characters."""
    import yoloq

    chinese = {"bolt": "螺栓", "nut": "螺母", "washer": "垫圈", "screw": "螺钉", "scratch": "划痕"}
    names = [chinese.get(name, name) for name in dataset.class_names]
    sample = dataset.samples[index]
    image = Image.fromarray(cv2.cvtColor(sample.read(), cv2.COLOR_BGR2RGB))
    try:
        drawn = annotate(image, run.detections[index], names)
    except yoloq.FontError as error:
        print(f"no picture with Chinese labels: {error}")
        return
    _save(drawn, folder / f"{sample.path.stem}-zh.png")


def _save(image: Image.Image, path: Path) -> None:
    with replacing(path) as part:
        image.save(part)


def _evenly(count: int, wanted: int) -> list[int]:
    """`wanted` indices spread over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist()


# ------------------------------------------------------------------------------------------------ report


def _write_report(
    table: Table, dataset: Dataset, runs: Sequence[Run], shown: list[Figure], out: Path, seconds: float
) -> None:
    machine = describe_machine(THREADS)
    drift = measure_drift(runs[0].detections, runs[-1].detections)
    agreement = measure_agreement(runs[-1].detections, runs[0].detections)
    document = {
        "machine": asdict(machine),
        "pictures": len(dataset.samples),
        "latency_measurements": LATENCY_REPEATS * min(LATENCY_PICTURES, len(dataset.samples)),
        "seconds": round(seconds, 1),
        "agreement": agreement.to_json(),
        **table.to_json(),
    }
    write_json(out / "table.json", document)
    write_text(out / "table.md", table_markdown(table))
    page = render_html(
        "demo.html.j2",
        table=table,
        machine=machine,
        dataset=dataset,
        drift=drift,
        agreement=agreement,
        document=document,
        plots=_plots(table, dataset, drift),
        pictures=shown,
    )
    write_text(out / "report.html", page)


def _plots(table: Table, dataset: Dataset, drift: Drift) -> list[Figure]:
    first, last = table.rows[0].accuracy, table.rows[-1].accuracy
    accuracy = [Bar(row.name, row.accuracy.map50_95, row.ours) for row in table.rows]
    latency = [Bar(row.name, row.latency_p50_ms, row.ours) for row in table.rows]
    return [
        Figure("Accuracy", "", bar_chart("Accuracy", "mAP50-95, points", accuracy, "more")),
        Figure("Latency", "", bar_chart("Latency, picture to boxes", "p50, ms", latency, "less", 1)),
        Figure("Accuracy by class", "", class_chart(dataset.class_names, first, last)),
        Figure("Scores", "", score_chart(drift)),
        Figure("Boxes", "", box_chart(drift)),
    ]


if __name__ == "__main__":
    sys.exit(main())
