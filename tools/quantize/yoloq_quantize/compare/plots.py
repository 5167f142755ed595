# SPDX-License-Identifier: Apache-2.0
"""The plots of `yoloq report`, as PNG, drawn from report.json. `t`: the texts of a language."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from yoloq_quantize.plots import BLUE, GRAY, INK, new_figure, png_of, short_name, style_axes, with_fonts

WIDTH = 9.6  # inches of a plot
_OURS = (BLUE, "#1a936f", "#7b4fb5", "#0b7a99", "#4c6ef5")
_FLOAT = (GRAY, "#5b6874")
_PEERS = ("#d9772b", "#b5532f", "#c2a028")
_GRID = "#e3e7eb"
_FAR = 3.0  # points of loss beyond which a row is drawn at the edge, so that the others stay apart
_CLASSES = 30
_NAMES = 12  # of layers, written out

Rows = Sequence[dict[str, Any]]


def colors_of(rows: Rows) -> dict[str, str]:
    """A colour for each row's key: grays for float, blue to violet for ours, orange to brown for peers."""
    floats, ours, peers = (itertools.cycle(palette) for palette in (_FLOAT, _OURS, _PEERS))
    return {row["key"]: next((ours if row["ours"] else peers) if row["int8"] else floats) for row in rows}


@with_fonts
def loss_chart(rows: Rows, t: dict[str, str]) -> bytes:
    """What each row loses, with its confidence interval; rows that lose very much stand at the edge."""
    shown = [row for row in rows if row["loss"]]
    colors = colors_of(rows)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.4 * len(shown)), dpi=110, layout="constrained")
    titles = {"map50": "mAP50", "map50_95": "mAP50-95"}
    for axes, (key, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        style_axes(axes)
        losses = [row["loss"][key] for row in shown]
        near = [loss for loss in losses if abs(loss["estimate"]) <= _FAR] or losses
        edges = [0.0, *(value for loss in near for value in loss.values() if value is not None)]
        reach = 1.15 * max(0.3, -min(edges), max(edges))
        axes.axvline(0, color=INK, linewidth=0.8)
        for y, (row, loss) in enumerate(zip(shown, losses, strict=True)):
            _loss_mark(axes, y, loss, reach, colors[row["key"]])
        axes.set_xlim(-reach, 1.55 * reach)
        axes.set_yticks(range(len(shown)), [short_name(row["name"], 34) for row in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(t["loss_axis"], fontsize=9)
        axes.set_title(title, fontsize=11, loc="left", color=INK)
        axes.grid(axis="x", color=_GRID)
    return png_of(figure)


def _loss_mark(axes: Axes, y: int, loss: dict[str, float | None], reach: float, color: str) -> None:
    value, low, high = loss["estimate"], loss["low"], loss["high"]
    if abs(value) > reach:
        place = reach if value > 0 else -reach
        axes.plot([place], [y], marker=">" if value > 0 else "<", color=color, markersize=8)
        axes.text(place * 1.04, y, f" {value:.1f}", va="center", fontsize=9, color=INK)
        return
    if low is not None:
        axes.plot([low, high], [y, y], color=color, linewidth=2.4, solid_capstyle="butt")
    axes.plot([value], [y], "o", color=color, markersize=7)
    axes.text(
        max(value, high or value) + 0.03 * reach, y, f"{round(value, 2) + 0.0:+.2f}", va="center", fontsize=9, color=INK
    )


@with_fonts
def speed_chart(rows: Rows, t: dict[str, str]) -> bytes:
    """Median and 99th percentile of the time from picture to boxes, and the engine's part of it."""
    shown = [row for row in rows if row["cost"]]
    colors = colors_of(rows)
    figure, axes = new_figure(WIDTH, 1.4 + 0.42 * len(shown))
    top = max(row["cost"]["p99_ms"] for row in shown)
    for y, row in enumerate(shown):
        cost, color = row["cost"], colors[row["key"]]
        axes.barh(y, cost["p50_ms"], color=color, alpha=0.45, height=0.62)
        axes.barh(y, cost["engine_p50_ms"], color=color, height=0.62)
        axes.plot([cost["p50_ms"], cost["p99_ms"]], [y, y], color=INK, linewidth=1)
        axes.plot([cost["p99_ms"]], [y], "|", color=INK, markersize=11)
        text = f"{cost['p50_ms']:.1f} · {cost['engine_p50_ms']:.1f} · {cost['p99_ms']:.1f}"
        axes.text(cost["p99_ms"] + 0.012 * top, y, text, va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(shown)), [short_name(row["name"], 34) for row in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1.2 * top)
    axes.set_xlabel(t["speed_axis"], fontsize=9)
    axes.grid(axis="x", color=_GRID)
    return png_of(figure)


@with_fonts
def class_chart(document: dict[str, Any], t: dict[str, str]) -> bytes:
    """AP50-95 of each class in every row; of many classes those on which the primary row loses most."""
    rows = [row for row in document["rows"] if row["accuracy"]]
    table = {row["key"]: [c["ap50_95"] for c in row["accuracy"]["per_class"]] for row in rows}
    first, last = table[rows[0]["key"]], table[document["primary"] or rows[-1]["key"]]
    known = [i for i, value in enumerate(first) if value is not None]
    chosen = known if len(known) <= _CLASSES else sorted(known, key=lambda i: last[i] - first[i])[:_CLASSES]
    figure, axes = new_figure(WIDTH, 1.6 + 0.42 * len(chosen))
    colors, offsets = colors_of(document["rows"]), np.linspace(-0.28, 0.28, len(rows)) if len(rows) > 1 else [0.0]
    for row, offset in zip(rows, offsets, strict=True):
        values = [table[row["key"]][i] for i in chosen]
        marker = "o" if row["ours"] else "D"
        places = np.arange(len(chosen)) + offset
        axes.plot(values, places, marker, color=colors[row["key"]], markersize=5.5, label=short_name(row["name"], 34))
    for y in range(len(chosen) - 1):
        axes.axhline(y + 0.5, color=_GRID, linewidth=0.8)
    axes.set_yticks(range(len(chosen)), [short_name(document["classes"][i]) for i in chosen])
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xlabel(t["class_axis"], fontsize=9)
    axes.grid(axis="x", color=_GRID)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8.5, frameon=False)
    return png_of(figure)


@with_fonts
def drift_chart(rows: Rows, t: dict[str, str]) -> bytes:
    """For each INT8 row how scores and boxes changed, all on the same axes."""
    shown = [row for row in rows if row["drift"] and row["int8"] and row["drift"]["kept"]]
    colors = colors_of(rows)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.5 * len(shown)), dpi=110, layout="constrained")
    grid = figure.subplots(len(shown), 2, squeeze=False, sharex="col")
    for pair, row in zip(grid, shown, strict=True):
        for axes, part in zip(pair, ("score", "box"), strict=True):
            style_axes(axes)
            _bars(axes, row["drift"][part], colors[row["key"]], part)
            axes.set_title(f"{short_name(row['name'], 34)}", fontsize=9, loc="left", color=INK, pad=3)
            axes.yaxis.get_major_locator().set_params(nbins=3, integer=True)
    for axes, part in zip(grid[-1], ("score", "box"), strict=True):
        axes.set_xlabel(t[f"{part}_axis"], fontsize=9)
    return png_of(figure)


def _bars(axes: Axes, histogram: dict[str, Any], color: str, part: str) -> None:
    edges = np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1)
    axes.bar(edges[:-1], histogram["counts"], width=np.diff(edges), align="edge", color=color)
    axes.set_xlim(histogram["low"], histogram["high"])
    if histogram["median"] is not None:
        digits = 3 if part == "score" else 2
        text = f"median {histogram['median']:.{digits}f} · 95 % ≤ {histogram['within_95']:.{digits}f}"
        axes.text(1, 1.02, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=8, color=INK)


@with_fonts
def layer_chart(document: dict[str, Any], t: dict[str, str]) -> bytes:
    """SQNR of every convolution, in the graph's order; hollow where it stayed in float. The lowest are named."""
    layers = document["layers"]
    colors = colors_of(document["rows"])
    names = {row["key"]: row["name"] for row in document["rows"]}
    figure, axes = new_figure(WIDTH, 4.4)
    handles = []
    for key, values in layers["sqnr"].items():
        places = [i for i, value in enumerate(values) if value is not None]
        axes.plot(places, [values[i] for i in places], color=colors[key], linewidth=0.9, alpha=0.6)
        for int8, face in ((True, colors[key]), (False, "white")):
            part = [i for i in places if layers["int8"][key][i] == int8]
            style = {"markerfacecolor": face, "markeredgecolor": colors[key]}
            axes.plot(part, [values[i] for i in part], "o", markersize=4.2, **style)
        handles.append(Line2D([], [], color=colors[key], marker="o", markersize=4.2, label=short_name(names[key], 34)))
    handles.append(Line2D([], [], color=INK, marker="o", linewidth=0, markerfacecolor="white", label=t["kept_float"]))
    axes.set_xlim(-1, len(layers["names"]))
    axes.set_xlabel(t["layer_axis"], fontsize=9)
    axes.set_ylabel("SQNR, dB", fontsize=9)
    axes.grid(axis="y", color=_GRID)
    figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8.5, frameon=False)
    return png_of(figure)


def lowest_layers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers with the least SQNR in the primary row: index, name, dB, whether it is INT8."""
    layers, key = document["layers"], document["primary"]
    if not layers or key not in layers["sqnr"]:
        return []
    values, int8 = layers["sqnr"][key], layers["int8"][key]
    known = sorted((value, i) for i, value in enumerate(values) if value is not None)
    return [{"index": i, "name": layers["names"][i], "db": db, "int8": int8[i]} for db, i in known[:_NAMES]]
