# SPDX-License-Identifier: Apache-2.0
"""Pictures from a folder, letterboxed as docs/package-format.md says, by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .errors import QuantizeError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Letterbox:
    """The rule: input size in pixels, pad value, colour order, placement."""

    width: int
    height: int
    color: str = "RGB"
    pad: int = 114
    align: str = "center"
    upscale: bool = True


def list_pictures(folder: str | Path) -> list[Path]:
    """Picture files of a folder and its subfolders, in the order of their paths."""
    folder = Path(folder)
    if not folder.is_dir():
        raise QuantizeError(f"{folder}: no such folder of calibration pictures")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise QuantizeError(f"{folder}: no pictures in it ({', '.join(sorted(SUFFIXES))}); give 30 or more")
    return files


def read_picture(path: Path) -> np.ndarray:
    """A picture as uint8 BGR [h, w, 3]. Paths may hold any Unicode."""
    data = np.fromfile(path, dtype=np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise QuantizeError(f"{path}: not a picture that OpenCV can read; remove it")
    return picture


def letterbox(picture: np.ndarray, rule: Letterbox) -> np.ndarray:
    """uint8 BGR [h, w, 3] -> uint8 [1, height, width, 3] in the rule's colour order."""
    height, width = picture.shape[:2]
    ratio = min(rule.width / width, rule.height / height)
    if not rule.upscale:
        ratio = min(ratio, 1.0)
    new_width, new_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    if rule.color == "RGB":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if (new_width, new_height) != (width, height):
        picture = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left = (rule.width - new_width) // 2 if rule.align == "center" else 0
    top = (rule.height - new_height) // 2 if rule.align == "center" else 0
    canvas = np.full((1, rule.height, rule.width, 3), rule.pad, np.uint8)
    canvas[0, top : top + new_height, left : left + new_width] = picture
    return canvas
