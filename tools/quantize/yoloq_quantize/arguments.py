# SPDX-License-Identifier: Apache-2.0
"""Kinds of command-line arguments that several commands take, and their progress bar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any


def size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    try:
        sides = int(height), int(width or height)
    except ValueError:
        sides = (0, 0)
    if min(sides) < 32 or max(sides) > 8192:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 640 or 480x640 (height x width)")
    return sides


def option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE; write precision=f32")
    return key, value


def batches(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no batch sizes; write 1 or 1,4") from None


def add_order(parser: argparse.ArgumentParser) -> None:
    """What compilers that have choices are asked for; see `order_of`."""
    group = parser.add_argument_group("compiling, for targets that have a choice")
    group.add_argument("--soc", metavar="NAME", help="the exact chip, such as Ascend310P3")
    group.add_argument(
        "--batch", type=batches, default=(1,), metavar="N,N", help="pictures at once, one artefact each (default: 1)"
    )
    group.add_argument(
        "--sdk-version", metavar="V", help="of the vendor's software that will run it, if it is not the one found here"
    )


def order_of(args: argparse.Namespace) -> Any:
    """The `compile.compiled.Order` of the arguments."""
    from yoloq_quantize.compile.compiled import Order

    return Order(args.soc, args.batch, args.sdk_version)


def scale(text: str) -> float:
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 1/255 or 1") from None


def bar(items: Iterable, what: str) -> Iterable:
    """A progress bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, unit="picture", leave=False)
