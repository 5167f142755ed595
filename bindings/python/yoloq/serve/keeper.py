# SPDX-License-Identifier: Apache-2.0
"""Keeps NG pictures, each with a JSON file beside it, without holding up the line."""

from __future__ import annotations

import json
import queue
import shutil
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from yoloq.files import replacing, write_json
from yoloq.serve.journal import Journal
from yoloq.serve.sources import Picture

_WAITING = 16  # pictures in memory; more are not kept, and it is told


class NgKeeper:
    """A thread writes; close() waits for it."""

    def __init__(self, folder: Path, journal: Journal):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._journal = journal
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
            except OSError as error:  # a full disk must not stop the line
                self._journal("not_saved", picture=picture.name, reason=error.strerror or str(error))

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
        write_json(str(path.with_suffix(".json")), {"file": path.name, **about}, json.dumps)
