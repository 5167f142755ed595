# SPDX-License-Identifier: Apache-2.0
"""The one place that knows the order of a quantisation: load, passes, head, cut, place, calibrate, params, package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from yoloq_quantize import __version__
from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.cut import cut_head
from yoloq_quantize.dataset import class_names, list_images, read_image
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, find_head, passthrough_head
from yoloq_quantize.model import SourceModel, load_model
from yoloq_quantize.package import InputSpec, PackageContent, check_free, write_package
from yoloq_quantize.params import find_params
from yoloq_quantize.passes import (
    FixShapes,
    FoldConstants,
    InsertQdq,
    RemoveIdentity,
    Strip,
    Uint8Input,
    UniqueNames,
    run_passes,
)
from yoloq_quantize.place import Placement, place
from yoloq_quantize.reference import Letterbox
from yoloq_quantize.scheme import Target, load_target

PRECISIONS = ("int8", "float32")
RECIPES = ("default",)
Progress = Callable[[Iterable, str], Iterable]


@dataclass(frozen=True)
class QuantizeResult:
    """What was written. `int8_macs`: share of the convolutions' multiply-adds in INT8, 0 to 1."""

    package: str
    target: str
    precision: str
    family: str
    classes: tuple[str, ...]
    width: int
    height: int
    pictures: int
    convolutions: int
    int8_convolutions: int
    int8_macs: float
    bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quantize(
    model: str | Path,
    calib: str | Path | None,
    out: str | Path,
    target: str = "cpu",
    *,
    precision: str = "int8",
    recipe: str = "default",
    data: str | Path | None = None,
    head: str = "auto",
    size: tuple[int, int] | None = None,
    color: str = "RGB",
    input_scale: float = 1 / 255,
    name: str | None = None,
    backend_options: dict[str, str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Turns a float ONNX detector into the package `out`.

    calib: folder of calibration pictures; None only with precision "float32" (same cut and input, no quantisation).
    data: data.yaml with class names, where the model's metadata has none. head: "auto", or how an already decoded
    output is to be read: "dense-cxcywh", "dense-xyxy", "end2end". size: (height, width) in pixels for a model that
    leaves it open. color, input_scale: what the model was trained on; a byte times the scale is the model's input.
    backend_options: for the backend, over the target's own. progress(items, what): wraps long iterations, for a bar.
    """
    out = Path(out)
    chip = load_target(target)
    pictures = _check_options(precision, recipe, color, input_scale, calib)
    check_free(out, force)
    source = load_model(model)
    _check_opset(source, chip)
    classes = class_names(data) if data is not None else source.classes
    found, graph = _float_graph(source, size, head, classes, input_scale)
    height, width = int(graph.graph.inputs[0].shape[1]), int(graph.graph.inputs[0].shape[2])
    placement, summary = None, {}
    if precision == "int8":
        placement = place(graph, chip.place, found)
        stream = _Stream(pictures, width, height, color)
        graph, summary = _quantized_graph(graph, placement, chip, stream, progress or (lambda items, _: items))
    summary = {"recipe": recipe, **summary, **_shares(graph, placement)}
    run_passes(graph, Strip("yoloq", __version__))
    content = PackageContent(
        name=name or source.name,
        precision=precision,
        classes=classes or tuple(f"class{index}" for index in range(found.classes)),
        input=InputSpec(graph.graph.inputs[0].name, width, height, color),
        head=found,
        target=chip,
        backend_options={**chip.backend_options.get(precision, {}), **(backend_options or {})},
        compiler=f"yoloq {__version__}",
        artifact=ir.to_proto(graph).SerializeToString(deterministic=True),
        summary=summary,
        source=_source(source),
    )
    write_package(out, content, force)
    return _result(out, content)


def _result(out: Path, content: PackageContent) -> QuantizeResult:
    return QuantizeResult(
        package=str(out),
        target=content.target.chip,
        precision=content.precision,
        family=content.head.family,
        classes=content.classes,
        width=content.input.width,
        height=content.input.height,
        pictures=content.summary.get("pictures", 0),
        convolutions=content.summary["convolutions"],
        int8_convolutions=content.summary["int8_convolutions"],
        int8_macs=content.summary["int8_macs"],
        bytes=len(content.artifact),
    )


def _check_options(precision: str, recipe: str, color: str, input_scale: float, calib: str | Path | None) -> list[Path]:
    """Refuses options that this version does not know; the calibration pictures' paths."""
    for what, value, known in (
        ("precision", precision, PRECISIONS),
        ("recipe", recipe, RECIPES),
        ("color", color, ("RGB", "BGR")),
    ):
        if value not in known:
            raise QuantizeError(f"{what} {value!r} is not known; expected {' or '.join(known)}")
    if not np.isfinite(input_scale) or input_scale <= 0:
        raise QuantizeError(f"input scale {input_scale} is not a positive number; use 1/255 or 1")
    if precision != "int8":
        return []
    if calib is None:
        raise QuantizeError("no calibration pictures; give a folder with --calib (precision float32 needs none)")
    return list_images(calib)


def _check_opset(source: SourceModel, chip: Target) -> None:
    opset = source.model.graph.opset_imports.get("", 0)
    if not chip.opset_min <= opset <= chip.opset_max:
        raise QuantizeError(
            f"opset {opset}; target {chip.chip} takes {chip.opset_min} to {chip.opset_max}: export the model anew"
        )


def _float_graph(
    source: SourceModel, size: tuple[int, int] | None, form: str, classes: tuple[str, ...] | None, input_scale: float
) -> tuple[Head, ir.Model]:
    """The head, and the float graph from uint8 pixels to the head's raw tensors."""
    size = size or source.size
    if size is None:
        raise QuantizeError("the model leaves its input size open and no metadata tells it; give it with --size")
    model = run_passes(source.model, UniqueNames(), FixShapes(*size), FoldConstants(), RemoveIdentity())
    count = None if classes is None else len(classes)
    found = find_head(model, count) if form == "auto" else passthrough_head(model, form, count)
    model = cut_head(model, found)
    return found, run_passes(model, Uint8Input(input_scale))


def _quantized_graph(
    model: ir.Model, placement: Placement, chip: Target, pictures: _Stream, progress: Progress
) -> tuple[ir.Model, dict[str, Any]]:
    scheme = chip.activations
    calibration = calibrate(model, placement.groups, pictures, scheme.bins, progress)
    params = find_params(model, placement, calibration, chip)
    model = run_passes(model, InsertQdq(placement, params, scheme.dtype))
    return model, {
        "activations": f"{scheme.dtype} per tensor, {'symmetric' if scheme.symmetric else 'asymmetric'},"
        f" {scheme.method}",
        "weights": f"{chip.weights.dtype} per {'channel' if chip.weights.per_channel else 'tensor'}, symmetric",
        "pictures": calibration.pictures,
    }


class _Stream:
    """Letterboxed calibration pictures, uint8 [1, height, width, 3]. Has a length, for progress bars."""

    def __init__(self, files: list[Path], width: int, height: int, color: str) -> None:
        self.files, self.size, self.color = files, (width, height), color

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        for file in self.files:
            picture = read_image(file)
            fitted = Letterbox.fit(picture.shape[1::-1], self.size).apply(picture, self.size)
            if self.color == "RGB":
                fitted = fitted[..., ::-1]
            yield np.ascontiguousarray(fitted[None])


def _macs(model: ir.Model) -> dict[str, int]:
    """Multiply-adds of each convolution, by node name: outputs times the weights of one."""
    macs = {}
    for node in model.graph:
        if node.op_type == "Conv":
            outputs = int(np.prod([int(side) for side in node.outputs[0].shape]))
            macs[node.name] = outputs * int(np.prod([int(side) for side in node.inputs[1].shape[1:]]))
    return macs


def _shares(model: ir.Model, placement: Placement | None) -> dict[str, Any]:
    macs = _macs(model)
    weighted = placement.weighted if placement else ()
    return {
        "convolutions": len(macs),
        "int8_convolutions": len(weighted),
        "int8_macs": round(sum(macs[name] for name in weighted) / max(1, sum(macs.values())), 6),
    }


def _source(source: SourceModel) -> dict[str, str]:
    """What licences ask to keep: whose model this was, and under which terms."""
    kept = {"sha256": source.sha256}
    for key in ("author", "license"):
        if source.metadata.get(key):
            kept[key] = source.metadata[key]
    return kept
