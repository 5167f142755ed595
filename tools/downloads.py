# SPDX-License-Identifier: Apache-2.0
"""Files of package registries in pinned versions, checked by their SHA-256, unpacked once: wheels and npm packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PYTHON = "3.11"  # of wheels that name one; their files are used without it


class DownloadError(Exception):
    """A file cannot be had; the text says why."""


@dataclass(frozen=True)
class Download:
    """A registry's file, and which of its contents are kept (by the start of their names; () is all)."""

    name: str
    version: str
    sha256: str
    keep: tuple[str, ...] = ()
    platform: str = ""
    """A wheel's; without one it is an npm package."""

    @property
    def label(self) -> str:
        return "-".join(filter(None, (self.name, self.version, self.platform)))


def fetch(download: Download, shelf: Path) -> Path:
    """The folder in `shelf` of a download's files, fetched and unpacked once."""
    folder = shelf / download.label
    if folder.exists():
        return folder
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        file = _wheel(download, scratch) if download.platform else _npm(download, scratch)
        check(file, download.sha256)
        _unpack(file, scratch, lambda name: name.startswith(download.keep or ("",)))
        file.unlink()
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def check(file: Path, sha256: str) -> None:
    """Raises DownloadError unless the file is the one that was pinned."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise DownloadError(f"{file.name} has SHA-256 {found}, not {sha256}: the registry's file was changed")


def _wheel(download: Download, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    wheel = ["--only-binary=:all:", "--platform", download.platform, "--python-version", PYTHON, "-d", folder]
    _run(*pip, *wheel, f"{download.name}=={download.version}")
    return next(folder.glob("*.whl"))


def _npm(download: Download, folder: Path) -> Path:
    _run("npm", "pack", "--silent", "--pack-destination", folder, f"{download.name}@{download.version}")
    return next(folder.glob("*.tgz"))


def _run(*command: str | Path) -> None:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError as error:
        raise DownloadError(f"{words[0]} is not installed: python3 build.py test installs what is needed") from error
    if done.returncode:
        raise DownloadError(f"exit code {done.returncode}: {' '.join(words)}\n{done.stdout.decode('utf-8', 'replace')}")


def _unpack(file: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if wanted(name)])
        return
    with tarfile.open(file) as archive:
        archive.extractall(folder, [member for member in archive if wanted(member.name)], filter="data")
