# SPDX-License-Identifier: Apache-2.0
"""What the commands `yoloq detect`, `info` and `bench` do."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

import yoloq
from yoloq.draw import draw
from yoloq.files import annotated_name, find_pictures, read_picture, save_picture, write_json
from yoloq.fonts import fonts_for

_WARM_UP = 5  # calls before bench measures


def detect(args: argparse.Namespace) -> int:
    """yoloq detect P.yoloq IMAGE..."""
    PillowImage.MAX_IMAGE_PIXELS = 16384 * 16384  # the library's own limit
    pictures = find_pictures(args.images)
    out = Path(args.out) if args.out else None
    if out:
        _refuse_twins(pictures)
    entries: list[dict[str, Any]] = []
    options = {"score_threshold": args.score, "iou_threshold": args.iou}
    with yoloq.Detector(args.package, backend=args.backend, device=args.device, **options) as detector:
        if out:
            fonts_for([*detector.class_names, "0123456789."])  # a missing font is told before the work, not after
            out.mkdir(parents=True, exist_ok=True)
        for path in pictures:
            picture = read_picture(path)
            result = detector.detect(np.asarray(picture), format="RGB")
            if out:
                save_picture(draw(picture, result), out / annotated_name(path))
            entries.append(_entry(path, picture, result))
            if args.json != "-":
                print(_line(path, result), flush=True)
        head = {"package": args.package, "name": detector.info.name, "backend": detector.info.backend}
    if args.json:
        write_json(args.json, head | {"images": entries}, sys.stdout.write)
    return 0


def _refuse_twins(pictures: list[Path]) -> None:
    """Two pictures of one name would overwrite each other's drawing."""
    seen: dict[str, Path] = {}
    for path in pictures:
        other = seen.setdefault(annotated_name(path), path)
        if other is not path:
            raise yoloq.InvalidArgument(f"{other} and {path} would be drawn into the same file: run them apart")


def _entry(path: Path, picture: PillowImage.Image, result: yoloq.Result) -> dict[str, Any]:
    return {
        "file": str(path),
        "width": picture.width,
        "height": picture.height,
        "found": result.found,
        "detections": [
            {
                "class_id": d.class_id,
                "class": d.name,
                "score": round(d.score, 6),
                "box": [round(v, 3) for v in (d.x1, d.y1, d.x2, d.y2)],
                **({"angle": round(d.angle, 6)} if d.angle else {}),
            }
            for d in result
        ],
        "timings_ms": {name.removesuffix("_ms"): round(ms, 4) for name, ms in result.timings._asdict().items()},
    }


def _line(path: Path, result: yoloq.Result) -> str:
    counts = Counter(d.name for d in result)
    what = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "nothing found"
    return f"{path}: {what} ({sum(result.timings):.1f} ms)"


def info(args: argparse.Namespace) -> int:
    """yoloq info P.yoloq | --backends"""
    facts = _backends() if args.backends else _package(args)
    if args.json:
        write_json(args.json, facts, sys.stdout.write)
    if args.json != "-":
        print("\n".join(_backend_lines(facts) if args.backends else _package_lines(facts)))
    return 0


def _backends() -> dict[str, Any]:
    return {"version": yoloq.version(), "backends": [asdict(backend) for backend in yoloq.backends()]}


def _backend_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for backend in facts["backends"]:
        state = "usable" if backend["usable"] else f"not usable: {backend['reason']}"
        lines.append(f"{backend['name']:<12} {backend['version'] or '-':<24} {state}")
    return lines or ["no backend modules lie beside the library: install the yoloq wheel again"]


def _package(args: argparse.Namespace) -> dict[str, Any]:
    """Facts from the manifest, and whether the package runs here; the library has checked every byte if it does."""
    manifest_path = Path(args.package) / "manifest.json"
    reason, loaded = "", None
    try:
        with yoloq.Detector(args.package, backend=args.backend, device=args.device) as detector:
            loaded = asdict(detector.info)
    except (yoloq.BackendError, yoloq.DeviceError, yoloq.NotFound) as error:
        if not manifest_path.is_file():
            raise
        reason = str(error)
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    kept = ("name", "task", "precision", "classes", "input", "target", "defaults", "quantization", "accuracy")
    return {
        "package": args.package,
        "bytes": sum(file["size"] for file in manifest["files"].values()),
        "usable": loaded is not None,
        "reason": reason,
        "detector": loaded,
        **{key: manifest[key] for key in kept if key in manifest},
    }


def _package_lines(facts: dict[str, Any]) -> list[str]:
    entry, target, defaults = facts["input"], facts["target"], facts["defaults"]
    loaded = facts["detector"]
    here = f"yes, on {loaded['backend']} ({loaded['backend_version']})" if loaded else f"no: {facts['reason']}"
    rows = {
        "name": facts["name"],
        "task": f"{facts['task']}, {facts['precision']}",
        "input": f"{entry['width']}x{entry['height']} {entry['color']}",
        "classes": f"{len(facts['classes'])}: {', '.join(facts['classes'])}",
        "chip": f"{target['chip']} ({target.get('sdk', '?')} {target.get('sdk_version', '')})",
        "size": f"{facts['bytes'] / 1e6:.2f} MB",
        "defaults": ", ".join(f"{key} {value}" for key, value in defaults.items()),
        "runs here": here,
    }
    for key in ("accuracy", "quantization"):
        flat = [f"{k} {v}" for k, v in facts.get(key, {}).items() if isinstance(v, (int, float, str))]
        if flat:
            rows[key] = ", ".join(flat)
    return [f"{key + ':':<14}{value}" for key, value in rows.items()]


def bench(args: argparse.Namespace) -> int:
    """yoloq bench P.yoloq"""
    if args.image:
        picture, source = np.asarray(read_picture(args.image)), args.image
    else:
        width, height = args.size
        picture, source = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8), "synthetic"
    where = {"backend": args.backend, "device": args.device, "streams": args.streams}
    with yoloq.Detector(args.package, **where) as detector:
        for _ in range(_WARM_UP):
            detector.detect(picture, format="RGB")
        times, elapsed = _measure(detector, picture, args.seconds)
        facts = {
            "package": args.package,
            "name": detector.info.name,
            "precision": detector.info.precision,
            "backend": detector.info.backend,
            "backend_version": detector.info.backend_version,
            "streams": detector.info.streams,
            "picture": {"source": source, "width": picture.shape[1], "height": picture.shape[0]},
            "pictures": len(times),
            "seconds": round(elapsed, 3),
            "throughput_per_s": round(len(times) / elapsed, 2),
            "latency_ms": {stage: _summary(times[:, i]) for i, stage in enumerate(_STAGES)},
        }
    if args.json:
        write_json(args.json, facts, sys.stdout.write)
    if args.json != "-":
        print("\n".join(_bench_lines(facts)))
    return 0


_STAGES = ("total", "queue", "preprocess", "engine", "decode")


def _measure(detector: yoloq.Detector, picture: np.ndarray, seconds: float) -> tuple[np.ndarray, float]:
    """Runs as many threads as streams for that long. Returns ms [calls, stages], `total` seen from Python, and the
    seconds it took."""
    times: list[tuple[float, ...]] = []
    failures: list[BaseException] = []
    stop = threading.Event()
    begin = time.perf_counter()

    def work() -> None:
        try:
            while not stop.is_set():
                start = time.perf_counter()
                timings = detector.detect(picture, format="RGB").timings
                end = time.perf_counter()
                times.append(((end - start) * 1e3, *timings))
                if end - begin >= seconds:
                    return
        except BaseException as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=work) for _ in range(detector.info.streams)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:  # Ctrl-C: the threads end with the call they are in
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()
    if failures:
        raise failures[0]
    return np.array(times), time.perf_counter() - begin


def _summary(ms: np.ndarray) -> dict[str, float]:
    p50, p90, p99 = np.percentile(ms, (50, 90, 99))
    figures = {"p50": p50, "p90": p90, "p99": p99, "mean": ms.mean(), "max": ms.max()}
    return {name: round(float(value), 4) for name, value in figures.items()}


def _bench_lines(facts: dict[str, Any]) -> list[str]:
    picture = facts["picture"]
    lines = [
        f"{facts['name']} ({facts['precision']}) on {facts['backend']} {facts['backend_version']}, "
        f"{facts['streams']} stream(s), picture {picture['width']}x{picture['height']}",
        f"{facts['throughput_per_s']:.1f} pictures/s over {facts['seconds']:.1f} s ({facts['pictures']} pictures)",
        f"{'ms':<12}" + "".join(f"{name:>9}" for name in ("p50", "p90", "p99", "mean", "max")),
    ]
    for stage, figures in facts["latency_ms"].items():
        lines.append(f"{stage:<12}" + "".join(f"{value:>9.2f}" for value in figures.values()))
    return lines
