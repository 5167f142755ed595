# SPDX-License-Identifier: Apache-2.0
"""Training pictures without labels: random views of files, a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from yoloq_quantize.dataset import read_image
from yoloq_quantize.reference import Letterbox

PAD = 114  # grey around pictures, as in the letterbox
ZOOM = (0.6, 1.4)  # of the size at which the network sees the picture
MOSAIC, BLUR, NOISE = 0.3, 0.15, 0.3  # probabilities


class Views:
    """Draws views of `files`. `full`: (width, height) of the network's input, whose scale the views keep."""

    def __init__(self, files: Sequence[Path], full: tuple[int, int], color: str, seed: int) -> None:
        self.files, self.full, self.color, self.seed = tuple(files), full, color, seed

    def batch(self, step: int, count: int, size: tuple[int, int]) -> np.ndarray:
        """uint8 [count, height, width, 3] of `size` (width, height), in the model's channel order."""
        draw = np.random.default_rng([self.seed, step])
        return np.stack([self._picture(draw, size) for _ in range(count)])

    def _picture(self, draw: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        view = self._view(draw, size)
        if draw.random() < MOSAIC:
            x, y = (int(side * draw.uniform(0.3, 0.7)) for side in size)
            for rows, columns in (
                (slice(y), slice(x, None)),
                (slice(y, None), slice(x)),
                (slice(y, None), slice(x, None)),
            ):
                view[rows, columns] = self._view(draw, size)[rows, columns]
        if self.color == "RGB":
            view = view[..., ::-1]
        return _degraded(view, draw)

    def _view(self, draw: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A window of `size` on a file, scaled, mirrored and moved at random."""
        picture = read_image(self.files[int(draw.integers(len(self.files)))])
        height, width = picture.shape[:2]
        fitted = Letterbox.fit((width, height), self.full)
        low = min(ZOOM[0], max(size[0] / self.full[0], size[1] / self.full[1]))
        zoom = np.exp(draw.uniform(np.log(low), np.log(ZOOM[1])))
        scale = np.array([fitted.width / width, fitted.height / height]) * zoom
        room = np.array(size) - scale * [width, height]
        offset = room * draw.uniform(0, 1, 2)  # the picture inside the window, or the window inside the picture
        if draw.random() < 0.5:
            scale[0], offset[0] = -scale[0], size[0] - offset[0]
        matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]])
        return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD))


def _degraded(view: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Light, colour, blur and noise."""
    gain = np.exp(draw.normal(0, 0.2)) * np.exp(draw.normal(0, 0.03, 3))
    real = view.astype(np.float32) * gain + draw.normal(0, 8)
    if draw.random() < BLUR:
        real = cv2.GaussianBlur(real, (0, 0), draw.uniform(0.3, 1.2))
    if draw.random() < NOISE:
        real += draw.standard_normal(real.shape, np.float32) * np.float32(draw.uniform(1, 8))
    return np.clip(np.rint(real), 0, 255).astype(np.uint8)
