# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq quantize`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from yoloq_quantize.arguments import add_order, bar, option, order_of, scale, size
from yoloq_quantize.recipes import STEPS


def register(subparsers: Any) -> None:
    """Adds `quantize` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "quantize",
        help="turn a trained model into an INT8 package for a chip",
        description="Finds and cuts the detection head, calibrates on pictures, quantises, writes a .yoloq package.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="a float32 ONNX detector, opset 11 to 20")
    parser.add_argument("--calib", type=Path, metavar="DIR", help="folder of calibration pictures, 30 or more")
    parser.add_argument("--target", default="cpu", help="the chip (default: cpu)")
    parser.add_argument("--out", type=Path, required=True, metavar="P.yoloq", help="the package to write")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="data.yaml",
        help="class names, if the model holds none; float model and package are measured on its validation pictures",
    )
    parser.add_argument("--no-measure", action="store_true", help="take only the class names from --data")
    _add_recipe(parser)
    _add_model(parser)
    add_order(parser)
    parser.add_argument("--name", help="the model's name in the package (default: the file's)")
    parser.add_argument(
        "--not-compiled",
        action="store_true",
        help="leave out the chip's own compiler: a package with the quantised graph, which the CPU runs and `yoloq "
        "compile` takes",
    )
    parser.add_argument("--force", action="store_true", help="replace a package that exists")
    parser.add_argument("--json", metavar="F", help='write a summary as JSON; "-": to standard output')
    parser.set_defaults(run=_run_quantize)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """How it is quantised."""
    parser.add_argument("--recipe", default="default", help="fast, default or best (needs PyTorch)")
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="loss in points of mAP that may stay; nodes go back to float until it is kept (default: 0.5)",
    )
    parser.add_argument(
        "--float-time",
        type=float,
        metavar="SHARE",
        help="leave the most sensitive layers in float, for this share of the INT8 graph's time on top: 0.15, or 2 "
        "(the step spend)",
    )
    parser.add_argument(
        "--with", dest="steps_on", action="append", default=[], metavar="STEP", help=f"add one of {', '.join(STEPS)}"
    )
    parser.add_argument(
        "--without", dest="steps_off", action="append", default=[], metavar="STEP", help="leave one out"
    )
    parser.add_argument(
        "--fit-boxes",
        dest="steps_on",
        action="append_const",
        const="boxes",
        help="scale all boxes as the labels beside the calibration pictures want them; the same as --with boxes",
    )
    parser.add_argument(
        "--swap-activations",
        dest="steps_on",
        action="append_const",
        const="swap",
        help="learn HardSwish in place of SiLU where it pays (needs PyTorch); the same as --with swap",
    )
    parser.add_argument(
        "--train-pictures", type=Path, metavar="DIR", help="more unlabelled pictures for the steps that learn"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    """What the model is, where the file does not say."""
    parser.add_argument(
        "--precision",
        default="int8",
        choices=("int8", "float32"),
        help="float32: the same cut and input, nothing quantised",
    )
    parser.add_argument(
        "--head",
        default="auto",
        choices=("auto", "dense-cxcywh", "dense-xyxy", "end2end"),
        help="auto finds and cuts the head; the others leave a decoded output in the graph",
    )
    parser.add_argument("--size", type=size, metavar="HxW", help="input size in pixels, if the model leaves it open")
    parser.add_argument("--color", default="RGB", choices=("RGB", "BGR"), help="what the model was trained on")
    parser.add_argument(
        "--align",
        default="center",
        choices=("center", "topleft"),
        help="where the letterbox puts the picture, as the model was trained (YOLOX: topleft)",
    )
    parser.add_argument(
        "--no-box-voting",
        dest="box_voting",
        action="store_false",
        help="plain NMS: a kept box stays as it is, instead of the mean of its own and of those that it suppresses",
    )
    parser.add_argument(
        "--input-scale",
        type=scale,
        default=1 / 255,
        metavar="S",
        help="a byte times S is the model's input: 1/255 (default) or 1",
    )
    parser.add_argument(
        "--backend-option",
        action="append",
        default=[],
        type=option,
        metavar="KEY=VALUE",
        help="for the target's backend, such as precision=f32; may be given several times",
    )


def _run_quantize(args: argparse.Namespace) -> int:
    from yoloq_quantize import quantize

    result = quantize(
        args.model,
        args.calib,
        args.out,
        args.target,
        precision=args.precision,
        recipe=args.recipe,
        steps_on=args.steps_on,
        steps_off=args.steps_off,
        max_drop=args.max_drop,
        float_time=args.float_time,
        train_pictures=args.train_pictures,
        data=args.data,
        measure=not args.no_measure,
        head=args.head,
        size=args.size,
        color=args.color,
        input_scale=args.input_scale,
        align=args.align,
        box_voting=args.box_voting,
        name=args.name,
        backend_options=dict(args.backend_option),
        compiled=not args.not_compiled,
        order=order_of(args),
        force=args.force,
        progress=bar,
    )
    summary = result.to_json()
    for warning in result.warnings:
        print(f"yoloq: warning: {warning}", file=sys.stderr)
    if args.json == "-":
        print(json.dumps(summary, ensure_ascii=False, indent=2))
        return 0
    if args.json:
        from yoloq_quantize.report import replacing

        with replacing(Path(args.json)) as part:
            part.write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if result.kit:
        print(f"{result.package}: a build kit, as the compiler is not on this machine; run its build.sh where it is")
    print(
        f"{result.package}: {result.precision}, head {result.family}, {len(result.classes)} classes, "
        f"{result.width}x{result.height}, {result.int8_convolutions} of {result.convolutions} convolutions in INT8 "
        f"({100 * result.int8_macs:.1f} % of the multiply-adds), {result.bytes / 1e6:.2f} MB"
    )
    for done in result.steps:
        if done.step == "boxes":
            width, height = done.detail["scale"]
            print(f"boxes scaled by {width:.3f} x {height:.3f}, from {done.detail['pairs']} labelled objects")
    if result.accuracy:
        before, after = result.accuracy["float"], result.accuracy["package"]
        print(
            f"{result.accuracy['pictures']} validation pictures: mAP50 {before['map50']:.2f} -> {after['map50']:.2f}, "
            f"mAP50-95 {before['map50_95']:.2f} -> {after['map50_95']:.2f}"
        )
    return 0
