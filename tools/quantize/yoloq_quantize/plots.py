# SPDX-License-Identifier: Apache-2.0
"""The report's plots (PNG bytes) and its side-by-side pictures (RGB images)."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from yoloq_quantize.metrics import AGREEMENT_SCORE, Accuracy, Detections, match_pairs

BLUE, ORANGE, GRAY, INK = "#2563a8", "#d9772b", "#9aa4b0", "#22303c"
DRIFT_IOU = 0.5  # the same object, moved
_DPI = 110
_CJK = (
    "WenQuanYi Micro Hei", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "PingFang SC", "SimHei",
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One bar of a chart; value None draws no bar but says so."""

    label: str
    value: float | None
    ours: bool  # drawn in colour; the others in gray


@dataclass(frozen=True)
class Drift:
    """What quantisation moved, over objects that the float model finds (score >= 0.25) and both models see."""

    float_scores: np.ndarray  # float32 (n,)
    int8_scores: np.ndarray  # float32 (n,)
    box_shift: np.ndarray  # float32 (n,): the largest move of the four sides, pixels
    lost: int  # objects of the float model that the other does not see at all

    @property
    def score_change(self) -> np.ndarray:
        return self.int8_scores - self.float_scores


def measure_drift(float_run: Sequence[Detections], int8_run: Sequence[Detections]) -> Drift:
    """Pairs each of the float model's visible detections with the quantised model's best overlap (IoU >= 0.5)."""
    before, after, shifts, lost = [], [], [], 0
    for a, b in zip(float_run, int8_run, strict=True):
        a = a.above(AGREEMENT_SCORE)
        pairs = match_pairs(a, b, DRIFT_IOU)
        lost += len(a) - len(pairs)
        before.append(a.scores[pairs[:, 0]])
        after.append(b.scores[pairs[:, 1]])
        shifts.append(np.abs(a.boxes[pairs[:, 0]] - b.boxes[pairs[:, 1]]).max(1, initial=0))
    return Drift(*(np.concatenate(part) if part else np.zeros(0) for part in (before, after, shifts)), lost)


def with_fonts(chart: Callable[..., bytes]) -> Callable[..., bytes]:
    """Decorates a function that draws: Chinese names get a font that has them, where this machine has one."""

    @functools.wraps(chart)
    def drawn(*args: object, **kwargs: object) -> bytes:
        with matplotlib.rc_context({"font.family": _families()}):
            return chart(*args, **kwargs)

    return drawn


@functools.cache
def _families() -> list[str]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _CJK if name in installed)]


@with_fonts
def bar_chart(title: str, unit: str, bars: Sequence[Bar], better: str, decimals: int = 2) -> bytes:
    """Horizontal bars, the value written behind each."""
    figure, axes = new_figure(7.2, 0.62 + 0.42 * len(bars))
    values = [bar.value or 0.0 for bar in bars]
    top = max([*values, 1e-9])
    axes.barh(range(len(bars)), values, color=[BLUE if bar.ours else GRAY for bar in bars], height=0.66)
    for i, bar in enumerate(bars):
        text = "not measured" if bar.value is None else f"{bar.value:.{decimals}f}"
        axes.text(values[i] + 0.012 * top, i, text, va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_xlim(0, 1.14 * top)
    axes.invert_yaxis()
    axes.set_xlabel(f"{unit} ({better} is better)", fontsize=9)
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    axes.grid(axis="x", color="#e3e7eb")
    return png_of(figure)


@with_fonts
def class_chart(names: Sequence[str], float_accuracy: Accuracy, int8_accuracy: Accuracy) -> bytes:
    """AP50-95 of each class, float beside INT8. Data sets of many classes show those that lose most."""
    rows = [
        (name, a.ap50_95, b.ap50_95)
        for name, a, b in zip(names, float_accuracy.per_class, int8_accuracy.per_class, strict=True)
        if a.ap50_95 is not None and b.ap50_95 is not None
    ]
    shown = sorted(rows, key=lambda row: row[2] - row[1])[:30] if len(rows) > 30 else rows
    figure, axes = new_figure(7.2, 1.0 + 0.5 * len(shown))
    place = np.arange(len(shown))
    for shift, column, color, label in ((-0.2, 1, GRAY, "FP32"), (0.2, 2, BLUE, "yoloq INT8")):
        values = [row[column] for row in shown]
        axes.barh(place + shift, values, height=0.38, color=color, label=label)
        for y, value in zip(place + shift, values, strict=True):
            axes.text(value + 0.6, y, f"{value:.2f}", va="center", fontsize=8, color=INK)
    axes.set_yticks(place, [short_name(row[0]) for row in shown])
    axes.set_xlim(0, 1.12 * max([1.0, *(max(row[1:]) for row in shown)]))
    axes.invert_yaxis()
    axes.set_xlabel("AP50-95 (points)", fontsize=9)
    axes.set_title("Accuracy by class", fontsize=11, loc="left", color=INK)
    axes.legend(fontsize=9, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes.grid(axis="x", color="#e3e7eb")
    return png_of(figure)


@with_fonts
def score_chart(drift: Drift) -> bytes:
    """Scores before and after, and how they changed."""
    figure = Figure(figsize=(7.2, 3.5), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    style_axes(left)
    left.plot([0, 1], [0, 1], color=GRAY, linewidth=1)
    left.scatter(drift.float_scores, drift.int8_scores, s=8, color=BLUE, alpha=0.45, linewidths=0)
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="score, FP32", ylabel="score, yoloq INT8", aspect="equal")
    left.set_title("Scores of the same objects", fontsize=11, loc="left", color=INK)
    _histogram(right, drift.score_change, "score INT8 − score FP32", "Change of score", symmetric=True)
    return png_of(figure)


@with_fonts
def box_chart(drift: Drift) -> bytes:
    """How far boxes moved."""
    figure, axes = new_figure(7.2, 2.9)
    _histogram(
        axes, drift.box_shift, "largest move of a side (pixels of the picture)", "Change of box", symmetric=False
    )
    return png_of(figure)


def _histogram(axes: Axes, values: np.ndarray, label: str, title: str, *, symmetric: bool) -> None:
    """With the range cut at the 99.5th percentile; the rest goes into the outermost bars."""
    style_axes(axes)
    reach = float(np.percentile(np.abs(values), 99.5)) if len(values) else 1.0
    reach = reach or 1e-3
    low = -reach if symmetric else 0.0
    axes.hist(np.clip(values, low, reach), bins=41, range=(low, reach), color=BLUE)
    if len(values):
        size = np.abs(values)
        text = f"n = {len(values)}\nmedian |Δ| {np.median(size):.3g}\n95 % within {np.percentile(size, 95):.3g}"
        axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8, color=INK)
    axes.set_xlabel(label, fontsize=9)
    axes.set_ylabel("objects", fontsize=9)
    axes.set_title(title, fontsize=11, loc="left", color=INK)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """One pair of axes in the report's style; inches."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    style_axes(axes)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """Two spines, small ticks, the grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c3cad1")
    axes.tick_params(labelsize=9, colors=INK)
    axes.set_axisbelow(True)


def short_name(name: str, limit: int = 24) -> str:
    """At most `limit` characters."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def png_of(figure: Figure) -> bytes:
    """Without the name and version of the writer."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


# ------------------------------------------------------------------------------------------------ pictures


def side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one height in a row, each under its caption."""
    height = panels[0][1].height
    bar = max(24, height // 20)
    font = ImageFont.load_default(bar * 0.56)
    gap = 6
    width = sum(picture.width for _, picture in panels) + gap * (len(panels) - 1)
    canvas = Image.new("RGB", (width, height + bar), "white")
    pen, x = ImageDraw.Draw(canvas), 0
    for caption, picture in panels:
        canvas.paste(picture, (x, bar))
        pen.text((x + 4, bar // 2), caption, fill=INK, font=font, anchor="lm")
        x += picture.width + gap
    return canvas


def mark_truth(picture: Image.Image, boxes: np.ndarray) -> Image.Image:
    """A copy with ground truth (n, 4) as white corner marks a little outside each box; the detections stay readable."""
    canvas = picture.copy()
    pen = ImageDraw.Draw(canvas)
    for x1, y1, x2, y2 in boxes.tolist():
        left, top, right, bottom = round(x1) - 4, round(y1) - 4, round(x2) + 3, round(y2) + 3
        arm = max(4, min(right - left, bottom - top) // 4)
        for x, dx in ((left, 1), (right, -1)):
            for y, dy in ((top, 1), (bottom, -1)):
                corner = [(x + dx * arm, y), (x, y), (x, y + dy * arm)]
                pen.line(corner, fill="black", width=4)
                pen.line(corner, fill="white", width=2)
    return canvas
