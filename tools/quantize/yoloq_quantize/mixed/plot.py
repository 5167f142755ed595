# SPDX-License-Identifier: Apache-2.0
"""The sensitivity of layers and groups as a picture (PNG bytes)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from yoloq_quantize.mixed.sensitivity import Row, Sensitivity
from yoloq_quantize.plots import BLUE, INK, ORANGE, png_of, short_name, style_axes

SHOWN = 30  # layers


def sensitivity_chart(result: Sensitivity) -> bytes:
    """Left: the most sensitive layers. Right: groups. Both by their share of the whole's error."""
    layers = _largest([row for row in result.rows if row.unit.kind == "layer"])
    groups = _largest([row for row in result.rows if row.unit.kind != "layer"])
    count = max(len(layers), len(groups), 4)
    figure = Figure(figsize=(13, 1.2 + 0.26 * count), dpi=110, layout="constrained")
    for axes, rows, title in zip(figure.subplots(1, 2), (layers, groups), ("Layers", "Groups"), strict=True):
        place = np.arange(len(rows))
        whole = max(result.whole, np.finfo(np.float64).tiny)
        axes.barh(place - 0.2, [100 * row.only / whole for row in rows], 0.4, color=BLUE, label="only it in INT8")
        gains = [100 * (row.gain or 0.0) / whole for row in rows]
        axes.barh(place + 0.2, gains, 0.4, color=ORANGE, label="saved when it alone is float")
        axes.set_yticks(place, [short_name(row.unit.name, 44) for row in rows])
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_xlabel("% of the error of the whole", fontsize=9)
        axes.set_title(title, fontsize=11, loc="left", color=INK)
        style_axes(axes)
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", color="#e3e7eb")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return png_of(figure)


def _largest(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.only)[:SHOWN]
