# SPDX-License-Identifier: Apache-2.0
"""Fonts of this machine that have a label's characters. None is shipped; a missing one is an error, never a box."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

from yoloq.errors import FontError

# File names by preference: the Latin ones look best on Latin labels, the CJK ones have both.
_LATIN = [
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf", "arial.ttf", "Arial.ttf",
]  # fmt: skip
_CJK = [
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "NotoSansSC-Regular.ttf",
    "SourceHanSansSC-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf", "msyh.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc", "simhei.ttf", "simsun.ttc",
]  # fmt: skip

Font = tuple[str, int]
"""A font file and the index of the face in it."""


def fonts_for(labels: Iterable[str]) -> dict[str, Font | None]:
    """For each label a font that has all its characters; one for all labels where there is one.

    None is Pillow's own Latin font, the last resort for Latin labels. YOLOQ_FONT, a font file, overrides the search.

    Raises:
        FontError: no font has the characters, or YOLOQ_FONT cannot be read.
    """
    labels = list(labels)
    together = _find("".join(labels))
    if together is not _NOTHING:
        return dict.fromkeys(labels, together)
    found = {label: _find(label) for label in labels}
    for label, font in found.items():
        if font is _NOTHING:
            raise FontError(_advice(label))
    return found


_NOTHING: Font = ("", -1)


def _find(text: str) -> Font | None:
    """The first font that has all the characters, or _NOTHING."""
    return _search("".join(sorted(set(text))), os.environ.get("YOLOQ_FONT"))


@lru_cache(maxsize=4096)
def _search(characters: str, chosen: str | None) -> Font | None:
    return next((font for font in _fonts(chosen) if not _missing(font, characters)), _NOTHING)


def _advice(label: str) -> str:
    chosen = os.environ.get("YOLOQ_FONT")
    if chosen:
        return f"the font {chosen} (YOLOQ_FONT) lacks characters of the label '{label}': choose another, or unset it"
    return (
        f"no font on this machine has the characters of the label '{label}': install one (for Chinese on Debian or "
        "Ubuntu: apt-get install fonts-wqy-microhei), or set YOLOQ_FONT to a font file"
    )


@cache
def _fonts(chosen: str | None) -> list[Font | None]:
    if chosen:
        try:
            ImageFont.truetype(chosen, 16)
        except OSError as error:
            raise FontError(f"cannot read the font {chosen} (YOLOQ_FONT): {error}") from None
        return [(chosen, 0)]
    by_name: dict[str, str] = {}
    for folder in _folders():
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.suffix.lower() in (".ttf", ".ttc", ".otf"):
                by_name.setdefault(path.name, str(path))
    return [_simplified(by_name[name]) for name in [*_LATIN, *_CJK] if name in by_name] + [None]


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        windows = Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"
        return [windows, Path(os.environ.get("LOCALAPPDATA", home)) / "Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    shared = Path(os.environ.get("XDG_DATA_HOME", home / ".local/share")) / "fonts"
    return [shared, home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]


def _simplified(path: str) -> Font:
    """The face for simplified Chinese of a collection (its first one draws Han as Japanese); else the first."""
    if path.lower().endswith(".ttc"):
        for index in range(16):
            try:
                family = ImageFont.truetype(path, 16, index=index).getname()[0] or ""
            except OSError:
                break
            if family.endswith(" SC"):
                return path, index
    return path, 0


@lru_cache(maxsize=64)
def _probe(font: Font | None) -> tuple[ImageFont.FreeTypeFont, tuple[tuple[int, int], bytes]]:
    """The font at a size to compare glyphs at, and the picture of a character that no font has."""
    face = ImageFont.load_default(24) if font is None else ImageFont.truetype(font[0], 24, index=font[1])
    return face, _glyph(face, "\U0010fffe")


def _glyph(face: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = face.getmask(character)
    return mask.size, bytes(mask)


def _missing(font: Font | None, characters: str) -> bool:
    """Whether the font lacks any of the characters: then it draws what it draws for a character that no font has."""
    face, absent = _probe(font)
    return any(_glyph(face, c) == absent for c in characters if not c.isspace())
