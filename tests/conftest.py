# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the libraries under test, packages to load, and where the data lies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("YOLOQ_BUILD_DIR", ROOT / "build" / "release"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def build_dir() -> Path:
    """The build under test: lib/ has the product, testing/ the tests' own libraries."""
    return BUILD


@pytest.fixture(scope="session")
def testing_library(build_dir: Path) -> str:
    """The core with a flat C door to its parts."""
    path = build_dir / "testing" / "libyoloq_testing.so"
    assert path.exists(), f"{path} is missing: run python3 build.py build"
    return str(path)


def write_package(folder: Path, manifest: dict, files: dict[str, bytes]) -> Path:
    """Writes a package by the letter of docs/package-format.md; shares no code with the product's own writer."""
    folder.mkdir(parents=True)
    files = {"labels.txt": "".join(f"{name}\n" for name in manifest["classes"]).encode(), **files}
    manifest["files"] = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    write_manifest(folder, manifest)
    return folder


def write_manifest(folder: Path, manifest: dict) -> None:
    text = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")


def dummy_manifest(name: str, classes: list[str], size: int, options: dict[str, str], nms: bool) -> dict:
    """A YOLO26-like head of three levels for the dummy backend."""
    outputs, parts = [], []
    for level, stride in enumerate((8, 16, 32)):
        for role, channels in (("box", 4), ("score", len(classes))):
            cells = size // stride
            tensor = {"name": f"{role}_{level}", "dtype": "float32", "shape": [1, channels, cells, cells]}
            outputs.append({**tensor, "channel_axis": 1, "scale": None, "zero_point": None})
            parts.append({"tensor": f"{role}_{level}", "role": role, "level": level})
    letterbox = {"pad": 114, "align": "center", "upscale": True}
    sides = {"name": "images_u8", "width": size, "height": size}
    return {
        "format": 1,
        "name": name,
        "task": "detect",
        "precision": "int8",
        "classes": classes,
        "input": {**sides, "color": "RGB", "layout": "NHWC", "dtype": "uint8", "letterbox": letterbox},
        "head": {
            "box": "ltrb",
            "score": "logit",
            "reg_max": 1,
            "objectness": False,
            "nms": nms,
            "strides": [8, 16, 32],
            "anchors": None,
            "outputs": parts,
        },
        "outputs": outputs,
        "target": {"chip": "cpu", "backend": "cpu", "sdk": "none", "sdk_version": "0", "compiler": "the tests"},
        "artifacts": [{"file": "model.bin", "batch": 1}],
        "backend_options": options,
        "defaults": {"score_threshold": 0.25, "iou_threshold": 0.7, "max_detections": 300},
    }


@pytest.fixture(scope="module")
def vendors_compilers() -> Iterator[None]:
    """In build/, as everything that tests fetch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLOQ_CACHE", os.environ.get("YOLOQ_CACHE") or str(ROOT / "build" / "cache"))
        yield


@pytest.fixture(scope="session")
def make_dummy_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make(name=, classes=, size=, options=, nms=, **manifest_overrides) -> folder, for backend="dummy"."""

    def make(
        name: str = "dummy",
        classes: list[str] | None = None,
        size: int = 320,
        options: dict[str, str] | None = None,
        nms: bool = True,
        **overrides: object,
    ) -> Path:
        manifest = dummy_manifest(name, classes or ["bolt", "nut", "washer"], size, options or {}, nms)
        manifest.update(overrides)
        folder = tmp_path_factory.mktemp("package") / f"{name}.yoloq"
        return write_package(folder, manifest, {"model.bin": b"no model: the dummy backend needs none"})

    return make


@pytest.fixture(scope="session")
def dummy_package(make_dummy_package: Callable[..., Path]) -> Path:
    return make_dummy_package()


@pytest.fixture(scope="session")
def demo_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model (end-to-end export) quantised to INT8 with a few calibration pictures."""
    import yoloq_quantize

    out = tmp_path_factory.mktemp("demo") / "fasteners.yoloq"
    model = ROOT / "models" / "fasteners-yolo26n-e2e.onnx"
    calibration = ROOT / "datasets" / "fasteners" / "images" / "calib"
    reproducible = {"precision": "f32"}  # what is not INT8 on any CPU
    yoloq_quantize.quantize(model, calibration, out, recipe="fast", backend_options=reproducible)
    return out


@pytest.fixture(scope="session")
def windows_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Windows DLLs in a folder of their own, with the programs of tests/native beside them."""
    import wine

    return wine.lay_out(tmp_path_factory.mktemp("windows") / "host", *wine.programs())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regen", action="store_true", help="write the golden files anew")
