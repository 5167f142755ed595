# SPDX-License-Identifier: Apache-2.0
"""Models and packages for the double of Ascend's SDK (tests/doubles/ascend), which computes planted models itself."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from backend_contract import Case, Tensor
from conftest import BUILD, dummy_manifest, write_package

Change = Callable[[dict], object]
VARIABLE = "YOLOQ_ASCEND_RUNTIME"
SOC = "Ascend310P3"
SIDE = 64
CLASSES = ["bolt", "nut", "washer"]
TYPES = {"float32": (0, 4), "float16": (1, 2), "int8": (2, 1), "uint8": (4, 1)}  # aclDataType, bytes
NHWC, ND = 1, 2


def runtime(age: str = "") -> Path:
    """The folder of the double; age "-old": as CANN was before version 7."""
    return BUILD / "testing" / f"ascend{age}"


def environment(folder: Path) -> dict[str, str]:
    """For a process that takes Ascend's runtime from `folder`."""
    return {**os.environ, VARIABLE: str(folder)}


def outputs(batch: int = 1) -> list[tuple[str, str, int, tuple[int, ...]]]:
    """Name, role, level and shape of a planted model's outputs."""
    found = []
    for level, cells in enumerate((8, 4, 2)):
        found.append((f"box_{level}", "box", level, (batch, 4, cells, cells)))
        found.append((f"score_{level}", "score", level, (batch, len(CLASSES), cells, cells)))
    return found


def tensor(name: str, dtype: str, shape: tuple[int, ...], layout: int = ND) -> dict:
    """As a model's header has it."""
    number, size = TYPES[dtype]
    for length in shape:
        size *= length
    return {"name": name, "dtype": number, "format": layout, "dims": list(shape), "size": size, "aipp": 0}


def header(batch: int = 1, dtype: str = "float32", delay_ms: int = 0) -> dict:
    """Of a planted model."""
    heads = [tensor(f"Conv_{i}:0:{name}", dtype, shape) for i, (name, _, _, shape) in enumerate(outputs(batch))]
    image = tensor("images_u8", "uint8", (batch, SIDE, SIDE, 3), NHWC)
    return {"kind": "planted", "soc": SOC, "inputs": [image], "outputs": heads, "delay_ms": delay_ms}


def container(facts: dict, payload: bytes = b"weights" * 100) -> bytes:
    """A .om as the double reads it."""
    text = json.dumps(facts).encode()
    return b"YQDBL_OM" + struct.pack("<Q", len(text)) + text + payload


def manifest(batches: tuple[int, ...] = (1,), dtype: str = "float32") -> dict:
    made = dummy_manifest("tiny", CLASSES, SIDE, {"soc": SOC}, nms=True)
    made["target"] |= {"chip": "ascend310p", "backend": "ascend", "sdk": "CANN"}
    made["artifacts"] = [{"file": f"model_b{batch}.om", "batch": batch} for batch in batches]
    for each in made["outputs"]:
        each["dtype"] = dtype
        if dtype == "int8":
            each |= {"scale": 0.5, "zero_point": 0}
    return made


def package(folder: Path, batches: tuple[int, ...] = (1,), dtype: str = "float32", facts: dict | None = None) -> Path:
    """A package of planted models; facts change their headers."""
    files = {f"model_b{batch}.om": container(header(batch, dtype) | (facts or {})) for batch in batches}
    return write_package(folder, manifest(batches, dtype), files)


def scenario_package(folder: Path, options: dict[str, str]) -> Path:
    """What a scenario of tests/native/ascend*.c asks for."""
    batches = tuple(int(batch) for batch in options.get("batch", "1").split(","))
    return package(folder, batches, options["ascend"])


# ------------------------------------------------------------------------------------------------- for the module alone


def case_of(folder: Path, batch: int = 1, dtype: str = "float32", change: Change | None = None, **kind: int) -> Case:
    """A planted model in a file, and what a package says of it."""
    facts = header(batch, dtype, **kind)
    if change:
        change(facts)
    artifact = folder / "model.om"
    artifact.write_bytes(container(facts))
    image = Tensor("images_u8", (batch, SIDE, SIDE, 3), "input", "uint8")
    named = outputs(batch)
    heads = tuple(Tensor(name, shape, role, dtype, level) for name, role, level, shape in named)
    return Case(artifact, image, heads)


def expected(pixels: np.ndarray, dtype: str, order: Sequence[int] = range(6)) -> list[np.ndarray]:
    """A planted model's outputs, as tests/doubles/ascend/executor.cpp describes them; order: their places in it."""
    places = (np.arange(pixels[0].size) % 1021 + 1).astype(np.uint64)
    heads = []
    for index, (name, _, _, shape) in zip(order, outputs(len(pixels)), strict=True):
        steps = np.arange(np.prod(shape[1:]), dtype=np.uint64) * 7 + index * 13
        rows = [((int((picture.ravel() * places).sum()) % 2**32 + steps) % 2**32 % 23) / 2 for picture in pixels]
        reals = np.array(rows).reshape(shape) - (9 if name.startswith("score") else 0)
        heads.append((reals * 2).astype(np.int8) if dtype == "int8" else reals.astype(dtype))
    return heads
