# SPDX-License-Identifier: Apache-2.0
"""Runs a deploy graph as Ascend's documents and operator sources say: integers where AscendQuant begins them, until
AscendDequant ends them. Written from those alone; it shares no code with the toolchain and undoes nothing of it.

    AscendQuant    q = clamp(round(x * scale) + offset, -128, 127), ties to even
    layer          acc = sum of q * w + bias, int32; a pixel outside the picture is `offset`, the int8 of real 0; the
                   graph compiler adds -offset * sum of w to the bias
    AscendDequant  y = acc * scale, the low 32 bits of the packed uint64 as a float32, one for all or one per channel

`half`: every float tensor is FP16 as on the chip; AscendQuant then also multiplies, adds and rounds in FP16, as the
operator's source does. `scale_bits` 19: the dequantisation scale as 310B's and 910B's output stage holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ascend.floats import Floats, halved
from ascend.windows import correlate, spread

ROUNDINGS = {b"Round": np.rint, b"Floor": np.floor, b"Ceil": np.ceil, b"Trunc": np.trunc}
INTEGER_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Mode:
    """How floats are held: `half` FP16, or float32. scale_bits: 32 or 19."""

    half: bool = False
    scale_bits: int = 32


@dataclass(frozen=True)
class Stored:
    """Integers that AscendQuant made, and the one of them that stands for 0."""

    integers: np.ndarray
    offset: int


class Unsupported(Exception):
    """What no Ascend compiler would take, in one line."""


class Interpreter:
    """A deploy graph ready to run. keep_float32: names of nodes whose results stay float32 in mode half."""

    def __init__(self, model: bytes, mode: Mode | None = None, keep_float32: Sequence[str] = ()) -> None:
        proto, self.model = onnx.load_from_string(model), model
        self.graph, self.mode, self.keep = proto.graph, mode or Mode(), frozenset(keep_float32)
        self.opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.attributes = [_attributes(node) for node in self.graph.node]
        self.floats = Floats(self.opset)
        self.last = {name: index for index, node in enumerate(self.graph.node) for name in node.input}
        if self.mode.half:
            self.constants = {name: self._held(array, name) for name, array in self.constants.items()}

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        also: Sequence[str] = (),
        forced: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Values of the graph's outputs, and of `also`, by name; integers come as int8 or int32. forced: what the
        readers of a value are given in its place, so that each layer is seen by itself."""
        values: dict[str, object] = {name: self._held(array, "") for name, array in inputs.items()}
        wanted = [output.name for output in self.graph.output]
        result, kept, forced = {}, {*wanted, *also}, forced or {}
        for index, node in enumerate(self.graph.node):
            given = [values[name] if name in values else self.constants.get(name) for name in node.input]
            made = self._node(node, self.attributes[index], given)
            for name, value in zip(node.output, made, strict=True):
                values[name] = forced.get(name, value)
                if name in kept:
                    result[name] = _plain(value)
            for name in node.input:
                if self.last[name] == index:
                    values.pop(name, None)
        return result

    def _node(self, node: onnx.NodeProto, attributes: dict[str, object], given: list) -> list:
        if node.op_type == "AscendQuant":
            return [self._quantise(given[0], attributes)]
        if node.op_type == "AscendDequant":
            return [self._held(self._dequantise(given, attributes), node.name)]
        if node.op_type in INTEGER_LAYERS and isinstance(given[0], Stored):
            return [_integer_layer(node, attributes, given)]
        if any(isinstance(value, Stored) or _is_int8(value) for value in given):
            raise Unsupported(f"{node.op_type} {node.name} is given integers")
        return [self._held(array, node.name) for array in self.floats.run(node, attributes, given)]

    def _held(self, array: np.ndarray, name: str) -> np.ndarray:
        """As the chip holds it: FP16 numbers, in float32 arrays, which are faster here."""
        if not self.mode.half or array.dtype != np.float32 or (name and name in self.keep):
            return array
        return halved(array)

    def _quantise(self, x: np.ndarray, attributes: dict[str, object]) -> Stored:
        scale, offset = attributes["scale"], attributes["offset"]
        rounding = ROUNDINGS.get(attributes.get("round_mode", b"Round"))
        if attributes.get("sqrt_mode", 0) or rounding is None:
            raise Unsupported("AscendQuant: sqrt_mode or round_mode is none that is known here")
        if not -128 <= offset <= 127 or offset != int(offset):
            raise Unsupported(f"AscendQuant: offset {offset} is no int8")
        if self.mode.half:
            q = rounding(halved(halved(halved(x) * np.float32(np.float16(scale))) + np.float32(offset)))
        else:
            q = rounding(x * np.float32(scale)) + np.float32(offset)
        return Stored(np.clip(q, -128, 127).astype(np.int8), int(offset))

    def _dequantise(self, given: list, attributes: dict[str, object]) -> np.ndarray:
        acc, packed = given
        if acc.dtype != np.int32 or packed.dtype != np.uint64:
            raise Unsupported(f"AscendDequant is given {acc.dtype} and {packed.dtype}, not int32 and uint64")
        if (packed >> np.uint64(32)).any():
            raise Unsupported("AscendDequant: offset_w or shift is not 0")
        bits = packed.astype(np.uint32)
        bits = bits & np.uint32(0xFFFFE000) if self.mode.scale_bits == 19 else bits
        scale = bits.view(np.float32)
        if scale.size > 1:
            if scale.size != acc.shape[1]:
                raise Unsupported(f"AscendDequant: {scale.size} scales for {acc.shape[1]} channels")
            scale = scale.reshape(-1, *[1] * (acc.ndim - 2))
        y = acc.astype(np.float32) * scale
        return np.maximum(y, 0) if attributes.get("relu_flag", 0) else y


def _integer_layer(node: onnx.NodeProto, attributes: dict[str, object], given: list) -> np.ndarray:
    stored, weight = given[0], given[1]
    bias = given[2] if len(given) > 2 and given[2] is not None else None
    if weight.dtype != np.int8 or (bias is not None and bias.dtype != np.int32):
        raise Unsupported(f"{node.op_type} {node.name}: weights or bias are not integers")
    q, offset, w = stored.integers.astype(np.float32), stored.offset, weight.astype(np.float32)
    if node.op_type == "Conv":
        acc = correlate(q, w, attributes, outside=offset)
        share = weight.astype(np.int64).sum(axis=(1, 2, 3)).reshape(-1, 1, 1)
    elif node.op_type == "ConvTranspose":
        # At the rim fewer weights meet in a pixel, so that the share is what a picture of ones gives.
        acc = spread(q, w, attributes)
        share = spread(np.ones_like(q[:1]), w, attributes)[0].astype(np.int64)
    else:
        if attributes.get("transA", 0) or attributes.get("transB", 0):
            raise Unsupported(f"{node.op_type} {node.name}: integers cannot be transposed")
        acc = q.astype(np.float64) @ w.astype(np.float64)
        share = weight.astype(np.int64).sum(axis=0)
    total = np.rint(acc).astype(np.int64) - offset * share
    if bias is not None:
        total += bias.astype(np.int64).reshape(-1, *[1] * (acc.ndim - 2))
    if np.abs(total).max() > np.iinfo(np.int32).max:
        raise Unsupported(f"{node.op_type} {node.name}: an accumulator leaves 32 bits")
    return total.astype(np.int32)


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _is_int8(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.int8


def _plain(value: object) -> np.ndarray:
    return value.integers if isinstance(value, Stored) else value
