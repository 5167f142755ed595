# SPDX-License-Identifier: Apache-2.0
"""Kinds of command-line arguments that several commands take, and their progress bar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable


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
