# SPDX-License-Identifier: Apache-2.0
"""What the tests of the vendors' compilers share: a tiny detector as the CPU runs it and compiled, and how far off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from flow_case import make_world
from yoloq_quantize import quantize


def both_packages(folder: Path, chip: str) -> dict[str, Path]:
    """The same detector, quantised for the chip: "cpu", as the CPU runs it, and "chip", compiled; its "data"."""
    world = make_world(folder).folder
    for name, compiled in (("cpu", False), ("chip", True)):
        model, calib, out = world / "tiny.onnx", world / "calib", world / f"{name}.yoloq"
        quantize(model, calib, out, chip, recipe="fast", data=world / "data.yaml", measure=False, compiled=compiled)
    return {name: world / f"{name}.yoloq" for name in ("cpu", "chip")} | {"data": world / "data.yaml"}


def manifest(package: Path) -> dict:
    return json.loads((package / "manifest.json").read_text())


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """RMS by standard deviation."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
