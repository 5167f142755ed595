# SPDX-License-Identifier: Apache-2.0
"""Drawing: tags stay apart and inside, labels are readable, a missing glyph is an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image as PillowImage

import yoloq
from yoloq import draw as drawing
from yoloq import fonts
from yoloq.draw import PALETTE, draw
from yoloq.result import Detection

CHINESE = ["螺栓", "螺母", "垫圈", "螺钉", "划痕"]


def labelled(root: Path, stem: str, names: list[str], size: tuple[int, int]) -> list[Detection]:
    """A validation picture's labels as detections in a picture of that size."""
    found = []
    lines = (root / "datasets/fasteners/labels/val" / f"{stem}.txt").read_text().splitlines()
    for i, line in enumerate(lines):
        class_id, x, y, w, h = (float(word) for word in line.split())
        x1, y1, x2, y2 = (x - w / 2) * size[0], (y - h / 2) * size[1], (x + w / 2) * size[0], (y + h / 2) * size[1]
        found.append(Detection(x1, y1, x2, y2, 0.99 - 0.01 * i, int(class_id), names[int(class_id)]))
    return found


def layout(found: list[Detection], size: tuple[int, int]) -> np.ndarray:
    """The tags' places, float32 [n, 4]."""
    shown = sorted(found, key=lambda d: -d.score)
    placed = drawing._layout(shown, size, drawing._style(*size), True)
    return np.array([spot for _, spot, _ in placed], np.float32).reshape(-1, 4)


def overlaps(tags: np.ndarray) -> int:
    covered = drawing._covered
    return sum(covered(tags[i : i + 1], np.delete(tags, i, axis=0))[0] > 0 for i in range(len(tags)))


@pytest.mark.parametrize("scale", [0.5, 1, 3])
@pytest.mark.parametrize("names", [CHINESE, ["bolt", "nut", "washer", "screw", "scratch"]])
def test_tags_of_real_pictures_stay_apart_and_inside(root: Path, names: list[str], scale: float) -> None:
    size = (int(640 * scale), int(640 * scale))
    for stem in ("00000", "00003", "00007", "00012"):
        found = labelled(root, stem, names, size)
        tags = layout(found, size)
        assert len(tags) == len(found)
        assert overlaps(tags) == 0
        assert tags[:, :2].min() >= 0
        assert (tags[:, 2:] <= size).all()


def test_tags_at_the_edges_stay_inside() -> None:
    corners = [(0, 0, 20, 20), (620, 0, 640, 20), (0, 460, 20, 480), (620, 460, 640, 480), (0, 0, 640, 480)]
    found = [Detection(*map(float, box), 0.9, i, "washer") for i, box in enumerate(corners)]
    tags = layout(found, (640, 480))
    assert len(tags) == 5
    assert overlaps(tags) == 0
    assert tags.min() >= 0
    assert (tags[:, 2:] <= (640, 480)).all()


def test_tag_lies_above_its_box_if_it_can() -> None:
    (tag,) = layout([Detection(200, 200, 300, 300, 0.9, 0, "bolt")], (640, 480))
    assert tag[3] <= 200
    assert 190 <= tag[0] <= 200


def test_sizes_follow_the_picture() -> None:
    heights = []
    for side in (320, 640, 1920, 3840):
        (tag,) = layout([Detection(0, side / 2, side / 4, side * 0.7, 0.9, 0, "bolt")], (side, side))
        heights.append(tag[3] - tag[1])
    assert heights == sorted(set(heights))
    assert 2.5 < heights[2] / heights[1] < 3.5


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (24, 24), (60, 20), (2000, 20)])
def test_small_pictures(size: tuple[int, int]) -> None:
    picture = PillowImage.new("RGB", size)
    found = Detection(0, 0, float(size[0]), float(size[1]), 0.5, 0, "washer with a long name")
    assert draw(picture, [found]).size == size
    tags = layout([found], size)
    assert (tags >= 0).all()
    assert (tags[:, 2:] <= size).all()


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_lines_show_on_any_ground(ground: int) -> None:
    for class_id in range(len(PALETTE)):
        picture = PillowImage.new("RGB", (320, 320), (ground, ground, ground))
        drawn = draw(picture, [Detection(100, 100, 200, 200, 0.9, class_id, "nut")])
        across = np.asarray(drawn.convert("L"))[150, 90:110].astype(int)
        assert np.abs(across - ground).max() > 90
        inside = np.asarray(drawn)[105:195, 105:195]
        assert (inside == ground).all()  # the object itself stays visible
    assert np.asarray(picture).min() == ground  # the caller's picture is left alone


@pytest.mark.parametrize("class_id", range(len(PALETTE)))
def test_text_stands_out_from_its_tag(class_id: int) -> None:
    tag, ink = drawing.color_of(class_id), drawing._contrast(drawing.color_of(class_id))
    assert abs(drawing._luminance(tag) - drawing._luminance(ink)) > 100


def test_turned_box_is_drawn_turned() -> None:
    upright = Detection(100, 140, 220, 180, 0.9, 1, "nut")
    turned = Detection(100, 140, 220, 180, 0.9, 1, "nut", angle=float(np.pi / 2))
    picture = PillowImage.new("RGB", (320, 320))
    pixels = [np.asarray(draw(picture, [d])).any(axis=2) for d in (upright, turned)]
    assert pixels[0][160, 99]
    assert not pixels[1][160, 99]
    assert pixels[1][218:222, 160].any()  # its short side now lies below the centre
    assert not pixels[0][218:222, 160].any()


def test_chinese_labels_are_written(root: Path) -> None:
    """Each name gives other pixels: boxes in place of glyphs would all look alike."""
    with PillowImage.open(root / "datasets/fasteners/images/val/00000.jpg") as opened:
        picture = opened.convert("RGB")
    drawn = {name: draw(picture, [Detection(300, 300, 360, 360, 0.9, 0, name)]).tobytes() for name in CHINESE}
    assert len(set(drawn.values())) == len(CHINESE)


def test_line_breaks_in_names_are_blanks() -> None:
    picture = PillowImage.new("RGB", (320, 320))
    broken, plain = (draw(picture, [Detection(9, 90, 99, 99, 0.9, 0, name)]) for name in ("a\nb", "a b"))
    assert broken.tobytes() == plain.tobytes()


def test_no_font_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLOQ_FONT", raising=False)
    monkeypatch.setattr(fonts, "_folders", list)
    fonts._fonts.cache_clear()
    fonts._search.cache_clear()
    try:
        assert fonts.fonts_for(["bolt 0.97"]) == {"bolt 0.97": None}  # Pillow's own has Latin
        with pytest.raises(yoloq.FontError, match=r"'螺栓 0\.97'.*fonts-wqy-microhei"):
            fonts.fonts_for(["bolt 0.97", "螺栓 0.97"])
    finally:
        fonts._fonts.cache_clear()
        fonts._search.cache_clear()


def test_chosen_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("YOLOQ_FONT", raising=False)
    (path, _) = fonts.fonts_for(["螺栓"])["螺栓"]
    chosen = tmp_path / "字体.ttc"
    shutil.copy(path, chosen)
    monkeypatch.setenv("YOLOQ_FONT", str(chosen))
    assert fonts.fonts_for(["bolt", "螺栓"]) == {"bolt": (str(chosen), 0), "螺栓": (str(chosen), 0)}
    with pytest.raises(yoloq.FontError, match="YOLOQ_FONT"):
        fonts.fonts_for(["\U00013000"])  # a hieroglyph
    monkeypatch.setenv("YOLOQ_FONT", str(tmp_path / "none.ttf"))
    with pytest.raises(yoloq.FontError, match="cannot read the font"):
        fonts.fonts_for(["bolt"])


def test_font_search_agrees_with_the_fonts_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """fontTools reads the character table; we compare drawn glyphs."""
    monkeypatch.delenv("YOLOQ_FONT", raising=False)
    path, face = fonts.fonts_for(["螺栓"])["螺栓"]
    held = TTFont(path, fontNumber=face).getBestCmap()
    sample = [*range(0x4E00, 0x9FFF, 37), *range(0x21, 0x7F), 0x13000, 0x1F600, 0x10A60]
    assert any(code not in held for code in sample)
    for code in sample:
        assert fonts._missing((path, face), chr(code)) == (code not in held), hex(code)
