# SPDX-License-Identifier: Apache-2.0
"""Where a quantised graph leaves the float one: signal-to-quantisation-noise ratio of each convolution's output.

SQNR = 10 log10(sum x^2 / sum (x - x')^2) dB, over whole tensors and a few pictures; every layer sees the errors of all
before it, as it does in use. Layers are matched by the names of their values, which a quantisation keeps. A layer whose
output channels a recipe rescales (equalisation) has other numbers on purpose and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import openvino as ov

from yoloq_quantize.compare.candidates import read_manifest
from yoloq_quantize.dataset import Dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.recover.equalize import scaled_inputs
from yoloq_quantize.runner import Runner

PICTURES = 6
MAX_DB = 120.0  # an output that is equal to the bit
SAME_GAIN = 0.2  # relative; quantising a weight changes a channel's norm by less
BATCH = 40  # layers whose outputs are fetched at once: bounds memory


@dataclass(frozen=True)
class Layers:
    """`names` of the convolutions in graph order; by candidate, dB (None: not in its graph) and which are INT8."""

    names: tuple[str, ...]
    sqnr: dict[str, tuple[float | None, ...]]
    int8: dict[str, tuple[bool, ...]]
    pictures: int


def measure_layers(float_package: Path, packages: dict[str, Path], dataset: Dataset) -> Layers:
    """`packages`: INT8 packages of the same model, by key. All of them hold ONNX."""
    size = read_manifest(float_package)["input"]
    files = [sample.path for sample in dataset.samples]
    pictures = PictureStream(files, size["width"], size["height"], size["color"]).spread(PICTURES)
    graph = _load(float_package)
    convolutions = [node for node in graph.graph if node.op_type == "Conv"]
    names = [node.outputs[0].name for node in convolutions]
    sqnr, int8 = {}, {}
    for key, path in packages.items():
        other = _load(path)
        theirs = {node.outputs[0].name: node for node in other.graph if node.op_type == "Conv"}
        pairs = [(node, theirs.get(node.outputs[0].name)) for node in convolutions]
        shared = [one.outputs[0].name for one, two in pairs if two is not None and _same_scale(one, two)]
        measured = _sqnr(graph, other, shared, pictures)
        sqnr[key] = tuple(measured.get(name) for name in names)
        int8[key] = tuple(name in theirs and _is_int8(theirs[name]) for name in names)
    return Layers(tuple(node.name or node.outputs[0].name for node in convolutions), sqnr, int8, len(pictures))


def _load(package: Path) -> ir.Model:
    artefact = package / read_manifest(package)["artifacts"][0]["file"]
    if artefact.suffix != ".onnx":
        raise QuantizeError(f"{package}: {artefact.name} is not ONNX; only packages for cpu are compared by layer")
    return ir.load(artefact)


def _is_int8(node: ir.Node) -> bool:
    producer = node.inputs[1].producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _same_scale(one: ir.Node, two: ir.Node) -> bool:
    """Whether each output channel has about the same gain in both, by the norm of its weights."""
    gains = [np.sqrt(np.square(_weight(node)).sum(axis=(1, 2, 3))) for node in (one, two)]
    return bool((np.abs(gains[0] - gains[1]) <= SAME_GAIN * gains[0] + 1e-6).all())


def _weight(node: ir.Node) -> np.ndarray:
    """float64 [out, in, h, w], as it acts on unscaled inputs; from stored integers if need be."""
    value = node.inputs[1]
    if _is_int8(node):
        stored, scale = (source.const_value.numpy().astype(np.float64) for source in value.producer().inputs[:2])
        weight = stored * (scale.reshape(-1, 1, 1, 1) if scale.ndim else scale)
    else:
        weight = value.const_value.numpy().astype(np.float64)
    factors = _factors(node.inputs[0])
    return weight if factors is None else scaled_inputs(weight, factors)


def _factors(value: ir.Value) -> np.ndarray | None:
    """The vector [C] that the value's channels were multiplied by (recover/prescale.py); None if there is none."""
    node = value.producer()
    while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear", "MaxPool", "Resize"):
        node, value = node.inputs[0].producer(), node.inputs[0]
    if node is None or node.op_type not in ("Mul", "Concat", "Split"):
        return None
    if node.op_type == "Mul":
        constant = node.inputs[1].const_value
        return None if constant is None or constant.size < 2 else constant.numpy().reshape(-1).astype(np.float64)
    parts = [_factors(source) for source in (node.inputs if node.op_type == "Concat" else node.inputs[:1])]
    if any(part is None for part in parts):
        return None
    if node.op_type == "Concat":
        return np.concatenate(parts)
    sizes = [int(output.shape[1]) for output in node.outputs]
    return np.split(parts[0], np.cumsum(sizes)[:-1])[list(node.outputs).index(value)]


def _sqnr(one: ir.Model, other: ir.Model, names: Sequence[str], pictures: PictureStream) -> dict[str, float]:
    """dB by value name."""
    result = {}
    for start in range(0, len(names), BATCH):
        part = list(names[start : start + BATCH])
        runners = Runner(one, part, integers=False), Runner(other, part, integers=False)
        signal, noise = dict.fromkeys(part, 0.0), dict.fromkeys(part, 0.0)
        for picture in pictures:
            wanted, found = (runner.run(picture) for runner in runners)
            for name in part:
                if wanted[name].shape != found[name].shape:
                    raise QuantizeError(f"{name!r} has another shape; the packages are not of the same model")
                signal[name] += float(np.square(wanted[name], dtype=np.float64).sum())
                noise[name] += float(np.square(wanted[name] - found[name], dtype=np.float64).sum())
        for name in part:
            result[name] = decibels(signal[name], noise[name])
    return result


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), within +-MAX_DB; MAX_DB where there is no noise."""
    if noise == 0:
        return MAX_DB
    return max(-MAX_DB, min(MAX_DB, 10 * math.log10(signal / noise))) if signal else -MAX_DB


def int8_share(path: Path) -> float:
    """Share of the convolutions' multiply-adds that have INT8 weights, 0 to 1; of an .onnx or OpenVINO .xml model."""
    total = int8 = 0
    for node in ov.Core().read_model(path).get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weight = node.input_value(1)
        shape = list(weight.get_partial_shape().to_shape())
        grouped = node.get_type_name() == "GroupConvolution"
        positions = math.prod(node.output(0).get_partial_shape().get_max_shape())
        macs = positions * math.prod(shape[2:] if grouped else shape[1:])
        total += macs
        int8 += macs if _from_int8(weight.get_node()) else 0
    return int8 / total if total else 0.0


def _from_int8(node: ov.Node) -> bool:
    """Whether a weight is made of stored 8-bit integers, or goes through the fake quantisation that stands for them."""
    while node.get_input_size():
        if node.get_type_name() == "FakeQuantize":
            return True
        node = node.input_value(0).get_node()
    return str(node.get_element_type().get_type_name()) in ("i8", "u8")
