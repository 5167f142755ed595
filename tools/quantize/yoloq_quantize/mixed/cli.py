# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq sensitivity`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoloq_quantize.arguments import bar, scale, size

if TYPE_CHECKING:
    from yoloq_quantize.mixed.sensitivity import Sensitivity

SHOWN = 20  # rows of each kind, on a terminal and in the plot
KINDS = {
    "layer": "layers",
    "block": "blocks",
    "attention": "attention blocks",
    "branch": "branches of the head",
    "scale": "scales that several tensors share",
}


def register(subparsers: Any) -> None:
    """Adds `sensitivity` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "sensitivity",
        help="show which layers lose accuracy in INT8",
        description="Quantises each layer, block, head branch and shared scale of a model by itself, and all but it, "
        "and measures the raw head's error on calibration pictures. An error of 1 is as much as the model's answers "
        "vary anyway.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="a float32 ONNX detector, opset 11 to 20")
    parser.add_argument("--calib", type=Path, required=True, metavar="DIR", help="folder of calibration pictures")
    parser.add_argument("--data", type=Path, metavar="data.yaml", help="class names, if the model holds none")
    parser.add_argument("--target", default="cpu", help="the chip (default: cpu)")
    parser.add_argument("--head", default="auto", choices=("auto", "dense-cxcywh", "dense-xyxy", "end2end"))
    parser.add_argument("--size", type=size, metavar="HxW", help="input size in pixels, if the model leaves it open")
    parser.add_argument("--color", default="RGB", choices=("RGB", "BGR"), help="what the model was trained on")
    parser.add_argument("--align", default="center", choices=("center", "topleft"), help="of the letterbox")
    parser.add_argument("--input-scale", type=scale, default=1 / 255, metavar="S", help="1/255 (default) or 1")
    parser.add_argument("--pictures", type=_count, default=8, metavar="N", help="pictures to measure on (default: 8)")
    parser.add_argument("--json", metavar="F", help='write all figures as JSON; "-": to standard output')
    parser.add_argument("--plot", type=Path, metavar="F.png", help="draw the most sensitive layers")
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pictures; write 8")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    from yoloq_quantize.mixed.prepare import Source, prepare
    from yoloq_quantize.mixed.sensitivity import measure_sensitivity
    from yoloq_quantize.report import replacing, write_json

    given = {field.name: getattr(args, field.name) for field in fields(Source)}
    subject, plan, objective = prepare(Source(**given), args.pictures, bar)
    result = measure_sensitivity(subject, plan, objective, pictures=args.pictures)
    if args.json == "-":
        print(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
    else:
        print(format_sensitivity(result))
        if args.json:
            write_json(Path(args.json), result.to_json())
    if args.plot is not None:
        from yoloq_quantize.mixed.plot import sensitivity_chart

        with replacing(args.plot) as part:
            part.write_bytes(sensitivity_chart(result))
    return 0


def format_sensitivity(result: Sensitivity) -> str:
    """A table of each kind of unit, the most sensitive first."""
    lines = [f"error of the whole in INT8: {result.whole:.5f} ({result.pictures} pictures)"]
    for kind, title in KINDS.items():
        rows = sorted((row for row in result.rows if row.unit.kind == kind), key=lambda row: -row.only)
        if not rows:
            continue
        rest = f", {len(rows) - SHOWN} more not shown" if len(rows) > SHOWN else ""
        width = max(len(row.unit.name) for row in rows[:SHOWN])
        lines += ["", f"{title}{rest}", f"{'':<{width}}  {'only it':>8}  {'but it':>8}  {'MACs %':>6}  {'dB':>5}"]
        for row in rows[:SHOWN]:
            gain = "—" if row.gain is None else f"{row.gain:.5f}"
            sqnr = "—" if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
            macs = "—" if kind == "scale" else f"{100 * row.macs:.2f}"
            lines.append(f"{row.unit.name:<{width}}  {row.only:>8.5f}  {gain:>8}  {macs:>6}  {sqnr:>5}")
    explained = "only it: error when nothing else is INT8; but it: error saved when this alone is float; dB: SQNR"
    return "\n".join([*lines, "", explained])
