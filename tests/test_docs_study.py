# SPDX-License-Identifier: Apache-2.0
"""The losses in the tables of docs/quantisation-study.md are what the proofs of quantisation measured."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

PROOFS = Path(__file__).resolve().parent.parent / "docs" / "proof"
NAMES = sorted(path.stem for path in PROOFS.glob("quantisation-*.json"))
UNSAID = {"float, plain NMS", "yoloq float32"}  # told in words, or nothing is lost
LOSS = re.compile(r"(−?\d+\.\d\d) \[(−?\d+\.\d\d), (−?\d+\.\d\d)\]")
ROUNDED = 0.0051  # points: two digits


def losses(line: str) -> list[np.ndarray]:
    """Each loss of a line with its interval."""
    return [np.array([float(part.replace("−", "-")) for part in found]) for found in LOSS.findall(line)]


@pytest.mark.parametrize("name", NAMES)
def test_the_study_says_what_the_proof_measured(root: Path, name: str) -> None:
    rows = json.loads((PROOFS / f"{name}.json").read_text())["rows"]
    text = (root / "docs" / "quantisation-study.md").read_text(encoding="utf-8")
    pairs = [np.concatenate(pair) for line in text.splitlines() for pair in pairwise(losses(line))]
    told = {row: each for row, each in rows.items() if "loss mAP50" in each and row not in UNSAID and each["mAP50"] > 1}
    assert len(told) >= 4
    for row, each in told.items():
        both = [[each[f"loss {metric}"], *each[f"loss {metric}, 95 %"]] for metric in ("mAP50", "mAP50-95")]
        assert any(np.abs(pair - np.concatenate(both)).max() < ROUNDED for pair in pairs), f"{row}: {both}"
    assert f"{rows['float']['mAP50']:.2f} / {rows['float']['mAP50-95']:.2f}" in text
