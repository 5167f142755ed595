# SPDX-License-Identifier: Apache-2.0
"""The plot of a sensitivity analysis, from the JSON that `yoloq sensitivity` writes (mixed/sensitivity.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.plots import BLUE, INK, ORANGE, png_of, short_name, style_axes, with_fonts

_LAYERS, _GROUPS = 20, 12  # bars shown


def read_sensitivity(path: Path) -> dict[str, Any]:
    """{"pictures", "whole": error with everything in INT8, "units": [{"name", "kind", "only", "macs"}]}."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        units = [
            {
                "name": str(row["unit"]["name"]),
                "kind": str(row["unit"]["kind"]),
                "only": float(row["only"]),
                "macs": float(row["macs"]),
            }
            for row in found["rows"]
        ]
        return {"pictures": int(found["pictures"]), "whole": float(found["whole"]), "units": units}
    except OSError as error:
        raise QuantizeError(f"{path}: cannot be read ({error.strerror}); give the JSON of yoloq sensitivity") from None
    except (KeyError, TypeError, ValueError) as error:
        raise QuantizeError(f"{path}: {error!r}; give the JSON of yoloq sensitivity") from None


@with_fonts
def sensitivity_chart(sensitivity: dict[str, Any], t: dict[str, str]) -> bytes:
    """The layers, and the groups of layers and shared scales, whose quantisation alone costs most."""
    units = sorted(sensitivity["units"], key=lambda unit: (-unit["only"], unit["name"]))
    layers = [unit for unit in units if unit["kind"] == "layer"][:_LAYERS]
    groups = [unit for unit in units if unit["kind"] != "layer"][:_GROUPS]
    parts = [part for part in ((layers, BLUE, "layers"), (groups, ORANGE, "groups")) if part[0]]
    heights = [len(shown) + 2 for shown, _, _ in parts]
    figure = Figure(figsize=(9.6, 0.4 + 0.26 * sum(heights)), dpi=110, layout="constrained")
    grid = figure.subplots(len(parts), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (shown, color, kind) in zip(grid, parts, strict=True):
        _bars(axes, shown, color)
        axes.set_title(t[f"sensitivity_{kind}"], fontsize=10, loc="left", color=INK)
    grid[-1].set_xlabel(t["sensitivity_axis"].format(whole=f"{sensitivity['whole']:.3g}"), fontsize=9)
    return png_of(figure)


def _bars(axes: Axes, shown: list[dict[str, Any]], color: str) -> None:
    style_axes(axes)
    axes.barh(range(len(shown)), [unit["only"] for unit in shown], color=color, height=0.66)
    for y, unit in enumerate(shown):
        axes.text(
            unit["only"], y, f" {unit['only']:.2g} · {100 * unit['macs']:.1f} %", va="center", fontsize=8, color=INK
        )
    names = [unit["name"] if unit["kind"] == "layer" else f"{unit['kind']}: {unit['name']}" for unit in shown]
    axes.set_yticks(range(len(shown)), [short_name(name, 56) for name in names], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.18)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#e3e7eb")
