# SPDX-License-Identifier: Apache-2.0
"""Calibration pictures as the network sees them: letterboxed bytes, streamed, so that a thousand fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from yoloq_quantize.dataset import read_image
from yoloq_quantize.reference import Letterbox

CACHE_BYTES = 256 << 20  # of letterboxed pictures that are kept between passes


class PictureStream:
    """Re-iterable uint8 [1, height, width, 3] arrays in the model's channel order; its length is for progress bars.

    The first pictures are kept, up to CACHE_BYTES; the rest are read again in every pass. Arrays are read-only.
    """

    def __init__(self, files: Sequence[Path], width: int, height: int, color: str, align: str = "center") -> None:
        """`width`, `height`: of the network's input, in pixels. `color`: "RGB" or "BGR". `align`: where the letterbox
        puts the picture, "center" or "topleft"."""
        self.files, self.size, self.color, self.align = tuple(files), (width, height), color, align
        self._cache: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self.files)))

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self._cache:
            return self._cache[index]
        picture = read_image(self.files[index])
        fitted = self.letterbox(picture.shape[1::-1]).apply(picture, self.size)
        if self.color == "RGB":
            fitted = fitted[..., ::-1]
        array = np.ascontiguousarray(fitted[None])
        array.flags.writeable = False
        if (len(self._cache) + 1) * array.nbytes <= CACHE_BYTES:
            self._cache[index] = array
        return array

    def letterbox(self, picture: tuple[int, int]) -> Letterbox:
        """Where a picture of (width, height) lies in the network's input."""
        return Letterbox.fit(picture, self.size, self.align)

    def spread(self, count: int) -> PictureStream:
        """A stream of `count` pictures spread evenly over this one; shares what is cached."""
        count = min(count, len(self))
        chosen = [index * len(self) // count for index in range(count)]
        part = PictureStream([self.files[index] for index in chosen], *self.size, self.color, self.align)
        part._cache = {new: self._cache[old] for new, old in enumerate(chosen) if old in self._cache}
        return part
