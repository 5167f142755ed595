# SPDX-License-Identifier: Apache-2.0
"""Pieces of the calibration pictures to learn from: at the pictures' scale, but small, so that a step is cheap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from yoloq_quantize.pictures import PictureStream


def cut_crops(pictures: PictureStream, count: int, side: int, multiple: int, seed: int) -> Tensor:
    """uint8 [count, height, width, 3] at random places, from every picture as often as from any other, every second
    crop of a picture mirrored.

    `side`: of a crop at most, in pixels; both sides are multiples of `multiple`, and no longer than the picture's.
    """
    generator = np.random.default_rng(seed)
    pictures = pictures.spread(count)
    width, height = (max(multiple, min(side, length) // multiple * multiple) for length in pictures.size)
    crops = np.empty((count, height, width, 3), np.uint8)
    places = generator.random((count, 2))
    for picture_index in range(len(pictures)):
        picture = pictures[picture_index][0]
        for index in range(picture_index, count, len(pictures)):
            top = int(places[index, 0] * (picture.shape[0] - height + 1))
            left = int(places[index, 1] * (picture.shape[1] - width + 1))
            crop = picture[top : top + height, left : left + width]
            crops[index] = crop[:, ::-1] if index // len(pictures) % 2 else crop
    return torch.from_numpy(crops)


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """`steps` times the indices of `size` of `count` items; every item once before any comes again."""
    generator = np.random.default_rng(seed)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < size:
            waiting = [*waiting, *generator.permutation(count).tolist()]
        yield torch.tensor(waiting[:size])
        waiting = waiting[size:]
