# SPDX-License-Identifier: Apache-2.0
"""Rockchip's runtime for the tests is a double, tests/doubles/rockchip; here are packages for it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from conftest import ROOT, dummy_manifest, write_package

SIDE = 64
CLASSES = ["bolt", "nut", "washer"]
VARIABLE = "YOLOQ_ROCKCHIP_RUNTIME"
WHEELS = ROOT / "build" / "rockchip"


def environment(folder: Path) -> dict[str, str]:
    """For a process that takes Rockchip's runtime from `folder`."""
    return {**os.environ, VARIABLE: str(folder)}


def outputs(batch: int) -> list[tuple[str, str, int, tuple[int, ...]]]:
    """Name, role, level and shape of the double's outputs."""
    found = []
    for level, cells in enumerate((8, 4, 2)):
        found.append((f"box_{level}", "box", level, (batch, 4, cells, cells)))
        found.append((f"score_{level}", "score", level, (batch, len(CLASSES), cells, cells)))
    return found


def container(chip: str = "rk3588", batch: int = 1, slow_ms: int = 0) -> bytes:
    """An .rknn without a model: the head, what the double reads, and the JSON that names the chip."""
    body = f"double batch={batch} slow={slow_ms} ".encode().ljust(256)
    about = json.dumps({"version": "2.5.0", "target_platform": [chip]}, separators=(",", ":")).encode()
    head = (b"RKNN" + bytes(4) + struct.pack("<QQ", 6, len(body))).ljust(64, b"\0")
    return head + body + struct.pack("<Q", len(about)) + about


def manifest(batch: int = 1, dtype: str = "float32", scale: float | None = None) -> dict:
    made = dummy_manifest("tiny", CLASSES, SIDE, {}, nms=True)
    made["target"] |= {"chip": "rk3588", "backend": "rockchip", "sdk": "rknn-toolkit2"}
    made["artifacts"] = [{"file": "model.rknn", "batch": batch}]
    for tensor, (name, _, _, shape) in zip(made["outputs"], outputs(1), strict=True):
        assert tensor["name"] == name
        tensor |= {"shape": list(shape), "dtype": dtype, "scale": scale}
        tensor["zero_point"] = None if scale is None else 0
    return made


def package(folder: Path, rknn: bytes, options: dict[str, str] | None = None, **kind: object) -> Path:
    made = manifest(**kind)
    made["backend_options"] = options or {}
    return write_package(folder, made, {"model.rknn": rknn})


def scenario_package(folder: Path, options: dict[str, str]) -> Path:
    """What a scenario of tests/native/rockchip*.c asks for."""
    batch = int(options.get("batch", "1"))
    kind = {"dtype": options["rockchip"], "batch": batch}
    kind["scale"] = float(options["scale"]) if "scale" in options else None
    cores = {"cores": options["cores"]} if "cores" in options else {}
    return package(folder, container(options.get("chip", "rk3588"), batch), cores, **kind)
