# SPDX-License-Identifier: Apache-2.0
"""Sophgo's simulator for the tests, and packages for it around tests/data/sophgo/tiny.bmodel."""

from __future__ import annotations

import importlib.util
import os
import struct
from pathlib import Path
from types import ModuleType

from conftest import ROOT, dummy_manifest, write_package

TINY = ROOT / "tests" / "data" / "sophgo" / "tiny.bmodel"  # BM1688, batch 1 and 4
SIDE = 64
CLASSES = ["bolt", "nut", "washer"]
VARIABLE = "YOLOQ_SOPHGO_RUNTIME"


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sophgo_runtime", ROOT / "tools" / "sophgo_runtime.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def runtime(chip: str = "bm1688") -> Path:
    """The folder of the vendor's runtime with the chip's simulator; fetched the first time."""
    return _tool().lay_out(chip)


def wheel() -> Path:
    """The wheel of the vendor's compiler, which the runtime is from too."""
    return _tool().fetch_wheel()


def environment(folder: Path) -> dict[str, str]:
    """For a process that takes Sophgo's runtime from `folder`."""
    return {**os.environ, VARIABLE: str(folder)}


def outputs(batch: int) -> list[tuple[str, str, int, tuple[int, ...]]]:
    """Name, role, level and shape of tiny.bmodel's outputs."""
    found = []
    for level, cells in enumerate((8, 4, 2)):
        found.append((f"box_{level}_Conv_f32", "box", level, (batch, 4, cells, cells)))
        found.append((f"score_{level}_Conv_f32", "score", level, (batch, len(CLASSES), cells, cells)))
    return found


def manifest(batch: int = 1, dtype: str = "float32", scale: float | None = None) -> dict:
    """Of a package with tiny.bmodel, or something with the same tensors, as model.bmodel."""
    made = dummy_manifest("tiny", CLASSES, SIDE, {}, nms=True)
    made["target"] |= {"chip": "bm1688", "backend": "sophgo", "sdk": "tpu-mlir"}
    made["artifacts"] = [{"file": "model.bmodel", "batch": batch}]
    parts = made["head"]["outputs"]
    for tensor, part, (name, _, _, shape) in zip(made["outputs"], parts, outputs(1), strict=True):
        part["tensor"] = name
        tensor |= {"name": name, "shape": list(shape), "dtype": dtype, "scale": scale}
        tensor["zero_point"] = None if scale is None else 0
    return made


def container(chip: str) -> bytes:
    """A .bmodel without a model: the header, and a flatbuffer whose root names the chip. For the double."""
    text = chip.encode() + bytes(4 - len(chip) % 4)
    vtable = struct.pack("<6H", 12, 8, 0, 0, 0, 4)  # its bytes, the table's, and where fields 0 to 3 are: the chip is 3
    table = struct.pack("<iI", len(vtable), 4)  # back to the vtable; on to the text
    flatbuffer = struct.pack("<I", 4 + len(vtable)) + vtable + table + struct.pack("<I", len(chip)) + text
    return struct.pack("<4I", 0xFF55AAEE, 64, len(flatbuffer), 0) + bytes(48) + flatbuffer


def package(folder: Path, bmodel: bytes, **kind: object) -> Path:
    return write_package(folder, manifest(**kind), {"model.bmodel": bmodel})


def scenario_package(folder: Path, options: dict[str, str]) -> Path:
    """What a scenario of tests/native/sophgo*.c asks for."""
    kind = {"dtype": options["sophgo"], "batch": int(options.get("batch", "1"))}
    kind["scale"] = float(options["scale"]) if "scale" in options else None
    return package(folder, container(options.get("chip", "BM1688")), **kind)
