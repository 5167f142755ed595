# SPDX-License-Identifier: Apache-2.0
"""Results of steps, found again by what went into them. Each is a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from yoloq_quantize.errors import QuantizeError

_DONE = "done.json"
_KEPT = 3  # results of a step: going back to an earlier setting costs nothing


@cache
def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; a file is read once in a process."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise QuantizeError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from None


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path with forward slashes, of every file in a folder, sorted; read afresh."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def key_of(inputs: dict[str, Any]) -> str:
    """SHA-256 of what a step depends on."""
    return hashlib.sha256(_canonical(inputs).encode()).hexdigest()


def _canonical(document: Any) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)


class Cache:
    """A work folder: JOB/STEP/KEY/ with the step's files and done.json. One process at a time uses it: `locked`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, job: str, step: str, key: str) -> Path:
        return self.root / job / step / key[:16]

    def find(self, job: str, step: str, key: str) -> Path | None:
        """The folder of a finished result, if its files are still what they were."""
        folder = self.place(job, step, key)
        try:
            done = json.loads((folder / _DONE).read_text(encoding="utf-8"))
            found = folder_digests(folder)
        except (OSError, ValueError):
            return None
        found.pop(_DONE)
        return folder if isinstance(done, dict) and done.get("key") == key and done.get("files") == found else None

    @contextlib.contextmanager
    def make(self, job: str, step: str, key: str, inputs: dict[str, Any]) -> Iterator[Path]:
        """A new folder to fill; takes its place if the block succeeds, and is removed if not."""
        place = self.place(job, step, key)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self._ready(place.parent)))
        try:
            yield part
            done = {"key": key, "inputs": inputs, "files": folder_digests(part)}
            (part / _DONE).write_text(_canonical(done) + "\n", encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._prune(place)

    def changes(self, job: str, step: str, inputs: dict[str, Any]) -> str:
        """Why a step must run: which inputs differ from its latest result's."""
        latest = self._results(self.root / job / step)[:1]
        if not latest:
            return "first run"
        try:
            before = json.loads((latest[0] / _DONE).read_text(encoding="utf-8"))["inputs"]
        except (OSError, ValueError, KeyError):
            return "the last result is damaged"
        now = json.loads(_canonical(inputs))
        names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        return f"changed: {', '.join(names)}" if names else "forced, or the last result is damaged"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out, and removes what a killed one left behind."""
        try:
            self._ready(self.root)
            stream = (self.root / "lock").open("a")
        except OSError as error:
            raise QuantizeError(f"{self.root}: cannot be written ({error.strerror}); choose another `work`") from None
        with stream:
            if not _lock(stream.fileno()):
                raise QuantizeError(f"{self.root}: another pipeline is at work there; wait until it ends")
            for part in self.root.glob("*/*/.part-*"):
                shutil.rmtree(part, ignore_errors=True)
            yield

    def _ready(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _results(self, folder: Path) -> list[Path]:
        """Latest first."""
        found = [path for path in folder.glob("[0-9a-f]*") if (path / _DONE).is_file()]
        return sorted(found, key=lambda path: (path / _DONE).stat().st_mtime_ns, reverse=True)

    def _prune(self, current: Path) -> None:
        others = [path for path in self._results(current.parent) if path != current]
        for path in others[_KEPT - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def _lock(descriptor: int) -> bool:
    """Until the file is closed, which the system does for a process that was killed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
