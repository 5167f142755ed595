# SPDX-License-Identifier: Apache-2.0
"""What the tests of the vendors' compilers share: a tiny detector as the CPU runs it and compiled, and how far off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx

from exact import exact_session
from flow_case import make_world
from yoloq_quantize import quantize
from yoloq_quantize.compile.rockchip import simulate
from yoloq_quantize.scheme import Target


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


def simulator_errors(
    proto: onnx.ModelProto, target: Target, picture: np.ndarray, folder: Path, wanted: onnx.ModelProto | None = None
) -> list[float]:
    """Of each raw tensor of `proto` on Rockchip's simulator, against `wanted` in ONNX Runtime; `proto` itself if
    none. folder: for the compiler's log."""
    session = exact_session(wanted or proto)
    names = [output.name for output in session.get_outputs()]
    simulator = simulate(proto.SerializeToString(), target, folder / "log")
    try:
        found = simulator.run(names, {"images_u8": picture})
    finally:
        simulator.close()
    return [error(*pair) for pair in zip(found, session.run(names, {"images_u8": picture}), strict=True)]
