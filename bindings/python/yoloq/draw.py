# SPDX-License-Identifier: Apache-2.0
"""Draws detections: boxes and label tags that stay readable on dark and bright pictures and do not cover each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from yoloq.fonts import fonts_for
from yoloq.result import Detection

# Twenty hues that differ in lightness too; classes beyond the twentieth begin again.
PALETTE = [
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
    (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212),
    (0, 128, 128), (220, 190, 255), (170, 110, 40), (255, 250, 200), (128, 0, 0),
    (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128), (128, 128, 128),
]  # fmt: skip

Color = tuple[int, int, int]


class _Rect(NamedTuple):
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class _Style:
    font_size: int  # pixels
    line: int  # width of a box's line, pixels
    rim: int  # width of the thin line around it, pixels
    pad: int  # between a tag's text and its edge, pixels


@dataclass(frozen=True)
class _Tag:
    text: str
    font: ImageFont.FreeTypeFont
    width: int
    height: int
    baseline: int  # from the tag's top, pixels


def draw(picture: PillowImage.Image, detections: Iterable[Detection], *, scores: bool = True) -> PillowImage.Image:
    """A copy of an RGB picture with the detections drawn on it.

    Sizes follow the picture's. A tag lies above its box, or where it covers no other tag and least of other boxes; it
    never leaves the picture, and is left out only on pictures too small for a single character.

    Raises:
        FontError: no font on this machine has a label's characters; the message says which to install.
    """
    shown = sorted(detections, key=lambda d: -d.score)
    canvas = picture.convert("RGB")
    if canvas is picture:
        canvas = picture.copy()
    pen = ImageDraw.Draw(canvas)
    style = _style(canvas.width, canvas.height)
    placed = _layout(shown, canvas.size, style, scores)
    for found in reversed(shown):  # the best on top
        _draw_box(pen, found, style, canvas.size)
    for tag, spot, class_id in placed:
        _draw_tag(pen, tag, spot, color_of(class_id), style)
    return canvas


def _layout(
    shown: list[Detection], size: tuple[int, int], style: _Style, scores: bool
) -> list[tuple[_Tag, tuple[int, int, int, int], int]]:
    """Tag, place (left, top, right, bottom) and class of each detection whose tag fits the picture."""
    names = [" ".join(d.name.split()) for d in shown]  # a tag is one line
    labels = [f"{name} {d.score:.2f}" if scores else name for name, d in zip(names, shown, strict=True)]
    fonts = fonts_for(labels)
    boxes = np.array([_outline(d) for d in shown], np.float32).reshape(-1, 4)
    taken = np.zeros((0, 4), np.float32)
    placed = []
    for i, (found, name, label) in enumerate(zip(shown, names, labels, strict=True)):
        tags = _make_tags(label, name, fonts[label], style, size)
        if not tags:
            continue
        tag, spot = _place(tags, _Rect(*boxes[i]), taken, np.delete(boxes, i, axis=0), size, style)
        taken = np.vstack([taken, np.array(spot, np.float32)])
        placed.append((tag, spot, found.class_id))
    return placed


def color_of(class_id: int) -> Color:
    """The colour of a class."""
    return PALETTE[class_id % len(PALETTE)]


def _style(width: int, height: int) -> _Style:
    side = min(max(width, height), 2 * min(width, height))  # of a long strip, twice its short side
    font_size = max(11, round(side / 46))
    line = max(1, round(side / 380))
    return _Style(font_size, line, max(1, line // 2), max(1, round(font_size * 0.2)))


def _luminance(color: Color) -> float:
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def _contrast(color: Color) -> Color:
    return (0, 0, 0) if _luminance(color) > 120 else (255, 255, 255)


def _corners(d: Detection) -> list[tuple[float, float]]:
    """The corners of a box, turned clockwise by its angle about its centre."""
    cx, cy, w, h = (d.x1 + d.x2) / 2, (d.y1 + d.y2) / 2, (d.x2 - d.x1) / 2, (d.y2 - d.y1) / 2
    cos, sin = float(np.cos(d.angle)), float(np.sin(d.angle))
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [(cx + sx * w * cos - sy * h * sin, cy + sx * w * sin + sy * h * cos) for sx, sy in signs]


def _outline(d: Detection) -> _Rect:
    """The upright rectangle around a box."""
    if not d.angle:
        return _Rect(d.x1, d.y1, d.x2, d.y2)
    xs, ys = zip(*_corners(d), strict=True)
    return _Rect(min(xs), min(ys), max(xs), max(ys))


def _draw_box(pen: ImageDraw.ImageDraw, d: Detection, style: _Style, size: tuple[int, int]) -> None:
    """The lines lie outside the box, so that small objects stay visible: a coloured one, and around it a thin one of
    the opposite brightness."""
    color = color_of(d.class_id)
    halo = _contrast(color)
    if d.angle:
        corners = _corners(d)
        pen.line([*corners, *corners[:2]], fill=halo, width=style.line + 2 * style.rim, joint="curve")
        pen.line([*corners, *corners[:2]], fill=color, width=style.line, joint="curve")
        return
    edge = style.line + style.rim
    x1, y1 = max(0, round(d.x1) - edge), max(0, round(d.y1) - edge)
    x2, y2 = min(size[0], round(d.x2) + edge) - 1, min(size[1], round(d.y2) + edge) - 1
    x2, y2 = max(x1, x2), max(y1, y2)
    pen.rectangle((x1, y1, x2, y2), outline=halo, width=style.rim)
    if x2 - x1 > 2 * style.rim and y2 - y1 > 2 * style.rim:
        inner = (x1 + style.rim, y1 + style.rim, x2 - style.rim, y2 - style.rim)
        pen.rectangle(inner, outline=color, width=style.line)


def _make_tags(
    label: str, name: str, family: tuple[str, int] | None, style: _Style, size: tuple[int, int]
) -> list[_Tag]:
    """The tags of a label that fit the picture, the best to read first: smaller, without the score, shortened."""
    sizes = [style.font_size] + ([9] if style.font_size > 9 else [])
    tags = [_make_tag(text, _font(family, s), style) for text in (label, name) for s in sizes]
    tags += [_make_tag(name[:n] + "..", _font(family, sizes[-1]), style) for n in range(len(name) - 1, 0, -1)]
    fitting = [tag for tag in tags if tag.width <= size[0] and tag.height <= size[1]]
    whole = [tag for tag in fitting if tag.text in (label, name)]
    return whole or fitting[:1]


def _make_tag(text: str, font: ImageFont.FreeTypeFont, style: _Style) -> _Tag:
    ascent, descent = font.getmetrics()
    left, _, right, _ = font.getbbox(text, anchor="ls")
    width = int(right - min(left, 0)) + 2 * style.pad + 1
    return _Tag(text, font, width, ascent + descent + style.pad, ascent + style.pad // 2)


def _font(family: tuple[str, int] | None, size: int) -> ImageFont.FreeTypeFont:
    if family is None:
        return ImageFont.load_default(size)  # the Latin font inside Pillow
    return ImageFont.truetype(family[0], size, index=family[1])


def _place(
    tags: list[_Tag], box: _Rect, placed: np.ndarray, boxes: np.ndarray, size: tuple[int, int], style: _Style
) -> tuple[_Tag, tuple[int, int, int, int]]:
    """The first of the tags that covers no placed one, and where; if none does, the one that covers the least.

    placed, boxes: float32 [n, 4].
    """
    choices = []
    for tag in tags:
        spot, covered = _best_spot(tag, box, placed, boxes, size, style.line + style.rim)
        choices.append((covered, tag, spot))
        if covered == 0:
            break
    _, tag, spot = min(choices, key=lambda choice: choice[0])
    return tag, spot


def _best_spot(
    tag: _Tag, box: _Rect, placed: np.ndarray, boxes: np.ndarray, size: tuple[int, int], edge: int
) -> tuple[tuple[int, int, int, int], float]:
    """Where the tag covers the least of placed tags, then of boxes; among equals, above its box. And the area of
    placed tags that it covers there."""
    w, h = tag.width, tag.height
    left, right = box.x1 - edge, box.x2 + edge - w
    above, below = box.y1 - edge - h, box.y2 + edge
    before, after, top, bottom = left - w, box.x2 + edge, box.y1 - edge, box.y2 + edge - h
    middle = (box.y1 + box.y2 - h) / 2
    spots = [
        (left, above), (right, above), (left, below), (right, below),
        (after, top), (before, top), (after, bottom), (before, bottom), (after, middle), (before, middle),
        (left, above - h), (left, below + h), (right, above - h), (right, below + h),
        (box.x1, box.y1), (box.x1, box.y2 - h),
    ]  # fmt: skip
    xy = np.clip(np.array(spots, np.float32), 0, np.array([size[0] - w, size[1] - h], np.float32)).round()
    rects = np.hstack([xy, xy + np.array([w, h], np.float32)])
    tags_covered = _covered(rects, placed)
    boxes_covered = _covered(rects, boxes) + 0.5 * _covered(rects, np.array([box], np.float32))
    best = int(np.argmin(1000 * tags_covered + boxes_covered + 0.01 * w * h * np.arange(len(spots))))
    x1, y1, x2, y2 = (int(v) for v in rects[best])
    return (x1, y1, x2, y2), float(tags_covered[best])


def _covered(rects: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area of each rect [n, 4] that lies on others [m, 4], summed over the others: [n]."""
    low = np.maximum(rects[:, None, :2], others[None, :, :2])
    high = np.minimum(rects[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)


def _draw_tag(
    pen: ImageDraw.ImageDraw, tag: _Tag, spot: tuple[int, int, int, int], color: Color, style: _Style
) -> None:
    x1, y1, x2, y2 = spot
    ink = _contrast(color)
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color, outline=ink if style.line > 1 else None)
    pen.text((x1 + style.pad, y1 + tag.baseline), tag.text, fill=ink, font=tag.font, anchor="ls")
