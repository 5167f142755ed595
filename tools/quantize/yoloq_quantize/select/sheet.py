# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: every chosen picture, small, with its name and the reason under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from yoloq_quantize.report import replacing
from yoloq_quantize.select.features import read_small

_CELL, _PICTURE, _GAP, _FONT, _LINE = 176, 132, 8, 12, 16  # pixels: width, height of the thumbnail, ...
_MAX_SIDE = 65_000  # pixels, of PNGs that viewers open


def write_sheet(path: Path, pictures: Sequence[tuple[Path, str, Sequence[str]]], title: str) -> None:
    """Writes a PNG. pictures: file, the name to show, the reasons. Appears whole or not at all.

    Raises:
        yoloq.FontError: no font of this machine has a name's characters.
    """
    columns = max(4, math.ceil(math.sqrt(len(pictures) * 1.4)))
    rows = math.ceil(len(pictures) / columns)
    lines = max((len(_lines(reasons)) for _, _, reasons in pictures), default=1)
    height = _PICTURE + (1 + lines) * _LINE + _GAP
    size = columns * (_CELL + _GAP) + _GAP, min(_MAX_SIDE, 3 * _GAP + _LINE + rows * height)
    sheet = Image.new("RGB", size, (250, 250, 250))
    pen = ImageDraw.Draw(sheet)
    texts = [_shown(name) for _, name, _ in pictures]
    fonts = _Fonts([*texts, _shown(title)])
    pen.text((_GAP, _GAP), _shown(title), (20, 20, 20), fonts.of(_shown(title)))
    for place, ((file, _, reasons), text) in enumerate(zip(pictures, texts, strict=True)):
        left = _GAP + place % columns * (_CELL + _GAP)
        top = 2 * _GAP + _LINE + place // columns * height
        sheet.paste(_thumbnail(file), (left, top))
        name = _fitted(text, fonts.of(text), _CELL)
        pen.text((left, top + _PICTURE + 2), name, (20, 20, 20), fonts.of(text))
        for row, line in enumerate(_lines(reasons)):
            pen.text((left, top + _PICTURE + 2 + (row + 1) * _LINE), line, (150, 60, 0), fonts.plain)
    with replacing(path) as part:
        sheet.save(part, "PNG")


class _Fonts:
    """A face for each text; `plain` for the reasons, which are English."""

    def __init__(self, texts: Sequence[str]) -> None:
        from yoloq.fonts import fonts_for

        self._found = fonts_for(texts)
        self._faces: dict[object, ImageFont.FreeTypeFont] = {}
        self.plain = self._face(fonts_for(["reason"])["reason"])

    def of(self, text: str) -> ImageFont.FreeTypeFont:
        return self._face(self._found[text])

    def _face(self, font: tuple[str, int] | None) -> ImageFont.FreeTypeFont:
        if font not in self._faces:
            made = ImageFont.load_default(_FONT) if font is None else ImageFont.truetype(font[0], _FONT, index=font[1])
            self._faces[font] = made
        return self._faces[font]


def _thumbnail(file: Path) -> Image.Image:
    """The whole picture, centred on grey, _CELL x _PICTURE pixels."""
    picture = Image.fromarray(read_small(file)[0])
    picture.thumbnail((_CELL, _PICTURE))
    cell = Image.new("RGB", (_CELL, _PICTURE), (225, 225, 225))
    cell.paste(picture, ((_CELL - picture.width) // 2, (_PICTURE - picture.height) // 2))
    return cell


def _lines(reasons: Sequence[str]) -> list[str]:
    """Two reasons a line."""
    return [", ".join(reasons[i : i + 2]) for i in range(0, len(reasons), 2)]


def _shown(name: str) -> str:
    """A file name as text: what is no character of any font becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, its beginning cut so that it is at most `width` pixels wide: names differ at the end."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("..." + text) > width:
        text = text[1:]
    return "..." + text
