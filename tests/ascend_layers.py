# SPDX-License-Identifier: Apache-2.0
"""Layer by layer: a QDQ graph in ONNX Runtime against the deploy graph in the interpreter, on identical inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from ascend.interpreter import Interpreter, Stored

TIE = 1e-3  # of an integer step: how near to the middle between two integers a rounding tie is


@dataclass
class Differences:
    """Over all quantisations: integers compared, those that differ, the largest difference, those that differ and are
    no ties. Over all layers: the largest difference of a result, in steps of its accumulator (the bias is rounded to
    whole ones: half a step at most)."""

    integers: int = 0
    different: int = 0
    largest: int = 0
    no_ties: int = 0
    layers: int = 0
    steps: float = 0.0

    def holds(self) -> bool:
        return self.largest <= 1 and self.no_ties == 0 and self.steps <= 0.51

    def to_json(self) -> dict[str, float]:
        return {**self.__dict__, "steps": round(self.steps, 4)}


def plain_session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def with_outputs(qdq: bytes, names: list[str]) -> bytes:
    model = onnx.load_from_string(qdq)
    given = {output.name for output in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in given)
    return model.SerializeToString()


class Layers:
    """A QDQ graph and its deploy graph."""

    def __init__(self, qdq: bytes, deploy: bytes) -> None:
        graph = onnx.load_from_string(qdq).graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.pairs = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        self.deploy = onnx.load_from_string(deploy).graph
        self.scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.deploy.initializer}
        self.quants = [node for node in self.deploy.node if node.op_type == "AscendQuant"]
        self.dequants = [node for node in self.deploy.node if node.op_type == "AscendDequant"]
        stored = [self.pairs[node.input[0]].output[0] for node in self.quants if node.input[0] in self.pairs]
        names = [*self.pairs, *stored, *(node.output[0] for node in self.dequants)]
        self.names = list(dict.fromkeys(names))
        self.session = plain_session(with_outputs(qdq, self.names))
        self.interpreter = Interpreter(deploy)

    def compare(self, picture: np.ndarray, pixel: float, total: Differences) -> None:
        """picture: uint8 [1, h, w, 3]; pixel: what AIPP multiplies a byte by."""
        truth = dict(zip(self.names, self.session.run(self.names, {"images_u8": picture}), strict=True))
        integers = {node.output[0]: self._wanted(node, truth, picture) for node in self.quants}
        forced: dict = {name: truth[name] for name in self.pairs}
        for node in self.quants:  # a tie that went the other way is no mistake of the layer that reads it
            offset = next(int(each.f) for each in node.attribute if each.name == "offset")
            forced[node.output[0]] = Stored(integers[node.output[0]].astype(np.int8), offset)
        also = [node.output[0] for node in (*self.quants, *self.dequants)]
        real = picture.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(pixel)
        found = self.interpreter.run({"images_u8": real}, also, forced)
        for node in self.quants:
            self._quant(node, truth, found[node.output[0]].astype(np.int32), integers[node.output[0]], total)
        for node in self.dequants:
            step = self.scales[node.input[1]].astype(np.uint32).view(np.float32)
            step = step.reshape(-1, 1, 1) if step.size > 1 else step
            error = np.abs(found[node.output[0]] - truth[node.output[0]])
            noise = 1e-5 * np.abs(truth[node.output[0]]).max()  # of sums of floats in another order
            total.layers += 1
            total.steps = max(total.steps, float((np.maximum(error - noise, 0) / step).max()))

    def _wanted(self, node: onnx.NodeProto, truth: dict, picture: np.ndarray) -> np.ndarray:
        """The QDQ graph's integers, as int8 counts them."""
        if node.input[0] == "images_u8":
            return picture.transpose(0, 3, 1, 2).astype(np.int32) - 128
        pair = self.pairs[node.input[0]]
        zero = self.constants[pair.input[2]]
        return truth[pair.output[0]].astype(np.int32) + (-128 if zero.dtype == np.uint8 else 0)

    def _quant(
        self, node: onnx.NodeProto, truth: dict, integers: np.ndarray, wanted: np.ndarray, total: Differences
    ) -> None:
        ties = np.zeros(integers.shape, bool)
        if node.input[0] != "images_u8":
            scale = float(self.constants[self.pairs[node.input[0]].input[1]])
            fraction = np.abs(truth[node.input[0]].astype(np.float64) / scale) % 1
            ties = np.abs(fraction - 0.5) < TIE
        away = np.abs(integers - wanted)
        total.integers += integers.size
        total.different += int((away > 0).sum())
        total.largest = max(total.largest, int(away.max()))
        total.no_ties += int(((away > 0) & ~ties).sum())
