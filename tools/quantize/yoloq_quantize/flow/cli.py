# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq pipeline`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from yoloq_quantize.arguments import bar

_FROM = ("reference", "quantize", "evaluate", "compile", "package", "push")


def register(subparsers: Any) -> None:
    """Adds `pipeline` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "pipeline",
        help="model to destination by one YAML file: quantise, gate, compile, package, push",
        usage="yoloq pipeline [rollback] pipeline.yaml [options]",
        description="Runs what changed since the last time, and nothing else. A model that misses its accuracy limits "
        "goes nowhere (exit code 1). `rollback` switches the destinations back to the version before.",
    )
    parser.add_argument("words", nargs="+", metavar="[rollback] pipeline.yaml", help="see docs/pipeline.md")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and why; change nothing")
    parser.add_argument("--force", action="store_true", help="run every step; push even what was rolled back")
    parser.add_argument("--from", dest="first", choices=_FROM, metavar="STEP", help=f"rerun from: {', '.join(_FROM)}")
    parser.add_argument("--to", metavar="VERSION", help="rollback: to this version instead of the one before")
    parser.add_argument("--model", metavar="NAME", help="rollback: only this model")
    parser.add_argument("--json", metavar="F", help='write a report as JSON; "-": to standard output')
    parser.set_defaults(run=lambda args: _run(parser, args))


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    back = args.words[0] == "rollback" and len(args.words) == 2
    if not back and len(args.words) != 1:
        parser.error("give one pipeline.yaml, or: rollback pipeline.yaml")
    if back and (args.dry_run or args.force or args.first):
        parser.error("rollback takes --to, --model and --json only")
    if not back and (args.to or args.model):
        parser.error("--to and --model go with rollback")
    return (_roll_back if back else _run_plan)(args)


def _run_plan(args: argparse.Namespace) -> int:
    from yoloq_quantize.flow.plan import read_plan
    from yoloq_quantize.flow.run import Options, run

    quiet = args.json == "-"
    options = Options(
        dry_run=args.dry_run,
        force=args.force,
        first=args.first,
        say=(lambda line: None) if quiet else (lambda line: print(line, flush=True)),
        progress=bar,
        bars=sys.stderr.isatty(),
    )
    report = run(read_plan(Path(args.words[0])), options)
    _write(args.json, report.to_json())
    for job in report.jobs:
        if job.error:
            print(f"yoloq: error: {job.name}: {' '.join(job.error.split())}", file=sys.stderr)
        elif job.package and not quiet and not args.dry_run:
            print(f"{job.name}: {job.package}")
    if not report.failed and not report.changed and not quiet:
        print("nothing to do: everything is up to date")
    return 1 if report.failed else 0


def _roll_back(args: argparse.Namespace) -> int:
    from yoloq_quantize.flow.plan import read_plan
    from yoloq_quantize.flow.run import rollback

    switched = rollback(read_plan(Path(args.words[1])), args.to, args.model, print if args.json != "-" else _silent)
    _write(args.json, {"rolled_back": switched})
    return 0


def _silent(line: str) -> None:
    """For --json -."""


def _write(where: str | None, document: dict[str, Any]) -> None:
    if where == "-":
        print(json.dumps(document, ensure_ascii=False, indent=2))
    elif where:
        from yoloq_quantize.report import write_json

        write_json(Path(where), document)
