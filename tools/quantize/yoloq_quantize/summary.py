# SPDX-License-Identifier: Apache-2.0
"""What a package says about itself: the share of the work in INT8, the source, the result of a quantisation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from yoloq_quantize.model import SourceModel
from yoloq_quantize.scheme import ActivationScheme, WeightScheme


@dataclass(frozen=True)
class StepDone:
    """One step of a recipe: what it says of itself, and its seconds, which no package holds."""

    step: str
    detail: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class QuantizeResult:
    """What was written. `int8_macs`: share of the convolutions' multiply-adds in INT8, 0 to 1. `accuracy`: as in the
    manifest, empty if nothing was measured. `warnings`: about pictures and compiling. `kit`: `package` is a build
    kit, for want of the compiler."""

    package: str
    target: str
    precision: str
    recipe: str
    family: str
    classes: tuple[str, ...]
    width: int
    height: int
    pictures: int
    convolutions: int
    int8_convolutions: int
    int8_macs: float
    bytes: int
    accuracy: dict[str, Any]
    steps: tuple[StepDone, ...]
    warnings: tuple[str, ...]
    kit: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def multiply_adds(model: ir.Model) -> dict[str, int]:
    """Multiply-adds of each convolution, by node name: outputs times the weights of one."""
    macs = {}
    for node in model.graph:
        if node.op_type == "Conv":
            outputs = int(np.prod([int(side) for side in node.outputs[0].shape]))
            macs[node.name] = outputs * int(np.prod([int(side) for side in node.inputs[1].shape[1:]]))
    return macs


def int8_shares(model: ir.Model, weighted: tuple[str, ...]) -> dict[str, Any]:
    """How many convolutions, and which share of their multiply-adds, are in INT8."""
    macs = multiply_adds(model)
    return {
        "convolutions": len(macs),
        "int8_convolutions": sum(name in macs for name in weighted),
        "int8_macs": round(sum(macs.get(name, 0) for name in weighted) / max(1, sum(macs.values())), 6),
    }


def source_of(source: SourceModel) -> dict[str, str]:
    """What licences ask to keep: whose model this was, and under which terms."""
    kept = {"sha256": source.sha256}
    for key in ("author", "license"):
        if source.metadata.get(key):
            kept[key] = source.metadata[key]
    return kept


def describe_activations(scheme: ActivationScheme, per_channel: bool) -> str:
    form = "symmetric" if scheme.symmetric else "asymmetric"
    return f"{scheme.dtype} per {'channel' if per_channel else 'tensor'}, {form}, {scheme.method}"


def describe_weights(scheme: WeightScheme) -> str:
    return f"{scheme.dtype} per {'channel' if scheme.per_channel else 'tensor'}, symmetric, {scheme.method}"
