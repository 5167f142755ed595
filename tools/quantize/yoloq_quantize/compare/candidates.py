# SPDX-License-Identifier: Apache-2.0
"""What a report compares: the float model, what other toolkits make of it, our recipes, and packages that exist."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import Detector, open_detector
from yoloq_quantize.reference import ReferenceDetector

PEERS = {
    "ort-generic": ("INT8, ONNX Runtime defaults", "ONNX Runtime"),
    "ort-conv": ("INT8, ONNX Runtime Conv only", "ONNX Runtime"),
    "nncf": ("INT8, NNCF", "OpenVINO"),
}


@dataclass(frozen=True)
class Candidate:
    """One way to run the model. `key`: unique, and a file name. `job`: for make(); None: it exists already."""

    key: str
    name: str
    engine: str
    path: Path
    ours: bool
    int8: bool
    job: dict[str, Any] | None = None


@dataclass(frozen=True)
class Request:
    """What `yoloq report` is asked for. `options`: of quantize(), for all recipes: target, color, size, ..."""

    model: Path | None
    calib: Path | None
    recipes: tuple[str, ...] = ()
    packages: tuple[Path, ...] = ()
    peers: tuple[str, ...] = ()
    nncf_python: str = sys.executable
    options: dict[str, Any] = field(default_factory=dict)


def list_candidates(request: Request, folder: Path) -> list[Candidate]:
    """In the order of the report's rows; the first is the float model, which the others are held against.

    folder: where the models of the report are made.
    """
    for peer in request.peers:
        if peer not in PEERS:
            raise QuantizeError(f"peer {peer!r} is not known; choose from {', '.join(PEERS)}")
    rows = []
    if request.model is not None:
        if (request.recipes or request.peers) and request.calib is None:
            raise QuantizeError("recipes and peers need calibration pictures; give a folder with --calib")
        rows = [
            *_float_rows(request, folder),
            *(_peer(name, request, folder) for name in request.peers),
            *(_recipe(name, request, folder) for name in request.recipes),
        ]
    rows += [_package(path) for path in request.packages]
    keys = [row.key for row in rows]
    for key in keys:
        if keys.count(key) > 1:
            raise QuantizeError(f"{key!r} is there twice; give every recipe and package once, under names that differ")
    if len(rows) < 2:
        raise QuantizeError("nothing to compare; give --model with --calib, or two packages with --package")
    return rows


def _float_rows(request: Request, folder: Path) -> list[Candidate]:
    """The source by ONNX Runtime, if the reference decoder reads its outputs; and our cut float graph."""
    options = {**request.options, "precision": "float32"}
    path = folder / "float32.yoloq"
    job = {"kind": "recipe", "model": str(request.model), "calib": None, "out": str(path), "options": options}
    ours = Candidate("float32", "FP32, yoloq", "yoloq", path, True, False, job)
    try:
        ReferenceDetector(request.model).close()
    except QuantizeError:
        return [ours]
    return [Candidate("source", "FP32, ONNX Runtime", "ONNX Runtime", request.model, False, False), ours]


def _peer(name: str, request: Request, folder: Path) -> Candidate:
    title, engine = PEERS[name]
    path = folder / f"{name}{'.xml' if name == 'nncf' else '.onnx'}"
    job = {"kind": name, "model": str(request.model), "calib": str(request.calib), "out": str(path)}
    return Candidate(name, title, engine, path, False, True, {**job, "python": request.nncf_python})


def _recipe(name: str, request: Request, folder: Path) -> Candidate:
    path = folder / f"{name}.yoloq"
    options = {**request.options, "recipe": name}
    job = {"kind": "recipe", "model": str(request.model), "calib": str(request.calib), "out": str(path)}
    return Candidate(f"recipe-{name}", f"INT8, yoloq {name}", "yoloq", path, True, True, {**job, "options": options})


def _package(path: Path) -> Candidate:
    precision = read_manifest(path).get("precision")
    return Candidate(f"package-{path.stem}", path.stem, "yoloq", path, True, precision == "int8")


def read_manifest(package: Path) -> dict[str, Any]:
    """A package's manifest; digests are the library's business."""
    try:
        manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuantizeError(f"{package}: no manifest.json in it; give a .yoloq package") from None
    except (NotADirectoryError, ValueError) as error:
        raise QuantizeError(f"{package}: not a package ({error}); give a .yoloq folder") from None
    return manifest


def open_candidate(candidate: Candidate, source: Path | None, **limits: Any) -> Detector:
    """A detector of the candidate; close() it. `source`: the float ONNX, which tells how a peer's outputs are read.
    Where a head needs NMS all have box voting, as our packages: what is compared is quantisation."""
    if candidate.path.suffix == ".xml":
        from yoloq_quantize.peers.nncf_peer import OpenVinoSession

        session = OpenVinoSession(candidate.path, limits.get("threads", 0))
        return ReferenceDetector(source, session=session, max_detections=300, box_voting=True, **limits)
    return open_detector(candidate.path, box_voting=None if candidate.path.is_dir() else True, **limits)
