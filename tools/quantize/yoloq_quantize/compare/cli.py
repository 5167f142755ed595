# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq report`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from yoloq_quantize.arguments import bar


def register(subparsers: Any) -> None:
    """Adds `report` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "report",
        help="quantise by every recipe and by others, and show it side by side",
        description="Measures the float model, what other toolkits make of it, and every recipe and package given, on "
        "the same labelled pictures; writes OUT_DIR/report.html, report.json, plots/ and pictures/. "
        "With OUT_DIR alone it draws the page again from report.json.",
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT_DIR", help="folder of the report")
    add("--model", type=Path, metavar="MODEL.onnx", help="the float model")
    add("--calib", type=Path, metavar="DIR", help="folder of calibration pictures")
    add("--data", type=Path, help="data.yaml or COCO .json with labels")
    add("--split", default="val", help="which split of a data.yaml (default: val)")
    add("--images", type=Path, help="folder of a COCO file's pictures (default: beside it)")
    add(
        "--recipe",
        action="append",
        metavar="NAME",
        help="quantise by it; may be given again (default: default)",
    )
    add("--package", action="append", default=[], type=Path, metavar="P.yoloq", help="also measure this package")
    add("--peers", default="", metavar="LIST", help="other toolkits: ort-generic,ort-conv,nncf")
    add("--nncf-python", default=sys.executable, metavar="PYTHON", help="a Python that has nncf (default: this one)")
    add("--target", default="cpu", help="the chip of the recipes (default: cpu)")
    add("--head", default="auto", help="of the recipes, as for yoloq quantize")
    add("--size", type=_size, metavar="HxW", help="input size, if the model leaves it open")
    add("--color", default="RGB", choices=("RGB", "BGR"), help="what the model was trained on")
    add("--align", default="center", choices=("center", "topleft"), help="where the letterbox puts the picture")
    add("--input-scale", type=_fraction, default=1 / 255, metavar="S", help="a byte times S is the model's input")
    add("--sensitivity", type=Path, metavar="F.json", help="result of yoloq sensitivity, to be plotted")
    add("--rounds", type=_count, default=20, help="of the latency measurement, 5 pictures each (default: 20)")
    add("--threads", type=_count, help="processors that every engine may use (default: all)")
    add("--lang", default="en", choices=("en", "zh"), help="language of the page")
    add("--json", metavar="F", help='write report.json here too; "-": to standard output')
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write 1 or more")
    return int(text)


def _fraction(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 1/255 or 1") from None


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    return _count(height), _count(width or height)


def _run(args: argparse.Namespace) -> int:
    from yoloq_quantize.compare.document import FILE, read_document
    from yoloq_quantize.compare.page import write_page
    from yoloq_quantize.report import write_json

    if args.model or args.package:
        document = _measure(args).to_json()
        write_json(args.out / FILE, document)
    document = read_document(args.out)
    page = write_page(document, args.out, args.lang)
    if args.json == "-":
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    if args.json:
        write_json(Path(args.json), document)
    print(f"{_table(document)}\n\n{page}")
    return 0


def _measure(args: argparse.Namespace) -> Any:
    from yoloq_quantize.compare.candidates import Request
    from yoloq_quantize.compare.measure import measure
    from yoloq_quantize.compare.sensitivity import read_sensitivity
    from yoloq_quantize.dataset import load_dataset
    from yoloq_quantize.errors import QuantizeError
    from yoloq_quantize.machine import limit_threads

    if args.data is None:
        raise QuantizeError("no labelled pictures; give a data set with --data")
    options = {"target": args.target, "head": args.head, "size": args.size, "align": args.align}
    options |= {"color": args.color, "input_scale": args.input_scale, "data": str(args.data)}
    if args.data.suffix == ".json":
        del options["data"]  # quantize() reads class names of a data.yaml only
    recipes = args.recipe or (["default"] if args.model and args.calib else [])
    peers = tuple(name for name in args.peers.split(",") if name)
    packages = tuple(args.package)
    request = Request(args.model, args.calib, tuple(recipes), packages, peers, args.nncf_python, options)
    dataset = load_dataset(args.data, args.split, args.images)
    sensitivity = read_sensitivity(args.sensitivity) if args.sensitivity else None
    if args.threads:
        limit_threads(args.threads)
    return measure(
        request,
        dataset,
        args.out,
        rounds=args.rounds,
        threads=args.threads,
        sensitivity=sensitivity,
        say=lambda text: print(text, file=sys.stderr, flush=True),
        progress=bar,
    )


def _table(document: dict[str, Any]) -> str:
    """The main figures, for a terminal."""
    from yoloq_quantize.report import points

    lines = [("", "mAP50", "mAP50-95", "loss", "95 % interval", "p50 ms", "MB")]
    for row in document["rows"]:
        if row["absent"]:
            lines.append((row["name"], "—", "—", "—", "—", "—", "—"))
            continue
        loss = row["loss"]["map50_95"] if row["loss"] else {"estimate": None, "low": None, "high": None}
        interval = "—" if loss["low"] is None else f"{points(loss['low'])} … {points(loss['high'])}"
        accuracy = [points(row["accuracy"][key]) for key in ("map50", "map50_95")]
        figures = (points(loss["estimate"]), interval, f"{row['cost']['p50_ms']:.1f}", f"{row['size_mb']:.2f}")
        lines.append((row["name"], *accuracy, *figures))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    absent = [f"{row['name']}: {row['absent']}" for row in document["rows"] if row["absent"]]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], *absent])
