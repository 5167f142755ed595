# SPDX-License-Identifier: Apache-2.0
"""Step `load`: an ONNX file becomes a checked model in memory, or a clear refusal."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import inliner, shape_inference, version_converter

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.widen_floats import WidenFloats

OPSET_MIN, OPSET_MAX = 11, 20  # of the models that come in
OPSET_QDQ = 13  # per-channel DequantizeLinear begins here
MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")


@dataclass(frozen=True)
class SourceModel:
    """A float model with one picture input [n, 3, h, w].

    `size` is (height, width) in pixels, None where the graph leaves it open and no metadata tells.
    """

    model: ir.Model
    name: str
    sha256: str
    metadata: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None


def load_model(path: str | Path) -> SourceModel:
    """Reads an ONNX file of opset 11 to 20, external data included.

    Local functions are inlined, float16 and bfloat16 become float32 (a float16 input too), an opset below 13 is raised
    to 13. QuantizeError where the file is damaged or a weight is NaN or infinite.
    """
    path = Path(path)
    if not path.is_file():
        raise QuantizeError(f"{path}: no such file")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise QuantizeError(f"{path}: not an ONNX model (protobuf cannot read it)") from error
    if not proto.graph.node or not proto.opset_import:
        raise QuantizeError(f"{path}: not an ONNX model (it holds no graph)")
    external = _external_files(proto, path)
    if external:
        onnx.load_external_data_for_model(proto, str(path.parent))
    metadata = {item.key: item.value for item in proto.metadata_props}
    model = _checked(_to_qdq_opset(_plain(proto, path), path), path)
    model.metadata_props.update(metadata)
    _check_input(model, path)
    _check_weights(model, path)
    return SourceModel(
        model=model,
        name=path.stem,
        sha256=_digest([path, *external]),
        metadata=metadata,
        classes=_class_names(metadata),
        size=_input_size(model, metadata),
    )


def _plain(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model without local functions and half-precision floats, outputs with their shapes."""
    try:
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
        widened = WidenFloats()(ir.from_proto(proto))
        proto = ir.to_proto(widened.model) if widened.modified else proto
        if not all(value.type.tensor_type.HasField("shape") for value in proto.graph.output):
            proto = shape_inference.infer_shapes(proto)  # ONNX asks for them, not every exporter writes them
        return proto
    except Exception as error:
        raise QuantizeError(f"{path}: damaged ONNX model: {_first_line(error)}") from error


def _checked(proto: onnx.ModelProto, path: Path) -> ir.Model:
    try:
        onnx.checker.check_model(proto)
        return ir.from_proto(proto)
    except Exception as error:
        raise QuantizeError(f"{path}: damaged ONNX model: {_first_line(error)}") from error


def _external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """Files of external tensor data, sorted; refuses one that is missing or outside the model's folder."""
    names = set()
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            names |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    files = []
    for name in sorted(names):
        file = path.parent / name
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise QuantizeError(f"{path}: external data {name!r} lies outside the model's folder")
        if not file.is_file():
            raise QuantizeError(f"{path}: external data {name!r} is missing; put it beside the model")
        files.append(file)
    return files


def _to_qdq_opset(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OPSET_MIN <= opset <= OPSET_MAX:
        raise QuantizeError(f"{path}: opset {opset}; export the model with an opset from {OPSET_MIN} to {OPSET_MAX}")
    if opset >= OPSET_QDQ:
        return proto
    try:
        return version_converter.convert_version(proto, OPSET_QDQ)
    except Exception as error:
        raise QuantizeError(
            f"{path}: opset {opset} cannot be raised to {OPSET_QDQ} ({_first_line(error)}); export with opset 17"
        ) from error


def _check_input(model: ir.Model, path: Path) -> None:
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(inputs) != 1:
        raise QuantizeError(f"{path}: {len(inputs)} inputs; a detector has one picture input")
    value = inputs[0]
    if value.dtype != ir.DataType.FLOAT:
        raise QuantizeError(f"{path}: input {value.name!r} is {value.dtype}; export the model in float32")
    if value.shape is None or len(value.shape) != 4 or value.shape[1] != 3:
        raise QuantizeError(f"{path}: input {value.name!r} has shape {value.shape}; expected [n, 3, height, width]")


def _check_weights(model: ir.Model, path: Path) -> None:
    """Refuses what no pass could repair: NaN anywhere, infinite weights of an operator that multiplies."""
    for value in model.graph.initializers.values():
        if value.const_value is None or value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            continue
        array = value.const_value.numpy()
        if np.isfinite(array).all():
            continue
        multiplied = any(use.node.op_type in MULTIPLYING for use in value.uses())
        if np.isnan(array).any() or multiplied:
            raise QuantizeError(f"{path}: weight {value.name!r} holds NaN or infinite numbers; train or export it anew")


def _input_size(model: ir.Model, metadata: dict[str, str]) -> tuple[int, int] | None:
    shape = model.graph.inputs[0].shape
    if isinstance(shape[2], int) and isinstance(shape[3], int):
        return shape[2], shape[3]
    size = _literal(metadata.get("imgsz"))
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        return size[0], size[1]
    return None


def _class_names(metadata: dict[str, str]) -> tuple[str, ...] | None:
    """The `names` entry that exporters write: a dict id -> name, or a list."""
    names = _literal(metadata.get("names"))
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if isinstance(names, list) and names:
        return tuple(str(name) for name in names)
    return None


def _literal(text: str | None) -> object:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
