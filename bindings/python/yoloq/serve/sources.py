# SPDX-License-Identifier: Apache-2.0
"""Where the pictures come from: a folder that a camera program writes into, a camera, or a video file."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from yoloq.errors import InvalidArgument, NotFound
from yoloq.files import PICTURE_SUFFIXES, read_picture

_LOOK_S = 0.02  # between two looks into the folder
_CHECKED_A_LOOK = 200  # of the pictures already taken: a look must not ask a share for thousands of files
_HALF_WRITTEN_S = 2.0  # a picture that cannot be read is taken for half written until it has not changed for this long
_CAMERA_SILENT_S = 2.0  # then it is opened again


class Picture(NamedTuple):
    """Pixels uint8 [H, W, 3] in the format named, and where they come from."""

    pixels: np.ndarray
    format: str
    name: str
    path: Path | None


class Source(Protocol):
    """take() is called by one thread."""

    def take(self, wait_s: float, newest: bool) -> Picture | None:
        """The next picture; None: there is none in this time. newest: skip those that have waited longer.
        InvalidArgument: the next picture is broken; it will not come again."""

    @property
    def ended(self) -> bool:
        """Will there never be another picture?"""

    def close(self) -> None: ...


def open_source(text: str, existing: bool) -> Source:
    """A folder, a camera's index, or what OpenCV opens: a video file or a stream's address."""
    path = Path(text)
    if path.is_dir():
        return FolderSource(path, existing)
    if text.isdecimal():
        return CameraSource(lambda: _open_capture(int(text), f"camera {text}"), f"camera{text}")
    if "://" in text:
        return CameraSource(lambda: _open_capture(text, text), "stream")
    if path.is_file():
        return VideoSource(_open_capture(text, text), path.name)
    raise NotFound(f"no such source: {text} is no folder, no camera's number, no video file and no stream's address")


class FolderSource:
    """Each picture once, oldest first. A file that is written anew counts as new; one that is half written waits."""

    def __init__(self, folder: Path, existing: bool):
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] = {} if existing else self._state_of(self._names() or set())
        self._checked = 0
        self.ended = False

    def take(self, wait_s: float, newest: bool) -> Picture | None:
        end = time.monotonic() + wait_s
        while True:
            if picture := self._look(newest):
                return picture
            if time.monotonic() >= end:
                return None
            time.sleep(min(_LOOK_S, max(0.0, end - time.monotonic())))

    def close(self) -> None:
        pass

    def _names(self) -> set[str] | None:
        """The pictures that are there; None: a share that is away now."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return None
        return {name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES and not name.startswith(".")}

    def _state_of(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Time of change and size; without those that were taken away meanwhile."""
        found = {}
        for name in names:
            with suppress(OSError):
                about = (self._folder / name).stat()
                found[name] = (about.st_mtime_ns, about.st_size)
        return found

    def _some_seen(self) -> list[str]:
        """Pictures to check for having been written anew; all of them in turn."""
        names = list(itertools.islice(self._seen, self._checked, self._checked + _CHECKED_A_LOOK))
        self._checked = self._checked + len(names) if len(names) == _CHECKED_A_LOOK else 0
        return names

    def _look(self, newest: bool) -> Picture | None:
        names = self._names()
        if names is None:
            return None  # and nothing is forgotten: what was inspected does not come again with the share
        if not self._seen.keys() <= names:
            self._seen = {name: about for name, about in self._seen.items() if name in names}
        state = self._state_of([*(names - self._seen.keys()), *self._some_seen()])
        fresh = sorted((about, name) for name, about in state.items() if self._seen.get(name) != about)
        for (changed, size), name in reversed(fresh) if newest else fresh:
            try:
                pixels = np.asarray(read_picture(self._folder / name))
            except NotFound:
                continue
            except InvalidArgument:
                if time.time() - changed / 1e9 < _HALF_WRITTEN_S:
                    continue
                self._seen[name] = (changed, size)
                raise
            self._seen[name] = (changed, size)
            if newest:
                self._seen.update({other: about for about, other in fresh if about <= (changed, size)})
            printable = name.encode("utf-8", "backslashreplace").decode()  # POSIX names are bytes, maybe no UTF-8
            return Picture(pixels, "RGB", printable, self._folder / name)
        return None


class CameraSource:
    """Always the next frame that comes in after the question: a thread takes them off the driver's queue all the time.
    A camera that has gone silent is opened again until it is back."""

    ended = False

    def __init__(self, open_capture: Callable[[], Any], name: str):
        self._open = open_capture
        self._capture = open_capture()  # the first time, a failure is told at once
        self._name = name
        self._frame: np.ndarray | None = None
        self._number = 0
        self._came = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._grab, name="yoloq camera", daemon=True)
        self._thread.start()

    def take(self, wait_s: float, newest: bool) -> Picture | None:
        with self._came:
            after = self._number
            if not self._came.wait_for(lambda: self._number > after, wait_s):
                return None
            return Picture(self._frame, "BGR", f"{self._name}-{self._number}", None)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(_CAMERA_SILENT_S)  # a driver that hangs in a read is left behind

    def _grab(self) -> None:
        last = time.monotonic()
        while not self._stopping.is_set():
            good, frame = self._capture.read()
            if good:
                last = time.monotonic()
                with self._came:
                    self._frame = frame
                    self._number += 1
                    self._came.notify_all()
                continue
            self._stopping.wait(0.02)
            if time.monotonic() - last > _CAMERA_SILENT_S:
                last = time.monotonic()
                self._capture.release()
                with suppress(NotFound):  # not yet there: read() on the old one goes on to say so
                    self._capture = self._open()
        self._capture.release()


class VideoSource:
    """The frames of a file, one after the other."""

    def __init__(self, capture: Any, name: str):
        self._capture = capture
        self._name = name
        self._number = 0
        self.ended = False

    def take(self, wait_s: float, newest: bool) -> Picture | None:
        good, frame = self._capture.read()
        if not good:
            self.ended = True
            return None
        self._number += 1
        return Picture(frame, "BGR", f"{self._name}-{self._number}", None)

    def close(self) -> None:
        self._capture.release()


def _open_capture(what: int | str, name: str) -> Any:
    try:
        import cv2
    except ModuleNotFoundError:
        raise InvalidArgument(f"{name} needs OpenCV: pip install opencv-python-headless") from None
    capture = cv2.VideoCapture(what)
    if not capture.isOpened():
        raise NotFound(f"cannot open {name}: is it there, and not in use by another program?")
    return capture
