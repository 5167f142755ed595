# SPDX-License-Identifier: Apache-2.0
"""Where `yoloq serve` takes its pictures from: a folder that changes meanwhile, and what is none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import yoloq
from modbus_pictures import put
from yoloq.serve.sources import FolderSource, open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "图片"
    made.mkdir()
    return made


def test_a_half_written_picture_waits(folder: Path) -> None:
    source = FolderSource(folder, existing=False)
    data = put(folder, ".whole.png").read_bytes()
    path = folder / "slow.png"
    path.write_bytes(data[: len(data) // 2])
    assert source.take(0.1, newest=False) is None
    path.write_bytes(data)
    assert source.take(2, newest=False).name == "slow.png"
    assert source.take(0.05, newest=False) is None


def test_a_trigger_takes_the_newest_and_skips_the_rest(folder: Path) -> None:
    source = FolderSource(folder, existing=False)
    for number in range(3):
        put(folder, f"{number}.png")
        time.sleep(0.01)
    assert source.take(1, newest=True).name == "2.png"
    assert source.take(0.05, newest=True) is None


def test_a_folder_that_goes_and_comes(folder: Path) -> None:
    put(folder, "before.png")
    source = FolderSource(folder, existing=False)
    away = folder.rename(folder.with_name("away"))
    assert source.take(0.05, newest=False) is None
    away.rename(folder)
    put(folder, "a.png")
    assert source.take(2, newest=False).name == "a.png"
    assert source.take(0.05, newest=False) is None  # what was there before does not come again


def test_a_full_folder_is_not_asked_for_every_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look costs the same whatever has gathered there; a file written anew is found all the same."""
    old = put(folder, "old.png").read_bytes()
    for number in range(1500):
        (folder / f"{number}.png").write_bytes(old)
    source = FolderSource(folder, existing=False)
    asked: list[Path] = []
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **more: asked.append(path) or stat(path, **more))
    assert source.take(0, newest=False) is None
    assert 0 < len(asked) <= 250
    put(folder, "new.png", seed=1)
    assert source.take(0, newest=True).name == "new.png"
    for number in (0, 1499):
        put(folder, f"{number}.png", seed=2)
        assert source.take(20, newest=False).name == f"{number}.png"
    assert source.take(0.05, newest=False) is None


def test_files_that_vanish_hide_no_others(folder: Path) -> None:
    """A link to nowhere is listed but not there, as a file is that was taken away in that moment."""
    for number in range(6):
        (folder / f"{number}-gone.png").symlink_to(folder / "nowhere")
        put(folder, f"{number}.png")
    source = FolderSource(folder, existing=True)
    assert {source.take(1, newest=False).name for _ in range(6)} == {f"{number}.png" for number in range(6)}
    assert source.take(0.05, newest=False) is None


def test_a_source_that_is_none() -> None:
    with pytest.raises(yoloq.NotFound, match="no such source: /no/where"):
        open_source("/no/where", existing=False)
    with pytest.raises(yoloq.NotFound, match="cannot open camera 97"):
        open_source("97", existing=False)
