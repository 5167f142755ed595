# SPDX-License-Identifier: Apache-2.0
"""The toolchain's commands, for the one command `yoloq`. Heavy imports wait until a command runs."""

from __future__ import annotations

from typing import Any

from yoloq_quantize import compile_cli, evaluate_cli, quantize_cli
from yoloq_quantize.compare import cli as compare_cli
from yoloq_quantize.flow import cli as flow_cli
from yoloq_quantize.mixed import cli as mixed_cli
from yoloq_quantize.select import cli as select_cli


def register(subparsers: Any) -> None:
    """Adds the toolchain's commands to an argparse subparsers object; `args.run(args)` returns the exit code."""
    quantize_cli.register(subparsers)
    compile_cli.register(subparsers)
    evaluate_cli.register(subparsers)
    mixed_cli.register(subparsers)
    select_cli.register(subparsers)
    compare_cli.register(subparsers)
    flow_cli.register(subparsers)
