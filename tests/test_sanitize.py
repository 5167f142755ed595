# SPDX-License-Identifier: Apache-2.0
"""tests/sanitize.py: it looks again where its tool gave no verdict, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sanitize import LOOKS, NO_VERDICT, look

DIES = f"==7==HINT\nTracer caught signal 11\n==7=={NO_VERDICT}."
LEAKS = "==7==ERROR: LeakSanitizer: detected memory leaks"


@pytest.mark.parametrize(
    ("says", "looks", "seen"),
    [
        ([""], 1, ""),
        ([DIES, ""], 2, ""),
        ([DIES, LEAKS], 2, LEAKS),
        ([LEAKS, ""], 1, LEAKS),
        ([DIES] * 9, LOOKS, NO_VERDICT),
    ],
)
def test_looks_until_there_is_a_verdict(tmp_path: Path, says: list[str], looks: int, seen: str) -> None:
    """A program that ends with 1 where it says something, and counts its runs."""
    program = (
        "import pathlib, sys\n"
        f"runs, says = pathlib.Path({str(tmp_path / 'runs')!r}), {says!r}\n"
        "count = len(runs.read_text()) if runs.exists() else 0\n"
        "runs.write_text('x' * (count + 1))\n"
        "sys.exit(says[count] or None)\n"
    )
    outcome = look([sys.executable, "-c", program], {})
    assert len((tmp_path / "runs").read_text()) == outcome.looks == looks
    assert seen in outcome.failure if seen else not outcome.failure
