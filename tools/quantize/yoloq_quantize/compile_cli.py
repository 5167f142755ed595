# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq compile`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from yoloq_quantize.arguments import add_order, bar, order_of


def register(subparsers: Any) -> None:
    """Adds `compile` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "compile",
        help="compile a quantised package, made for the CPU, for a chip",
        description="Takes a package that holds the quantised graph, as `quantize --not-compiled` makes it for a chip, "
        "and compiles it. Where the chip's compiler is not on this machine, a build kit is written if it has one: a "
        "folder to carry to a machine that has it.",
    )
    parser.add_argument("package", type=Path, metavar="P.yoloq", help="a package whose artefact is ONNX")
    parser.add_argument("--target", required=True, help="the chip")
    parser.add_argument("--out", type=Path, required=True, metavar="Q.yoloq", help="the package to write")
    add_order(parser)
    parser.add_argument("--force", action="store_true", help="replace a package or a kit that exists")
    parser.set_defaults(run=_run_compile)


def _run_compile(args: argparse.Namespace) -> int:
    from yoloq_quantize.compile import compiler_of
    from yoloq_quantize.errors import QuantizeError
    from yoloq_quantize.flow.compilers import compile_package
    from yoloq_quantize.package import check_free
    from yoloq_quantize.scheme import load_target

    if compiler_of(load_target(args.target)) is None:
        raise QuantizeError(f"target {args.target} takes a package as it is; there is nothing to compile, copy it")
    if not (args.package / "model.onnx").is_file():
        raise QuantizeError(f"{args.package}: holds no model.onnx; make it with yoloq quantize --not-compiled")
    check_free(args.out, args.force)
    log, kit = args.out.with_name(f"{args.out.name}.log"), args.out.with_suffix(".kit")
    if compile_package(args.package, args.target, args.out, log, bar, order=order_of(args), kit=kit, force=args.force):
        print(f"{kit}: a build kit, as the compiler is not on this machine; run its build.sh where it is")
        return 0
    print(f"{args.out}: compiled for {args.target}")
    return 0
