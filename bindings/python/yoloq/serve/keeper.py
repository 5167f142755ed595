# SPDX-License-Identifier: Apache-2.0
"""Keeps NG pictures, each with a JSON file beside it, without holding up the line."""

from __future__ import annotations

import json
import math
import queue
import re
import shutil
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from yoloq.files import replacing, write_json
from yoloq.serve.journal import Journal
from yoloq.serve.sources import Picture

_WAITING = 16  # pictures in memory; more are not kept, and it is told
_OURS = re.compile(r"\.?(\d{8}-\d{6}-\d{6}-\d+)\.")  # the names that _save makes, half written files included


class NgKeeper:
    """A thread writes; close() waits for it. Of its own files, earlier runs' included, the oldest go when the folder
    would hold more than `limit` bytes (0: no limit); that this has begun is told once."""

    def __init__(self, folder: Path, journal: Journal, limit: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._journal = journal
        self._limit = limit or math.inf
        self._total = 0
        self._kept: dict[str, dict[Path, int]] = {}  # by stem, oldest first: files and their sizes
        self._removes = False
        if limit:
            self._take_stock()
        self._waiting: queue.Queue[tuple[Picture, dict[str, Any]] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="yoloq ng", daemon=True)
        self._thread.start()

    def keep(self, picture: Picture, about: dict[str, Any]) -> None:
        """Returns at once."""
        try:
            self._waiting.put_nowait((picture, about))
        except queue.Full:
            self._journal("not_saved", picture=picture.name, reason=f"{_WAITING} pictures are waiting for the disk")

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            picture, about = item
            try:
                self._save(picture, about)
            except Exception as error:  # a full disk, or whatever it is, must not stop the line
                self._journal("not_saved", picture=picture.name, reason=getattr(error, "strerror", None) or str(error))

    def _save(self, picture: Picture, about: dict[str, Any]) -> None:
        suffix = picture.path.suffix.lower() if picture.path else ".png"
        stem = f"{datetime.now():%Y%m%d-%H%M%S-%f}-{about['sequence']}"
        path = self._folder / f"{stem}{suffix}"
        with replacing(path) as beside:
            if picture.path:
                shutil.copyfile(picture.path, beside)  # the camera's own bytes
            else:
                rgb = np.ascontiguousarray(picture.pixels[:, :, ::-1])
                PillowImage.fromarray(rgb).save(beside, "PNG", compress_level=1)
            size = beside.stat().st_size
            self._make_room(size)
            beside_it = path.with_suffix(".json")  # first: a picture is never without one
            write_json(str(beside_it), {"file": path.name, **about}, json.dumps)
            self._count(stem, beside_it, beside_it.stat().st_size)
        self._count(stem, path, size)

    def _count(self, stem: str, path: Path, size: int) -> None:
        self._kept.setdefault(stem, {})[path] = size
        self._total += size

    def _take_stock(self) -> None:
        for path in sorted(self._folder.iterdir(), key=lambda path: path.name.lstrip(".")):
            if ours := _OURS.match(path.name):
                with suppress(FileNotFoundError):  # taken away while we looked
                    self._count(ours[1], path, path.stat().st_size)

    def _make_room(self, more: int) -> None:
        """Removes the oldest until so much more fits. OSError: it does not, since none can be removed."""
        if self._total + more <= self._limit:
            return
        if self._kept and not self._removes:
            self._removes = True
            reason = f"{self._folder} holds its {self._limit / 2**20:g} MB: from now on the oldest pictures are removed"
            self._journal("ng_full", reason=reason)
        for stem, files in list(self._kept.items()):
            with suppress(OSError):  # open in a viewer: the next time
                for path, size in list(files.items()):
                    path.unlink(missing_ok=True)
                    del files[path]
                    self._total -= size
                del self._kept[stem]
            if self._total + more <= self._limit:
                return
        if self._kept:
            raise OSError(f"{self._folder} is full, and its oldest pictures cannot be removed")
