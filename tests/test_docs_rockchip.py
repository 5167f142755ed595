# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/rockchip.md, in both languages, are what the proof measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


def lost(side: dict) -> str:
    """Both losses, and the interval of mAP50-95; nothing for the float model."""
    if "loss_map50" not in side:
        return ""
    first, (second, low, high) = side["loss_map50"][0], side["loss_map50_95"]
    return f"{first:.2f} / {second:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def cells(side: dict) -> list[str]:
    """A side of a proof as the documents' tables write it."""
    cycles = f"{side['expected_cycles'] / 1e6:.2f} M" if "expected_cycles" in side else ""
    f16 = str(side.get("f16_operators", ""))
    seen = f"{side['matched_float']:.1f} %"
    return [f"{side['map50']:.2f}", f"{side['map50_95']:.2f}", lost(side), seen, f16, cycles]


def judged_twice(side: dict) -> list[str]:
    """As `cells`, with what is lost when boxes are as large as labels in the middle."""
    plain, fitted = cells(side), side["boxes_to_labels"]
    return [*plain[:3], f"{fitted['map50_95']:.2f}", lost(fitted), *plain[3:]]


@pytest.mark.parametrize("name", ["rockchip.md", "rockchip.zh-CN.md"])
def test_the_table_is_the_proof(root: Path, name: str) -> None:
    proof = json.loads((root / "docs" / "proof" / "rockchip.json").read_text())
    sides = [proof["float"] | {"matched_float": 100.0}, proof["cpu_int8"]]
    sides += [proof["ours"]["default"], proof["ours"]["fast"]]
    sides += [side for side in proof["vendor"] if "failed" not in side]
    text = (root / "docs" / name).read_text(encoding="utf-8")
    table = text.split("| mAP50 |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    found = [[cell.strip() for cell in row.strip("|").split("|")][1:] for row in table]
    assert found == [judged_twice(side) for side in sides]
    assert re.search(rf"\b{proof['pictures']}\b", text.split("| mAP50 |", 1)[0].splitlines()[-1])
    assert proof["date"] in text


@pytest.mark.parametrize("name", ["rockchip.md", "rockchip.zh-CN.md"])
def test_the_table_of_rv1106_is_the_proof(root: Path, name: str) -> None:
    proof = json.loads((root / "docs" / "proof" / "rv1106.json").read_text())
    sides = [proof["float"] | {"matched_float": 100.0}, *(proof["ours"][way] for way in ("default", "fast"))]
    sides.append(proof["vendor"])
    text = (root / "docs" / name).read_text(encoding="utf-8").split("## RV1106", 1)[1]
    head, table = text.split("| mAP50 |", 1)
    rows = table.split("\n\n", 1)[0].splitlines()[2:]
    found = [[cell.strip() for cell in row.strip("|").split("|")][1:] for row in rows]
    assert found == [judged_twice(side) for side in sides]
    assert re.search(rf"\b{proof['pictures']}\b", head.splitlines()[-1])
    assert proof["date"] in text


@pytest.mark.parametrize("name", ["rockchip.md", "rockchip.zh-CN.md"])
def test_the_table_of_what_attention_does_to_boxes_is_the_proof(root: Path, name: str) -> None:
    proof = json.loads((root / "docs" / "proof" / "rv1106.json").read_text())
    without, fast = proof["without_rule"], proof["ours"]["fast"]
    sides = [without["same_graph"], without, fast["same_graph"], fast, proof["vendor"]]
    text = (root / "docs" / name).read_text(encoding="utf-8").split("## RV1106", 1)[1]
    table = text.split(f"{proof['float']['map50_95']:.2f}", 2)[2].split("\n\n", 1)[0].splitlines()[2:]
    found = [re.findall(r"−?\d+\.\d+", row.split("|", 2)[2]) for row in table]
    figures = [
        [f"{side['width']:.3f}", f"{side['height']:.3f}", f"{side['map50_95']:.2f}"]
        + [f"{part:.2f}".replace("-", "−") for part in side["loss_map50_95"]]
        + [f"{side['matched_float']:.1f}"]
        for side in sides
    ]
    assert found == figures
