# SPDX-License-Identifier: Apache-2.0
"""Writes rendered pictures in Ultralytics' layout. NumPy and OpenCV only: it runs in the peers' environment too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

Truth = list[tuple[int, Sequence[float]]]  # class id, x1 y1 x2 y2 in pixels
Render = Callable[[int], tuple[np.ndarray, Truth]]  # seed -> uint8 (h, w, 3) BGR and its truth


def write_split(
    folder: Path, split: str, render: Render, seed: int, count: int, *, jpeg: int = 0, labelled: bool = True
) -> None:
    """`count` pictures of the seeds from `seed` on, kept if they are there, and no others; jpeg: its quality, 0 for
    PNG."""
    images, labels = folder / "images" / split, folder / "labels" / split
    for each in (images, labels) if labelled else (images,):
        each.mkdir(parents=True, exist_ok=True)
    wanted = {str(index) for index in range(seed, seed + count)}
    for path in [*images.iterdir(), *(labels.iterdir() if labelled else ())]:
        if path.stem not in wanted:  # of another run, with other seeds
            path.unlink()
    suffix, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, jpeg]) if jpeg else (".png", [])
    for index in range(seed, seed + count):
        picture, label = images / f"{index}{suffix}", labels / f"{index}.txt"
        if picture.exists() and (label.exists() or not labelled):
            continue
        image, truth = render(index)
        height, width = image.shape[:2]
        rows = []
        for class_id, (x1, y1, x2, y2) in truth:
            numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            rows.append(f"{class_id} " + " ".join(f"{number:.6f}" for number in numbers))
        if not cv2.imwrite(str(picture), image, options):
            raise OSError(f"{picture} cannot be written")
        if labelled:
            label.write_text("\n".join(rows) + "\n")


def write_yaml(folder: Path, names: Sequence[str]) -> Path:
    """data.yaml with a `val` split; JSON is YAML."""
    path = folder / "data.yaml"
    path.write_text(json.dumps({"path": ".", "val": "images/val", "names": list(names)}, ensure_ascii=False) + "\n")
    return path
