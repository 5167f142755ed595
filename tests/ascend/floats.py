# SPDX-License-Identifier: Apache-2.0
"""The operators between layers of integers, in float32: NumPy for those that take time, ONNX's own reference for the
others."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from ascend.windows import correlate, largest


def halved(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest FP16 number, ties to even, as float32: what NumPy's own types give, in half the
    time. As float32 has twice FP16's digits and two more, a sum or product rounded by this is FP16's own."""
    bits = x.view(np.uint32)
    even = (bits >> np.uint32(13)) & np.uint32(1)
    result = ((bits + np.uint32(0xFFF) + even) & np.uint32(0xFFFFE000)).view(np.float32)
    size = np.abs(x)
    small, large = size < 2.0**-14, ~(size < 65520)
    if small.any():
        result[small] = np.rint(x[small] * np.float32(2**24)) * np.float32(2.0**-24)
    if large.any():
        result[large] = np.where(np.isnan(x[large]), np.float32(np.nan), np.copysign(np.float32(np.inf), x[large]))
    return result


class Floats:
    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.evaluators: dict[str, ReferenceEvaluator] = {}

    def run(self, node: onnx.NodeProto, attributes: dict[str, object], given: list) -> list[np.ndarray]:
        quick = QUICK.get(node.op_type)
        if quick is not None:
            result = quick(given, attributes)
            if result is not None:
                return [np.asarray(result, given[0].dtype)]
        return self._reference(node, given)

    def _reference(self, node: onnx.NodeProto, given: list) -> list[np.ndarray]:
        key = f"{node.name}/{node.output[0]}"
        if key not in self.evaluators:
            graph = helper.make_graph(
                [node], "one",
                [helper.make_value_info(name, onnx.TypeProto()) for name in dict.fromkeys(node.input) if name],
                [helper.make_value_info(name, onnx.TypeProto()) for name in node.output],
            )  # fmt: skip
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
            self.evaluators[key] = ReferenceEvaluator(model)
        feeds = {name: array for name, array in zip(node.input, given, strict=True) if name}
        return [np.asarray(array) for array in self.evaluators[key].run(None, feeds)]


def _sigmoid(given: list, _: dict) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-given[0]))


def _conv(given: list, attributes: dict) -> np.ndarray:
    result = correlate(given[0], given[1], attributes).astype(np.float32)
    return result if len(given) < 3 or given[2] is None else result + given[2].reshape(-1, 1, 1)


def _max_pool(given: list, attributes: dict) -> np.ndarray | None:
    return None if set(attributes.get("dilations", (1, 1))) - {1} else largest(given[0], attributes)


def _resize(given: list, attributes: dict) -> np.ndarray | None:
    """Nearest by whole factors, which is what YOLO's necks do; anything else goes to the reference."""
    if attributes.get("mode", b"nearest") != b"nearest" or given[0].ndim != 4:
        return None
    if attributes.get("coordinate_transformation_mode", b"half_pixel") != b"asymmetric":
        return None
    if attributes.get("nearest_mode", b"round_prefer_floor") != b"floor":
        return None
    x = given[0]
    sized = len(given) > 3 and given[3] is not None and given[3].size
    factors = given[3] / np.array(x.shape) if sized else given[2]
    if factors[0] != 1 or factors[1] != 1 or (factors != np.rint(factors)).any():
        return None
    return x.repeat(int(factors[2]), axis=2).repeat(int(factors[3]), axis=3)


QUICK = {
    "Add": lambda given, _: given[0] + given[1],
    "Concat": lambda given, attributes: np.concatenate(given, axis=attributes["axis"]),
    "Conv": _conv,
    "MatMul": lambda given, _: given[0] @ given[1],
    "MaxPool": _max_pool,
    "Mul": lambda given, _: given[0] * given[1],
    "Relu": lambda given, _: np.maximum(given[0], 0),
    "Resize": _resize,
    "Sigmoid": _sigmoid,
    "Transpose": lambda given, attributes: given[0].transpose(attributes.get("perm")),
}
