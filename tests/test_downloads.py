# SPDX-License-Identifier: Apache-2.0
"""Downloads of the tools: what is on the shelf is used, what is not the pinned file is refused."""

from __future__ import annotations

import hashlib
import importlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
downloads: Any = importlib.import_module("downloads")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that pip takes for its registry."""
    folder = tmp_path / "registry"
    folder.mkdir()
    file = folder / "part-1.0-py3-none-win_amd64.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("part/kept.dll", b"kept")
        archive.writestr("other/left.txt", b"left out")
        archive.writestr("part-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: part\nVersion: 1.0\n")
        archive.writestr("part-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-win_amd64\n")
        archive.writestr("part-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return file


def test_a_wheel_is_checked_unpacked_and_kept(wheel: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wanted = downloads.Download("part", "1.0", digest, ("part/",), "win_amd64")
    folder = downloads.fetch(wanted, tmp_path / "shelf")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["kept.dll"]
    wheel.unlink()  # not asked for again
    assert downloads.fetch(wanted, tmp_path / "shelf") == folder
    with pytest.raises(downloads.DownloadError, match=r"exit code 1: .*part==2\.0"):
        downloads.fetch(replace(wanted, version="2.0"), tmp_path / "shelf")


def test_another_file_is_refused(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(downloads.DownloadError, match=r"has SHA-256 .*, not 0{64}: the registry"):
        downloads.fetch(downloads.Download("part", "1.0", "0" * 64, (), "win_amd64"), tmp_path / "shelf")
    assert list((tmp_path / "shelf").iterdir()) == []  # and nothing of it stays
