# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq evaluate`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yoloq_quantize.evaluate import Evaluation


def register(subparsers: Any) -> None:
    """Adds `evaluate` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure accuracy by COCO's rules",
        description="Measures mAP of a .yoloq package (through the C library) or of a float .onnx (ONNX Runtime) "
        "on labelled pictures, and its agreement with a reference model. Rule: score >= 0.001, multi-label, "
        "NMS IoU 0.7 where the head needs NMS, 300 detections per picture.",
    )
    parser.add_argument("model", type=Path, help="a .yoloq package or a .onnx model")
    parser.add_argument(
        "--data", type=Path, required=True, help="data.yaml, COCO .json, or a folder (with --reference)"
    )
    parser.add_argument("--split", default="val", help="which split of a data.yaml (default: val)")
    parser.add_argument("--images", type=Path, help="folder of a COCO file's pictures (default: beside it)")
    parser.add_argument("--reference", type=Path, help="a second model: also measure how far the two agree")
    parser.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "library", "reference", "simulator"),
        help="what runs a package; simulator: that of the chip's compiler, where it has one (Rockchip's, Canaan's)",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the result to this file; - for standard output")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from yoloq_quantize.evaluate import evaluate
    from yoloq_quantize.report import write_json

    result = evaluate(
        args.model,
        args.data,
        split=args.split,
        images=args.images,
        reference=args.reference,
        engine=args.engine,
        progress=sys.stderr.isatty(),
    )
    if args.json is not None and str(args.json) == "-":
        print(json.dumps(result.to_json(), indent=2, ensure_ascii=False))
        return 0
    print(format_evaluation(result))
    if args.json is not None:
        write_json(args.json, result.to_json())
    return 0


def format_evaluation(result: Evaluation) -> str:
    """The result as text for people."""
    split = f" ({result.split})" if result.split else ""
    lines = [
        f"model      {result.model}",
        f"engine     {result.engine}",
        f"data       {result.data}{split}, {result.pictures} pictures",
        f"latency    p50 {result.latency.p50_ms:.1f} ms, p90 {result.latency.p90_ms:.1f} ms (picture to boxes)",
    ]
    if result.accuracy is not None:
        lines += ["", *_accuracy_lines(result)]
    if result.size_hint:
        lines.append(result.size_hint)
    if result.agreement is not None:
        agreement = result.agreement
        lines += [
            "",
            f"agreement with {result.reference} (score >= 0.25; same class, IoU >= 0.9, score within 0.05)",
            f"  {_points(agreement.candidate_confirmed)} % of the model's {agreement.candidate_detections} detections",
            f"  {_points(agreement.reference_confirmed)} % of the reference's {agreement.reference_detections}",
        ]
    return "\n".join(lines)


def _accuracy_lines(result: Evaluation) -> list[str]:
    accuracy = result.accuracy
    width = max([len("class"), *(len(c.name) for c in accuracy.per_class)])
    head = f"{'class':<{width}}  {'objects':>8}  {'AP50':>6}  {'AP50-95':>7}"
    rows = [(c.name, c.instances, c.ap50, c.ap50_95) for c in accuracy.per_class]
    total = ("all", accuracy.instances, accuracy.map50, accuracy.map50_95)
    text = [f"{n:<{width}}  {i:>8}  {_points(a):>6}  {_points(b):>7}" for n, i, a, b in (*rows, total)]
    rule = "-" * len(head)
    sizes = ", ".join(f"{name} {_points(getattr(accuracy, name))}" for name in ("small", "medium", "large"))
    return [head, rule, *text[:-1], rule, text[-1], f"mAP50-95 by size: {sizes}; mAP75 {_points(accuracy.map75)}"]


def _points(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"
