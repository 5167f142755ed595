# SPDX-License-Identifier: Apache-2.0
"""The proof `exports`: real exports of every family, packed with precision float32, against what they say themselves.

Ultralytics (a peer in an environment of its own, AGPL, never imported here) builds each architecture from its yaml with
random weights and statistics, and exports it; the heads that it no longer has are written in tests/exports_peer.py.
Each export then goes through load, passes, head, cut and package, the package's graph and a NumPy decoder give
candidates, and these are compared with the output of the export as it came, both by ONNX Runtime.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

import yoloq_quantize
from conftest import ROOT
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.reference import _package_plan, decode_cells

PEER = ROOT / ".venv-ultralytics"
DDDDOCR = "ddddocr==1.6.1"  # MIT; its wheel holds a trained YOLOX, common_det.onnx
PICTURE = ROOT / "datasets" / "fasteners" / "images" / "val" / "00000.jpg"
SHOWN = 1000  # best candidates of the export that are compared
MOST = (0.05, 1e-3)  # pixels, score


@dataclass(frozen=True)
class Job:
    """One export. `says`: how its output is to be read: "dense" (cxcywh, scores), "objectness" (cxcywh, objectness,
    scores), "rows" (x1 y1 x2 y2 score class), "yolox" (undecoded); `like`: the job whose output says what this one's
    raw maps mean; `refused`: what the refusal says. `head`: box, reg_max, objectness, nms, strides as expected."""

    name: str
    model: str
    says: str
    classes: int = 80
    head: tuple = ()
    options: dict = field(default_factory=dict)
    like: str = ""
    refused: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return tuple(self.options.get("imgsz", (640, 640)))


THREE, FOUR, FINE, TWO = (8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32)


def ltrb(bins: int = 16, strides: tuple = THREE, nms: bool = True) -> tuple:
    return ("ltrb", bins, False, nms, strides)


ANCHOR, EXP = ("anchor", 1, True, True, THREE), ("exp", 1, True, True, THREE)
SMALL = {"imgsz": [320, 320]}
WIDE = {"imgsz": [480, 640]}
ODD = {"imgsz": [320, 256]}


def _options(opset: int, *more: dict, **extra: object) -> dict:
    joined = {"opset": opset, "simplify": False, "imgsz": [640, 640]}
    for each in more:
        joined |= each
    return joined | extra


def _ultralytics() -> list[Job]:
    rows, dense, nms = {"nms": False}, "dense", {"nms": True}
    one, many = ltrb(1, nms=False), ltrb(1)
    return [
        Job("v3-tiny", "yolov3-tiny.yaml", dense, 3, ltrb(strides=TWO), _options(13, SMALL)),
        Job("v5u", "yolov5n.yaml", dense, 147, ltrb(), _options(13)),
        Job("v5u-p6", "yolov5n-p6.yaml", dense, 2, ltrb(strides=FOUR), _options(12, SMALL)),
        Job("v6", "yolov6n.yaml", dense, 80, ltrb(), _options(14, SMALL)),
        Job("v8", "yolov8n.yaml", dense, 80, ltrb(), _options(17)),
        Job("v8-opset11", "yolov8n.yaml", dense, 3, ltrb(), _options(11, WIDE)),
        Job("v8-dynamic", "yolov8n.yaml", dense, 2, ltrb(), _options(12, dynamic=True)),
        Job("v8-nms", "yolov8n.yaml", "rows", 2, ltrb(), _options(16, SMALL, nms)),
        Job("v8-half", "yolov8n.yaml", dense, 1, ltrb(), _options(17, SMALL, half=True)),
        Job("v8-64-classes", "yolov8n.yaml", dense, 64, ltrb(), _options(15, SMALL)),
        Job("v8-slim", "yolov8n.yaml", dense, 3, ltrb(), _options(17, SMALL, simplify=True)),
        Job("v8-p2", "yolov8n-p2.yaml", dense, 3, ltrb(strides=FINE), _options(17, SMALL)),
        Job("v8-p6", "yolov8n-p6.yaml", dense, 3, ltrb(strides=FOUR), _options(17)),
        Job("v9t", "yolov9t.yaml", dense, 80, ltrb(), _options(18, SMALL)),
        Job("v9c", "yolov9c.yaml", dense, 3, ltrb(), _options(15, SMALL)),
        Job("v10", "yolov10n.yaml", "rows", 80, ltrb(nms=False), _options(17, WIDE, rows)),
        Job("v10-opset13", "yolov10n.yaml", "rows", 1, ltrb(nms=False), _options(13, SMALL, rows)),
        Job("v10-dense", "yolov10n.yaml", dense, 3, ltrb(), _options(17, SMALL)),
        Job("11", "yolo11n.yaml", dense, 80, ltrb(), _options(12)),
        Job("11-dynamic", "yolo11n.yaml", dense, 2, ltrb(), _options(18, dynamic=True)),
        Job("11-nms-dynamic", "yolo11n.yaml", "rows", 3, ltrb(), _options(17, SMALL, nms, dynamic=True, batch=1)),
        Job("12", "yolo12n.yaml", dense, 80, ltrb(), _options(17, SMALL)),
        Job("12-opset11", "yolo12n.yaml", dense, 2, ltrb(), _options(11, WIDE)),
        Job("26", "yolo26n.yaml", "rows", 80, one, _options(17, WIDE, rows)),
        Job("26-opset11", "yolo26n.yaml", "rows", 1, one, _options(11, SMALL, rows)),
        Job("26-dynamic", "yolo26n.yaml", "rows", 64, one, _options(20, rows, dynamic=True)),
        Job("26-half-slim", "yolo26n.yaml", "rows", 5, one, _options(17, SMALL, rows, half=True, simplify=True)),
        Job("26-dense", "yolo26n.yaml", dense, 1, many, _options(17, SMALL)),
        Job("26-dense-nms", "yolo26n.yaml", "rows", 3, many, _options(17, SMALL, nms)),
        Job("26-p2", "yolo26n-p2.yaml", "rows", 3, ltrb(1, FINE, False), _options(17, SMALL, rows)),
        Job("26-p6", "yolo26n-p6.yaml", dense, 3, ltrb(1, FOUR), _options(16)),
    ]


def _others() -> list[Job]:
    small, odd = _options(17, SMALL), _options(12, ODD)
    task = "this model's task is '{}'; only object detection"
    return [
        Job("anchors-v5", "hand-v5", "objectness", 4, ANCHOR, odd),
        Job("anchors-v5-outputs", "hand-v5-old", "objectness", 80, ANCHOR, _options(11, dynamic=True)),
        Job("anchors-v7", "hand-v7", "objectness", 3, ANCHOR, odd),
        Job("anchors-v7-outputs", "hand-v7-every", "objectness", 1, ANCHOR, odd),
        Job("yolox", "hand-yolox", "objectness", 80, EXP, _options(11, dynamic=True)),
        Job("yolox-raw", "hand-yolox-raw", "yolox", 3, EXP, odd),
        Job("yolox-ddddocr", "", "yolox", 1, EXP, {"imgsz": [416, 416]}),
        Job("v6-meituan", "hand-v6", "objectness", 4, ltrb(1), odd),
        Job("v6-meituan-bins", "hand-v6-bins", "objectness", 2, ltrb(17), _options(13, SMALL)),
        Job("decoded", "hand-v8", "objectness", 4, ltrb(), odd),
        Job("raw-levels", "hand-levels", "", 4, ltrb(), odd, like="decoded"),
        Job("raw-probabilities", "hand-probabilities", "", 4, ltrb(), odd, like="decoded"),
        Job("raw-joined", "hand-joined", "", 4, ltrb(), odd, like="decoded"),
        Job("segment", "yolov8n-seg.yaml", "", options=small, refused=task.format("segment")),
        Job("pose", "yolo11n-pose.yaml", "", options=small, refused=task.format("pose")),
        Job("obb", "yolo26n-obb.yaml", "", options=small, refused=task.format("obb")),
        Job("classify", "yolo11n-cls.yaml", "", options=small, refused=task.format("classify")),
        Job("world", "yolov8s-world.yaml", "", options=_options(17, imgsz=[384, 384]), refused="open-vocabulary head"),
        Job("rtdetr", "rtdetr-l.yaml", "", options=_options(17, SMALL), refused="transformer decoder"),
    ]


JOBS = [*_ultralytics(), *_others()]


def peer_python() -> Path:
    """The peer's interpreter, its environment made or completed if need be. YOLOQ_PEER names another one."""
    python = Path(os.environ.get("YOLOQ_PEER", PEER / "bin" / "python"))
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
    if subprocess.run(
        [python, "-c", "import onnx, onnxslim, onnxruntime, ultralytics"], capture_output=True
    ).returncode:
        pins = [ROOT / "bench" / f"requirements-{each}.txt" for each in ("ultralytics", "exports")]
        subprocess.run([python, "-m", "pip", "install", "-q", *(f"-r{each}" for each in pins)], check=True)
    return python


def make_exports(jobs: list[Job], folder: Path) -> dict[str, str]:
    """Writes NAME.onnx for each job; by name why it failed, or ""."""
    peers = [{"name": job.name, "model": job.model, "classes": job.classes, **job.options} for job in jobs if job.model]
    (folder / "jobs.json").write_text(json.dumps(peers))
    command = [peer_python(), ROOT / "tests" / "exports_peer.py", folder / "jobs.json", folder]
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    said = [json.loads(line.split(" ", 1)[1]) for line in done.stdout.splitlines() if line.startswith("exports_peer ")]
    errors = {each["name"]: each.get("error", "") for each in said}
    if any(not job.model for job in jobs):
        get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, DDDDOCR]
        subprocess.run(get, check=True, capture_output=True)
        wheel = zipfile.ZipFile(next(folder.glob("ddddocr*.whl")))
        (folder / "yolox-ddddocr.onnx").write_bytes(wheel.read("ddddocr/common_det.onnx"))
        errors["yolox-ddddocr"] = ""
    return {job.name: errors.get(job.name, f"the peer ended: {done.stderr[-300:]}") for job in jobs}


def picture(job: Job) -> np.ndarray:
    """uint8 [1, h, w, 3]: noise, for which the random weights' statistics were made; a real one for trained weights."""
    if not job.model:
        return cv2.resize(cv2.imread(str(PICTURE)), job.size[::-1])[None]
    return np.random.default_rng(7).integers(0, 256, (1, *job.size, 3), np.uint8)


def widened(file: Path) -> bytes:
    """A float16 export with float32 numbers, by plain loops over the file."""
    model = onnx.load(file)
    constants = [a.t for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for tensor in [*model.graph.initializer, *constants]:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]
    return model.SerializeToString()


def said_by_export(file: Path, job: Job, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] x1 y1 x2 y2 in input pixels and scores [n, C], from the export itself; of a float16 export from its
    copy in float32, because with random weights float16 sums are pixels off."""
    export = widened(file) if job.options.get("half") else str(file)
    session = ort.InferenceSession(export, providers=["CPUExecutionProvider"])
    pixels = (picture(job).astype(np.float32) * np.float32(scale)).transpose(0, 3, 1, 2)
    output = session.run(None, {session.get_inputs()[0].name: pixels})[0][0].astype(np.float64)
    if job.says == "rows":
        scores = np.zeros((len(output), job.classes))
        scores[np.arange(len(output)), output[:, 5].astype(int)] = output[:, 4]
        return output[:, :4], scores
    rows = output.T if job.says == "dense" else output
    if job.says == "yolox":
        grids = [(job.size[0] // s, job.size[1] // s, s) for s in THREE]
        cells = np.concatenate([[(x, y, s) for y in range(h) for x in range(w)] for h, w, s in grids])
        rows[:, :2] = (rows[:, :2] + cells[:, :2]) * cells[:, 2:]
        rows[:, 2:4] = np.exp(rows[:, 2:4]) * cells[:, 2:]
    scores = rows[:, 4:] if job.says == "dense" else rows[:, 4:5] * rows[:, 5:]
    return np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1), scores


def said_by_package(package: Path, job: Job) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Every cell's boxes [n, 4] and scores [n, C] from a package, and its head."""
    plan = _package_plan(package)
    session = ort.InferenceSession(str(plan.model), providers=["CPUExecutionProvider"])
    tensors = session.run(list(plan.tensors), {session.get_inputs()[0].name: picture(job)})
    head = plan.head
    boxes, scores = decode_cells(head, tensors, job.classes, plan.size)
    return boxes, scores, (head.box, head.reg_max, head.objectness, head.nms, tuple(head.strides))


def compare(
    export: tuple[np.ndarray, np.ndarray], ours: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Box errors in pixels (in thousandths of its largest coordinate, of a box that leaves the picture far behind) and
    score errors of the likenesses of the export's best candidates.

    A likeness has the same class and, among those whose score is as near as MOST allows, the nearest box. Where none
    has a near score, both errors are infinite.
    """
    cells, classes = np.nonzero(export[1] > 0)
    scores = export[1][cells, classes]
    best = np.argsort(-scores, kind="stable")[:SHOWN]
    errors = np.full((len(best), 2), np.inf)
    for index, (cell, label, score) in enumerate(zip(cells[best], classes[best], scores[best], strict=True)):
        gaps = np.abs(ours[1][:, label] - score)
        near = np.flatnonzero(gaps <= MOST[1])
        if len(near):
            apart = np.abs(ours[0][near] - export[0][cell]).max(axis=1) / max(1.0, np.abs(export[0][cell]).max() / 1000)
            errors[index] = apart.min(), gaps[near[np.argmin(apart)]]
    return errors[:, 0], errors[:, 1]


def run(job: Job, folder: Path) -> dict:
    """One row of the proof."""
    file, package = folder / f"{job.name}.onnx", folder / f"{job.name}.yoloq"
    scale = 1.0 if not job.model else 1 / 255
    names = folder / "data.yaml"
    names.write_text(json.dumps({"path": ".", "names": [f"c{i}" for i in range(job.classes)]}))
    row: dict = {"name": job.name, "model": job.model or DDDDOCR, "classes": job.classes, **job.options}
    started = time.process_time()
    try:
        options = {"precision": "float32", "size": job.size, "input_scale": scale, "data": names, "measure": False}
        yoloq_quantize.quantize(file, None, package, target="cpu", color="BGR", **options)
    except QuantizeError as error:
        return row | {"refused": str(error)[:300], "ok": bool(job.refused) and bool(re.search(job.refused, str(error)))}
    row["cpu_s"] = round(time.process_time() - started, 2)
    boxes, scores, head = said_by_package(package, job)
    like = JOBS_BY_NAME[job.like] if job.like else job
    said = said_by_export(folder / f"{like.name}.onnx", like, scale)
    errors = [float(each.max(initial=0)) for each in compare(said, (boxes, scores))]
    compared = min(SHOWN, int(np.count_nonzero(said[1])))
    if not job.options.get("nms"):  # nothing of ours may come before the export's best, either
        best = [np.sort(each[1].ravel())[::-1][:compared] for each in (said, (boxes, scores))]
        errors[1] = max(errors[1], float(np.abs(best[0] - best[1]).max(initial=0)))
    right = head == job.head and compared > 0 and errors[0] <= MOST[0] and errors[1] <= MOST[1]
    ok = not job.refused and right
    kind = {"box": head[0], "reg_max": head[1], "objectness": head[2], "nms": head[3], "strides": list(head[4])}
    return row | {
        "head": kind,
        "compared": compared,
        "box_px": round(errors[0], 5),
        "score": round(errors[1], 7),
        "ok": ok,
    }


JOBS_BY_NAME = {job.name: job for job in JOBS}


def prove_exports(folder: Path, jobs: list[Job] = JOBS) -> dict:
    errors = make_exports(jobs, folder)
    rows = []
    for job in jobs:
        row = {"name": job.name, "error": errors[job.name], "ok": False} if errors[job.name] else run(job, folder)
        rows.append(row)
        print(f"exports  {'ok    ' if row['ok'] else 'FAILED'} {row}", flush=True)
    limits = {"box_px": MOST[0], "score": MOST[1]}
    return {"ok": all(row["ok"] for row in rows), "limits": limits, "exports": rows}
