# SPDX-License-Identifier: Apache-2.0
"""Training views: reproducible, of the right form, and still the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.swap.augment import PAD, Views

FULL, SIZE = (128, 96), (64, 48)
BLUE = (200, 30, 60)  # of a BGR picture


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        cv2.imwrite(str(path), generator.integers(0, 256, (70, 90, 3), np.uint8))
    return paths


@pytest.fixture
def blue(tmp_path: Path) -> list[Path]:
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((300, 400, 3), BLUE, np.uint8))
    return [tmp_path / "blue.png"]


def test_a_step_always_sees_the_same(files: list[Path]) -> None:
    views = Views(files, FULL, "RGB", seed=5)
    late = views.batch(9, 2, SIZE)
    views.batch(3, 2, SIZE)
    assert np.array_equal(views.batch(9, 2, SIZE), late)
    assert np.array_equal(Views(files, FULL, "RGB", seed=5).batch(9, 2, SIZE), late)
    for other in (views.batch(8, 2, SIZE), Views(files, FULL, "RGB", seed=6).batch(9, 2, SIZE)):
        assert not np.array_equal(other, late)


def test_a_batch_has_the_network_form(files: list[Path]) -> None:
    batch = Views(files, FULL, "RGB", seed=0).batch(0, 4, SIZE)
    assert batch.shape == (4, 48, 64, 3)
    assert batch.dtype == np.uint8
    assert not np.array_equal(batch[0], batch[1])


@pytest.mark.parametrize(("color", "channel"), [("RGB", 2), ("BGR", 0)])
def test_channels_are_in_the_models_order(blue: list[Path], color: str, channel: int) -> None:
    for step in range(5):
        batch = Views(blue, FULL, color, seed=1).batch(step, 2, SIZE).astype(np.float64)
        assert batch.mean((0, 1, 2)).argmax() == channel


def test_views_show_the_picture_not_only_its_surroundings(blue: list[Path]) -> None:
    views = Views(blue, FULL, "BGR", seed=2)
    for step in range(10):
        picture = views.batch(step, 1, SIZE)[0].astype(np.float64)
        shown = (picture[..., 0] > 1.5 * picture[..., 1]).mean()
        assert shown > 0.5, step
    assert PAD == 114  # the letterbox's grey


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(QuantizeError, match="not a picture that"):
        Views([tmp_path / "broken.png"], FULL, "RGB", seed=0).batch(0, 1, SIZE)
