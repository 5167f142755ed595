# SPDX-License-Identifier: Apache-2.0
"""The folder of NG pictures: its limit, and names and disks that make trouble."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from yoloq.serve.journal import Journal
from yoloq.serve.keeper import NgKeeper
from yoloq.serve.sources import FolderSource, Picture

PIXELS = np.random.default_rng(3).integers(0, 256, (100, 100, 3), np.uint8)  # about 30 KB as PNG
FOREIGN = ["logo.png", "20260101-080000-000000-1", "notes.json"]


class Told:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **values: Any) -> None:
        self.events.append((event, values))

    def names(self) -> list[str]:
        return [event for event, _ in self.events]


def keep(folder: Path, numbers: range, limit: int) -> Told:
    """Keeps pictures of these numbers in a run of its own."""
    keeper = NgKeeper(folder, told := Told(), limit)
    for number in numbers:  # no more than the keeper lets wait
        keeper.keep(Picture(PIXELS, "BGR", f"p{number}", None), {"sequence": number, "picture": f"p{number}"})
    keeper.close()
    return told


def numbers_in(folder: Path) -> list[int]:
    """The sequence numbers of what is kept; each has a picture and its JSON file."""
    pictures = sorted(path for path in folder.glob("*-*-*-*.png"))
    for picture in pictures:
        assert json.loads(picture.with_suffix(".json").read_text("utf-8"))["file"] == picture.name
    assert len(list(folder.glob("*-*-*-*.json"))) == len(pictures)
    return [int(picture.stem.rpartition("-")[2]) for picture in pictures]


def test_the_oldest_go_and_it_is_told_once(tmp_path: Path) -> None:
    assert keep(tmp_path, range(1, 4), 0).names() == []
    each = sum(path.stat().st_size for path in tmp_path.iterdir()) // 3
    for name in FOREIGN:
        (tmp_path / name).write_bytes(bytes(10 * each))
    (leftover := tmp_path / ".20260101-080000-000000-1.png.0a0b0c0d.part").write_bytes(bytes(each))  # of a power cut
    limit = 5 * each + each // 2
    assert keep(tmp_path, range(4, 5), limit).names() == []  # 4, and the leftover
    assert numbers_in(tmp_path) == [1, 2, 3, 4] and leftover.exists()
    told = keep(tmp_path, range(5, 21), limit)
    assert told.names() == ["ng_full"] and "the oldest pictures are removed" in told.events[0][1]["reason"]
    assert numbers_in(tmp_path) == [16, 17, 18, 19, 20] and not leftover.exists()
    assert all((tmp_path / name).stat().st_size == 10 * each for name in FOREIGN)  # not ours


def test_one_that_is_larger_than_the_limit_is_kept_alone(tmp_path: Path) -> None:
    assert keep(tmp_path, range(1, 4), 1000).names() == ["ng_full"]
    assert numbers_in(tmp_path) == [3]


def test_what_cannot_be_removed_keeps_new_ones_out_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, range(1, 3), 0)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name[0] != ".":
            raise PermissionError(13, "in use")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    told = keep(tmp_path, range(3, 5), 50000)
    assert told.names() == ["ng_full", "not_saved", "not_saved"]
    assert "cannot be removed" in told.events[1][1]["reason"]
    monkeypatch.undo()
    assert numbers_in(tmp_path) == [1, 2]


def test_a_failure_of_any_kind_is_told_and_the_next_is_kept(tmp_path: Path) -> None:
    told = Told()
    keeper = NgKeeper(tmp_path, told, 0)
    keeper.keep(Picture(PIXELS, "BGR", "bad", None), {"sequence": 1, "score": float("nan")})  # no JSON has it
    keeper.keep(Picture(PIXELS, "BGR", "good", None), {"sequence": 2})
    keeper.close()
    assert told.names() == ["not_saved"] and told.events[0][1]["picture"] == "bad"
    assert numbers_in(tmp_path) == [2]


def test_a_name_that_is_no_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a camera program's on a Chinese Windows, seen from Linux."""
    seen, kept = tmp_path / "seen", tmp_path / "kept"
    seen.mkdir()
    PillowImage.fromarray(PIXELS).save(beside := seen / "a.png")
    os.rename(beside, os.fsencode(seen) + "/零件.png".encode("gbk"))
    picture = FolderSource(seen, existing=True).take(1, newest=False)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", out)
    for as_json in (True, False):
        Journal(as_json)("result", picture=picture.name, reason="零件 \udcff")
    keeper = NgKeeper(kept, Told(), 0)
    keeper.keep(picture, {"sequence": 1, "picture": picture.name})
    keeper.close()
    assert numbers_in(kept) == [1]
    as_json, plain = out.buffer.getvalue().decode("ascii").splitlines()
    assert json.loads(as_json)["reason"] == "零件 \udcff" and plain.endswith("reason=\\u96f6\\u4ef6 \\udcff")
