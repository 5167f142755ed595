# SPDX-License-Identifier: Apache-2.0
"""The reference detector: OpenCV letterbox, ONNX Runtime, NumPy decoder. It shares no code with the C++ library.

It runs a float ONNX as exported (end-to-end `[1, rows, 6]` or dense `[1, 4 + C, cells]`), and the ONNX artefact of a
package as its manifest describes it. Formulas and letterbox rule: docs/package-format.md.
"""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import onnxruntime as ort

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.metrics import Detections, box_iou

if TYPE_CHECKING:
    from yoloq_quantize.head import Head as FoundHead

LEAST_VOTE = 0.7  # IoU: a box that overlaps less may be of another object


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the network's input: scaled to `width` x `height` at `left`, `top`; all in pixels."""

    width: int
    height: int
    left: int
    top: int

    @staticmethod
    def fit(
        picture: tuple[int, int], target: tuple[int, int], align: str = "center", upscale: bool = True
    ) -> Letterbox:
        """picture, target: (width, height)."""
        scale = min(target[0] / picture[0], target[1] / picture[1])
        if not upscale:
            scale = min(scale, 1.0)
        width, height = (max(1, round(side * scale)) for side in picture)
        if align == "topleft":
            return Letterbox(width, height, 0, 0)
        return Letterbox(width, height, (target[0] - width) // 2, (target[1] - height) // 2)

    def apply(self, image: np.ndarray, target: tuple[int, int], pad: int = 114) -> np.ndarray:
        """uint8 (h, w, 3) to uint8 (target height, target width, 3)."""
        if image.shape[1::-1] != (self.width, self.height):
            image = cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        right, bottom = target[0] - self.width - self.left, target[1] - self.height - self.top
        border = (self.top, bottom, self.left, right)
        return cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(pad, pad, pad))

    def undo(self, boxes: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
        """Boxes (n, 4) in input pixels to float32 (n, 4) in picture pixels, clipped to the picture."""
        offset = np.array([self.left, self.top] * 2, np.float64)
        scale = np.array([picture[0] / self.width, picture[1] / self.height] * 2)
        limit = np.array([picture[0], picture[1]] * 2, np.float64)
        return np.clip((boxes - offset) * scale, 0, limit).astype(np.float32)


@dataclass(frozen=True)
class Head:
    """A detection head as data; the fields are those of a manifest's `head`."""

    box: str
    score: str
    nms: bool
    outputs: tuple[tuple[str, int], ...]  # (role, level) of each tensor that decode() gets
    channel_axes: tuple[int, ...]  # of each tensor
    reg_max: int = 1
    objectness: bool = False
    strides: tuple[int, ...] = ()
    anchors: tuple[Any, ...] = ()  # by level, float (anchors, 2), pixels
    box_voting: bool = False
    box_scale: tuple[float, float] = (1.0, 1.0)  # factors of a box's width and height

    @staticmethod
    def of(found: FoundHead) -> Head:
        """As the toolchain describes it; tensors come in the order of its outputs."""
        return Head(
            box=found.box,
            score=found.score,
            nms=found.nms,
            outputs=tuple((output.role, output.level) for output in found.outputs),
            channel_axes=tuple(output.channel_axis for output in found.outputs),
            reg_max=found.reg_max,
            objectness=found.objectness,
            strides=found.strides,
            anchors=found.anchors or (),
            box_voting=found.box_voting,
            box_scale=found.box_scale,
        )


@dataclass(frozen=True)
class Candidates:
    """Decoded (cell, anchor, class) triples in the order score, class, position; boxes in input pixels."""

    boxes: np.ndarray  # float32 (n, 4) x1 y1 x2 y2
    scores: np.ndarray  # float32 (n,)
    class_ids: np.ndarray  # int64 (n,)

    def take(self, keep: np.ndarray | slice) -> Candidates:
        return Candidates(self.boxes[keep], self.scores[keep], self.class_ids[keep])


def decode(
    head: Head, tensors: Sequence[np.ndarray], class_count: int, size: tuple[int, int], threshold: float
) -> Candidates:
    """Raw head tensors of one picture (batch of 1, real values) to candidates with score >= threshold.

    size: (width, height) of the network's input, pixels.
    """
    if head.outputs[0][0] == "end2end":
        rows = tensors[0].reshape(-1, 6)
        boxes, scores, class_ids = rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)
        position = np.arange(len(rows))
        keep = (scores >= threshold) & np.isfinite(boxes).all(1)
    else:
        boxes, table = decode_cells(head, tensors, class_count, size)
        position, class_ids = np.nonzero((table >= threshold) & np.isfinite(boxes).all(1)[:, None])
        boxes, scores = boxes[position], table[position, class_ids]
        keep = np.ones(len(position), bool)
    boxes, scores, class_ids, position = boxes[keep], scores[keep], class_ids[keep], position[keep]
    order = np.lexsort((position, class_ids, -scores.astype(np.float64)))
    return Candidates(boxes[order].astype(np.float32), scores[order].astype(np.float32), class_ids[order])


def decode_cells(
    head: Head, tensors: Sequence[np.ndarray], class_count: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Every cell of every level, anchor by anchor: boxes float64 (cells, 4) in input pixels, scores float32
    (cells, classes), 0 to 1. Not for end-to-end tables, which have no cells."""
    parts = [_decode_level(head, tensors, level, class_count, size) for level in range(max(1, len(head.strides)))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _decode_level(
    head: Head, tensors: Sequence[np.ndarray], level: int, class_count: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """One level's boxes (cells * anchors, 4) x1 y1 x2 y2 in input pixels, and class scores (cells * anchors, C)."""
    box_channels = 4 * head.reg_max if head.box == "ltrb" else 4
    width = box_channels + int(head.objectness) + class_count
    found: dict[str, np.ndarray] = {}
    for (role, at), tensor, axis in zip(head.outputs, tensors, head.channel_axes, strict=True):
        if at == level:
            found[role] = _rows(tensor, axis, width if head.box == "anchor" else None)
    if "combined" in found:
        cuts = [box_channels, box_channels + int(head.objectness)]
        found["box"], found["objectness"], found["score"] = np.split(found["combined"], cuts, axis=1)
    scores = found["score"]
    gate = found["objectness"] if head.objectness else None
    if head.score == "logit":
        scores, gate = _sigmoid(scores), None if gate is None else _sigmoid(gate)
    if gate is not None:
        scores = scores * gate
    return _boxes(head, found["box"].astype(np.float64), level, size), scores.astype(np.float32)


def _rows(tensor: np.ndarray, channel_axis: int, per_anchor: int | None) -> np.ndarray:
    """A tensor (1, ...) as (cells, channels), or (cells * anchors, per_anchor): cell by cell, anchor by anchor."""
    last = np.moveaxis(tensor, channel_axis, -1)[0]
    if last.ndim == 4:  # (anchors, h, w, channels)
        last = np.moveaxis(last, 0, -2)
    return last.reshape(-1, per_anchor or last.shape[-1])


def _boxes(head: Head, raw: np.ndarray, level: int, size: tuple[int, int]) -> np.ndarray:
    """Raw box channels float64 (cells * anchors, B) to float64 (cells * anchors, 4) corners."""
    if head.box == "xyxy":
        return raw
    if head.box == "cxcywh":
        return _corners(raw[:, :2], raw[:, 2:])
    stride = head.strides[level]
    columns, rows = size[0] // stride, size[1] // stride
    cell = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2).astype(np.float64)
    if head.box == "ltrb":
        sides = raw.reshape(len(raw), 4, head.reg_max)
        if head.reg_max > 1:
            weights = np.exp(sides - sides.max(-1, keepdims=True))
            sides = weights @ np.arange(head.reg_max) / weights.sum(-1)
        sides = sides.reshape(-1, 4)
        return np.concatenate([cell + 0.5 - sides[:, :2], cell + 0.5 + sides[:, 2:]], 1) * stride
    if head.box == "exp":
        return _corners((raw[:, :2] + cell) * stride, np.exp(raw[:, 2:]) * stride)
    if head.box == "anchor":
        anchors = np.asarray(head.anchors[level], np.float64)
        unit = _sigmoid(raw)
        centre = (2 * unit[:, :2] - 0.5 + np.repeat(cell, len(anchors), 0)) * stride
        return _corners(centre, (2 * unit[:, 2:]) ** 2 * np.tile(anchors, (len(cell), 1)))
    raise QuantizeError(f"head: unknown box form '{head.box}'; known: ltrb, anchor, exp, cxcywh, xyxy")


def _corners(centre: np.ndarray, side: np.ndarray) -> np.ndarray:
    return np.concatenate([centre - side / 2, centre + side / 2], 1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x.astype(np.float64)))  # never overflows


def suppress(found: Candidates, iou_threshold: float, limit: int, box_voting: bool = False) -> Candidates:
    """Greedy class-aware NMS over sorted candidates: drops what overlaps a better kept one by IoU > iou_threshold.
    With box_voting a kept box becomes the mean of its own and of the boxes that it drops with an IoU above LEAST_VOTE,
    by score * IoU."""
    kept: list[int] = []
    boxes = found.boxes.copy()
    for class_id in np.unique(found.class_ids):
        left = np.nonzero(found.class_ids == class_id)[0]
        for _ in range(limit):
            if not len(left):
                break
            kept.append(int(left[0]))
            overlap = box_iou(found.boxes[left[:1]], found.boxes[left])[0]
            overlap[0] = 1  # itself, of whatever area
            same = overlap > iou_threshold
            voting = same & (overlap > LEAST_VOTE)
            if box_voting and voting.sum() > 1:
                weights = found.scores[left[voting]].astype(np.float64) * overlap[voting]
                boxes[left[0]] = weights @ found.boxes[left[voting]] / weights.sum()
            left = left[1:][~same[1:]]
    return replace(found, boxes=boxes).take(np.array(sorted(kept), np.int64)[:limit])


def keep(head: Head, found: Candidates, iou_threshold: float, limit: int) -> Candidates:
    """Of sorted candidates the results, as the head wants them."""
    return suppress(found, iou_threshold, limit, head.box_voting) if head.nms else found.take(np.s_[:limit])


def scale_boxes(boxes: np.ndarray, scale: tuple[float, float], limit: tuple[float, float]) -> np.ndarray:
    """Boxes (n, 4) inside a picture of (width, height) `limit` with their sides times `scale`, about their centres; a
    side that lies on the picture's edge stays, as the object may go on behind it. float32."""
    scaled = boxes.astype(np.float64)
    for low, (factor, length) in enumerate(zip(scale, limit, strict=True)):
        high = low + 2
        move = (scaled[:, high] - scaled[:, low]) * (factor - 1) / 2
        begin = np.where(scaled[:, low] > 0, np.maximum(scaled[:, low] - move, 0), scaled[:, low])
        end = np.where(scaled[:, high] < length, np.minimum(scaled[:, high] + move, length), scaled[:, high])
        scaled[:, low], scaled[:, high] = begin, end
    return scaled.astype(np.float32)


@dataclass(frozen=True)
class _Plan:
    """What differs between a float ONNX and a package's artefact."""

    model: Path
    input: str
    size: tuple[int, int]  # (width, height)
    head: Head
    class_names: tuple[str, ...] | None
    tensors: tuple[str | None, ...]  # outputs to fetch, in the order of head.outputs
    scales: tuple[tuple[float, int] | None, ...]  # (scale, zero point) of each, None: real values
    float_type: type | None = None  # NCHW, 0 to 1; None: uint8 NHWC
    color: str = "RGB"
    letterbox: dict[str, Any] = field(default_factory=lambda: {"pad": 114, "align": "center", "upscale": True})


class Session(Protocol):
    """The part of ONNX Runtime's session that is used; names are those of the graph."""

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]: ...


class ReferenceDetector:
    """Runs a `.onnx` or a `.yoloq` folder by ONNX Runtime on the CPU; used like `yoloq.Detector`.

    threads: of ONNX Runtime; 0: its own choice. Not for use from several threads at once. exact: pairs are computed in
    float32, as ONNX defines them; off for times: as ONNX Runtime comes, whose integers saturate on CPUs without VNNI.
    box_voting: where the head has NMS; None: as a package says, and none for a `.onnx`. box_scale: factors of a box's
    width and height; None: as a package says, and (1, 1) for a `.onnx`.
    session: runs instead of ONNX Runtime what another toolkit made of the `.onnx`, or a package's artefact; inputs and
    outputs are named alike. It is closed with the detector, if it can be.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        score_threshold: float = 0.001,
        iou_threshold: float = 0.7,
        max_detections: int = 300,
        threads: int = 0,
        exact: bool = True,
        box_voting: bool | None = None,
        box_scale: tuple[float, float] | None = None,
        session: Session | None = None,
    ) -> None:
        path = Path(path)
        if path.is_dir():
            self._plan = _package_plan(path)
            self._session = session or _open_session(_onnx_artefact(path, self._plan), threads, exact)
        else:
            own = _open_session(path, threads, exact)
            self._plan = _onnx_plan(path, own)
            self._session = session or own
        rules = {"box_voting": box_voting, "box_scale": box_scale}
        rules = {name: rule for name, rule in rules.items() if rule is not None}
        self._plan = replace(self._plan, head=replace(self._plan.head, **rules))
        self._score, self._iou, self._limit = score_threshold, iou_threshold, max_detections
        self.engine_ms = 0.0  # of the last detect(), without letterbox and decoder
        self.class_names = self._plan.class_names

    @property
    def needs_nms(self) -> bool:
        return self._plan.head.nms

    def detect(self, image: np.ndarray) -> Detections:
        """image: uint8 (h, w, 3) BGR. Boxes in its pixels, best score first."""
        plan, picture = self._plan, (image.shape[1], image.shape[0])
        box = Letterbox.fit(picture, plan.size, plan.letterbox["align"], plan.letterbox["upscale"])
        boxed = box.apply(image, plan.size, plan.letterbox["pad"])
        tensor = self._tensor(boxed)
        start = time.perf_counter()
        raw = self._session.run([t for t in plan.tensors if t], {self._plan.input: tensor})
        self.engine_ms = (time.perf_counter() - start) * 1e3
        real = [
            tensor if scale is None else (tensor.astype(np.float32) - scale[1]) * np.float32(scale[0])
            for tensor, scale in zip(raw, plan.scales, strict=True)
        ]
        found = decode(plan.head, real, self._class_count(real[0]), plan.size, self._score)
        found = keep(plan.head, found, self._iou, self._limit)
        boxes = scale_boxes(box.undo(found.boxes, picture), plan.head.box_scale, picture)
        return Detections(boxes, found.scores, found.class_ids)

    def _tensor(self, boxed: np.ndarray) -> np.ndarray:
        if self._plan.color == "RGB":
            boxed = cv2.cvtColor(boxed, cv2.COLOR_BGR2RGB)
        if self._plan.float_type is None:
            return boxed[None]
        planes = np.ascontiguousarray(boxed.transpose(2, 0, 1)[None])
        return (planes.astype(np.float32) / np.float32(255)).astype(self._plan.float_type, copy=False)

    def _class_count(self, tensor: np.ndarray) -> int:
        return len(self.class_names) if self.class_names else tensor.shape[1] - 4  # dense is [1, 4 + C, cells]

    def close(self) -> None:
        close, self._session = getattr(self._session, "close", None), None
        if close is not None:
            close()

    def __enter__(self) -> ReferenceDetector:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _open_session(model: Path, threads: int, exact: bool = True) -> ort.InferenceSession:
    if not model.is_file():
        raise QuantizeError(f"{model}: no such file; give a .yoloq package or a .onnx model")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would steal others' time
    if exact:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise QuantizeError(f"{model}: ONNX Runtime cannot load it: {reason}") from error


def _onnx_plan(path: Path, session: ort.InferenceSession) -> _Plan:
    """How to run a float ONNX as exported."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    shape = inputs[0].shape
    if len(inputs) != 1 or inputs[0].type not in types or len(shape) != 4 or shape[1] != 3:
        raise QuantizeError(f"{path}: expected one float input [1, 3, h, w], found {inputs[0].type} {shape}")
    metadata = session.get_modelmeta().custom_metadata_map
    size = (shape[3], shape[2])
    if not all(isinstance(side, int) for side in size):
        sides = _literal(metadata.get("imgsz"))
        if not isinstance(sides, list) or len(sides) != 2:
            raise QuantizeError(f"{path}: the input size is left open; export it with a fixed size")
        size = (sides[1], sides[0])
    names = _literal(metadata.get("names"))
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    class_names = tuple(str(name) for name in names) if isinstance(names, list) else None
    head = _exported_head(path, outputs, len(class_names) if class_names else None)
    return _Plan(path, inputs[0].name, size, head, class_names, (outputs[0].name,), (None,), types[inputs[0].type])


def _exported_head(path: Path, outputs: Sequence[Any], class_count: int | None) -> Head:
    shape = outputs[0].shape
    if len(outputs) == 1 and len(shape) == 3:
        if shape[2] == 6:
            return Head("xyxy", "probability", False, (("end2end", 0),), (-1,))
        channels = isinstance(shape[1], int) and shape[1] > 4
        if channels and (class_count is None or shape[1] == 4 + class_count):
            return Head("cxcywh", "probability", True, (("combined", 0),), (1,))
    found = ", ".join(str(output.shape) for output in outputs)
    classes = "" if class_count is None else f" ({class_count} classes)"
    raise QuantizeError(f"{path}: outputs {found}{classes}; expected one of [1, rows, 6] or [1, 4 + classes, cells]")


def _literal(text: str | None) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return None


def _package_plan(package: Path) -> _Plan:
    """How to run a package's artefact, from its manifest. Digests are the library's business."""
    try:
        manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
        head, inputs = manifest["head"], manifest["input"]
        outputs = {output["name"]: output for output in manifest["outputs"]}
        picked = [outputs[output["tensor"]] for output in head["outputs"]]
        plan = _Plan(
            model=package / manifest["artifacts"][0]["file"],
            input=inputs["name"],
            size=(inputs["width"], inputs["height"]),
            head=Head(
                box=head["box"],
                score=head["score"],
                nms=head["nms"],
                outputs=tuple((output["role"], output.get("level", 0)) for output in head["outputs"]),
                channel_axes=tuple(output["channel_axis"] for output in picked),
                reg_max=head.get("reg_max") or 1,
                objectness=head.get("objectness", False),
                strides=tuple(head.get("strides") or ()),
                anchors=tuple(head.get("anchors") or ()),
                box_voting=head.get("box_voting", False),
                box_scale=tuple(head.get("box_scale") or (1.0, 1.0)),
            ),
            class_names=tuple(manifest["classes"]),
            tensors=tuple(output["name"] for output in picked),
            scales=tuple(
                (output["scale"], output.get("zero_point") or 0) if output.get("scale") else None for output in picked
            ),
            color=inputs["color"],
            letterbox=inputs["letterbox"],
        )
    except FileNotFoundError:
        raise QuantizeError(f"{package}: no manifest.json in it; give a .yoloq package") from None
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise QuantizeError(f"{package}: manifest.json does not follow docs/package-format.md: {error!r}") from None
    return plan


def package_head(package: Path) -> Head:
    """The head that a package's manifest describes."""
    return _package_plan(package).head


def _onnx_artefact(package: Path, plan: _Plan) -> Path:
    if plan.model.suffix != ".onnx":
        raise QuantizeError(f"{package}: {plan.model.name} is not ONNX; only packages for cpu run on the reference")
    return plan.model
