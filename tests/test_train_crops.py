# SPDX-License-Identifier: Apache-2.0
"""Crops are pieces of the pictures, all pictures alike often; batches take every crop once before any comes again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train_subject import SIDE, write_pictures
from yoloq_quantize.dataset import list_images
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.train.crops import batches, cut_crops


def stream(folder: Path, count: int, size: tuple[int, int] = (SIDE, SIDE)) -> PictureStream:
    return PictureStream(list_images(write_pictures(folder, count)), *size, "RGB")


def is_part(piece: np.ndarray, picture: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture, piece.shape)
    return bool((windows.reshape(-1, *piece.shape) == piece).all(axis=(1, 2, 3)).any())


def test_crops_are_parts_of_the_pictures_in_turn_every_second_one_mirrored(tmp_path: Path) -> None:
    pictures = stream(tmp_path, 3)
    crops = cut_crops(pictures, 9, 40, 32, seed=0).numpy()
    assert crops.shape == (9, 32, 32, 3) and crops.dtype == np.uint8
    for index, crop in enumerate(crops):
        crop = crop[:, ::-1] if index in (3, 4, 5) else crop
        assert [is_part(crop, picture[0]) for picture in pictures] == [number == index % 3 for number in range(3)]
    assert not np.array_equal(crops[0], crops[6])  # of one picture, at two places


def test_small_pictures_are_taken_whole(tmp_path: Path) -> None:
    assert cut_crops(stream(tmp_path, 1, (96, 64)), 2, 320, 32, seed=0).shape == (2, 64, 96, 3)


def test_more_pictures_than_crops_are_spread(tmp_path: Path) -> None:
    pictures = stream(tmp_path, 6)
    crops = cut_crops(pictures, 2, SIDE, 32, seed=0).numpy()
    assert np.array_equal(crops[0], pictures[0][0]) and np.array_equal(crops[1], pictures[3][0])


@pytest.mark.parametrize("seed", [0, 1])
def test_same_seed_same_crops(tmp_path: Path, seed: int) -> None:
    pictures = stream(tmp_path, 2)
    first, second = (cut_crops(pictures, 4, 32, 32, seed=seed).numpy() for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, cut_crops(pictures, 4, 32, 32, seed=seed + 2).numpy())


def test_batches_take_everything_once_before_anything_again() -> None:
    found = [index for batch in batches(5, 2, 5, seed=3) for index in batch.tolist()]
    assert sorted(found[:5]) == sorted(found[5:]) == [0, 1, 2, 3, 4]
    assert found[:5] != found[5:]


def test_a_batch_may_be_larger_than_what_there_is() -> None:
    assert [len(batch) for batch in batches(1, 4, 2, seed=0)] == [4, 4]
