# SPDX-License-Identifier: Apache-2.0
"""`yoloq select`: folders, links, lists, the contact sheet, refusals."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from test_select_choose import save, scene
from yoloq_quantize.dataset import DatasetError, list_images
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.select.cli import register
from yoloq_quantize.select.sheet import write_sheet


def select(*words: object) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    args = parser.parse_args(["select", *map(str, words)])
    return args.run(args)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 pictures in two folders, Chinese names, labels for some, a duplicate and a broken one."""
    home = tmp_path / "照片"
    for index in range(40):
        path = save(home / ("白班" if index % 2 else "夜班"), f"零件 {index:02}.png", scene(index))
        if index < 10:
            path.with_suffix(".txt").write_text("0 .5 .5 .1 .1\n")
    save(home, "再来.jpg", scene(0), quality=70)
    (home / "坏.png").write_text("no picture")
    return home


def test_a_folder_of_copies_with_labels(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert select(folder, "--count", 36, "--out", out, "--json", tmp_path / "s.json") == 0
    pictures = list_images(out)
    assert len(pictures) == 36
    for picture in pictures:
        original = folder / picture.relative_to(out)
        assert picture.read_bytes() == original.read_bytes()
        assert not os.path.samefile(picture, original)
        assert picture.with_suffix(".txt").exists() == original.with_suffix(".txt").exists()
    document = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert {entry["file"] for entry in document["chosen"]} == {p.relative_to(out).as_posix() for p in pictures}
    assert all(entry["reasons"] for entry in document["chosen"])
    assert document["duplicates"] == [{"file": "夜班/零件 00.png", "of": "再来.jpg"}]
    assert [entry["file"] for entry in document["unreadable"]] == ["坏.png"]
    said = capsys.readouterr()
    assert "36 of 41 pictures, 1 near-duplicates and 1 unreadable files left out" in said.out
    assert "坏.png: not a readable picture" in said.err
    assert "1 of 42 files cannot be read and are left out" in said.err


def test_links(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert select(folder, "--count", 5, "--out", out, "--link") == 0
    assert all(os.path.samefile(picture, folder / picture.relative_to(out)) for picture in list_images(out))


@pytest.mark.parametrize("place", ["list.txt", "deep/list.txt"])
def test_a_list_is_read_as_calibration_pictures(folder: Path, tmp_path: Path, place: str) -> None:
    out = tmp_path / place
    assert select(folder, "--count", 33, "--out", out) == 0
    files = list_images(out)
    assert len(files) == 33
    assert all(file.resolve().is_relative_to(folder) for file in files)
    assert select(out, "--count", 33, "--out", tmp_path / "again.txt") == 0  # a list is a folder, too
    assert [f.resolve() for f in list_images(tmp_path / "again.txt")] == [f.resolve() for f in files]


def test_lists_with_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("none.png\n")
    with pytest.raises(DatasetError, match=r"list.txt:1: no such picture .*none.png"):
        list_images(path)
    path.write_text("\n")
    with pytest.raises(DatasetError, match="lists no picture"):
        list_images(path)
    with pytest.raises(DatasetError, match="no such folder"):
        list_images(tmp_path / "other.txt")


def test_the_contact_sheet(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert select(folder, "--count", 12, "--out", tmp_path / "l.txt", "--sheet", sheet) == 0
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    reason = (pixels[..., 0] - pixels[..., 2]) > 100  # the reasons' colour
    rows = np.flatnonzero(reason[:, : pixels.shape[1]].any(axis=1))
    assert np.flatnonzero(np.diff(rows) > 60).size + 1 == 3  # 12 pictures in rows of 5


def test_chinese_names_are_drawn_as_written(tmp_path: Path) -> None:
    """Two names give two texts: a font without them would draw the same box for each character."""
    drawn = []
    file = save(tmp_path, "p.png", scene(1))
    for name in ("螺栓.png", "垫圈.png"):
        write_sheet(tmp_path / "s.png", [(file, name, ["dark"])], "t")
        with Image.open(tmp_path / "s.png") as image:
            drawn.append(np.asarray(image))
    assert drawn[0].shape == drawn[1].shape
    assert (drawn[0] != drawn[1]).any()


def test_many_reasons_and_long_or_strange_names(tmp_path: Path) -> None:
    file = save(tmp_path, "p.png", scene(1))
    write_sheet(tmp_path / "s.png", [(file, "x" * 300 + "\udcff\n.png", ["a", "b", "c", "d", "e"])], "t")
    with Image.open(tmp_path / "s.png") as image:
        assert image.width < 1000


def test_warnings_and_strict(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "val", "a.png", scene(1) // 8)
    out = tmp_path / "out"
    assert select(folder, "--count", 60, "--out", out, "--compare", tmp_path / "val") == 0
    said = capsys.readouterr().err
    assert "only 40 different pictures of 41; 60 were asked for" in said
    assert "those are darker (brightness" in said
    with pytest.raises(QuantizeError, match="--strict: nothing was written"):
        select(folder, "--count", 60, "--out", tmp_path / "strict", "--strict")
    assert not (tmp_path / "strict").exists()


def test_places_that_are_refused(folder: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.odt").write_text("mine")
    with pytest.raises(QuantizeError, match="is not empty"):
        select(folder, "--out", full)
    with pytest.raises(QuantizeError, match=r"holds thesis.odt, no picture"):
        select(folder, "--out", full, "--force")
    with pytest.raises(QuantizeError, match="exists and is no folder"):
        select(folder, "--out", full / "thesis.odt")
    with pytest.raises(QuantizeError, match="--link fills a folder"):
        select(folder, "--out", tmp_path / "l.txt", "--link")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("x")
    with pytest.raises(QuantizeError, match="none of its 1 pictures can be read"):
        select(tmp_path / "bad", "--out", tmp_path / "n")
    assert not (tmp_path / "n").exists()


def test_force_replaces_an_earlier_choice(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    select(folder, "--count", 10, "--out", out)
    select(folder, "--count", 4, "--out", out, "--force")
    assert len(list_images(out)) == 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_labels_below_images_stay_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a", "p.png", scene(1)).with_suffix(".txt").write_text("0 .5 .5 .1 .1\n")
    assert select(tmp_path / "a", "--out", tmp_path / "images" / "calib") == 0
    assert "labels stayed behind" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_bad_counts(count: str) -> None:
    with pytest.raises(SystemExit) as caught:
        select("f", "--count", count, "--out", "o")
    assert caught.value.code == 2
