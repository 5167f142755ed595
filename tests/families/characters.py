# SPDX-License-Identifier: Apache-2.0
"""Pictures like those that ask a visitor to click on characters, for the YOLOX in `ddddocr`.

A character's box is where its own ink is: it is drawn alone first. Half of the pictures have lines across them.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from families.layout import Truth
from families.peers import fetch

FONTS = (  # Noto Sans CJK, SIL Open Font License
    ("cvttf-NotoSansCJK-Bold==1.0", "cvttf_NotoSansCJK_Bold/NotoSansCJKtc-Bold.otf"),
    ("cvttf-NotoSansCJK-Regular==1.0", "cvttf_NotoSansCJK_Regular/NotoSansCJKtc-Regular.otf"),
)
LETTERS = (
    "天地人日月山水火木金土石田禾中文字安全大小上下左右東西南北春夏秋冬風雲雨雪花草樹鳥魚馬牛羊犬虎車船門窗書筆紙"
    "ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnpqrty23456789"
)
MARGIN = 1  # pixels that the model's authors left around the ink


@cache
def _font(index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(fetch(*FONTS[index])), size)


def sample(seed: int) -> tuple[np.ndarray, Truth]:
    """One picture, 220 to 420 pixels wide, with 2 to 8 characters that do not touch."""
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(220, 421)), int(rng.integers(120, 261))
    soft = rng.uniform(0, 255, (int(rng.integers(3, 9)), int(rng.integers(3, 9)), 3)).astype(np.float32)
    image = np.clip(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)
    truth: Truth = []
    for _ in range(int(rng.integers(2, 9))):
        ink = _character(rng)
        box = _free_place(rng, ink.shape, (height, width), truth)
        if box is not None:
            x1, y1, x2, y2 = box
            _blend(image[y1:y2, x1:x2], ink, rng)
            grown = (max(0, x1 - MARGIN), max(0, y1 - MARGIN), min(width, x2 + MARGIN), min(height, y2 + MARGIN))
            truth.append((0, grown))
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 6))):
            ends = rng.uniform(0, [width, height], (2, 2)).astype(int)
            cv2.line(
                image, *map(tuple, ends.tolist()), rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 3)), cv2.LINE_AA
            )
    image += rng.normal(0, rng.uniform(0, 12), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), truth


def _character(rng: np.random.Generator) -> np.ndarray:
    """The ink of one turned character, float32 (h, w), 0 to 1, without empty edges."""
    size = int(rng.integers(20, 61))
    canvas = Image.new("L", (2 * size, 2 * size))
    letter = LETTERS[int(rng.integers(len(LETTERS)))]
    ImageDraw.Draw(canvas).text((size // 2, size // 3), letter, font=_font(int(rng.integers(2)), size), fill=255)
    ink = np.asarray(canvas.rotate(float(rng.uniform(-40, 40)), Image.Resampling.BICUBIC), np.float32) / 255
    ys, xs = np.nonzero(ink > 0.25)
    return ink[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


def _free_place(
    rng: np.random.Generator, size: tuple[int, int], picture: tuple[int, int], truth: Truth
) -> tuple[int, int, int, int] | None:
    """x1 y1 x2 y2 that touches no other character; None after 20 tries."""
    for _ in range(20):
        if size[0] >= picture[0] or size[1] >= picture[1]:
            return None
        y, x = (int(rng.integers(0, room - side)) for side, room in zip(size, picture, strict=True))
        box = (x, y, x + size[1], y + size[0])
        if all(box[0] > b[2] + 2 or box[2] < b[0] - 2 or box[1] > b[3] + 2 or box[3] < b[1] - 2 for _, b in truth):
            return box
    return None


def _blend(region: np.ndarray, ink: np.ndarray, rng: np.random.Generator) -> None:
    """Draws the ink in a colour at least 60 grey levels away from what is below it."""
    below = region.mean((0, 1))
    color = rng.uniform(0, 255, 3)
    while np.abs(color - below).mean() < 60:
        color = rng.uniform(0, 255, 3)
    region[:] = region * (1 - ink[..., None]) + color * ink[..., None]
