# SPDX-License-Identifier: Apache-2.0
"""A small real package for the cpu backend, made without the product's toolchain: noise for weights, a head of three
levels, uint8 NHWC in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from conftest import dummy_manifest, write_package

CLASSES = ["bolt", "nut", "washer"]


class Graph:
    """Nodes and weights as they grow."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def conv(self, source: str, name: str, inputs: int, outputs: int, stride: int, bias: float = 0.0) -> str:
        """A 3x3 convolution with He-scaled noise for weights; returns its output's name."""
        weight = self.rng.normal(0, np.sqrt(2 / (9 * inputs)), (outputs, inputs, 3, 3)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(weight, f"{name}_w"))
        self.weights.append(numpy_helper.from_array(np.full(outputs, bias, np.float32), f"{name}_b"))
        pads, strides = [1, 1, 1, 1], [stride, stride]
        inputs_of = [source, f"{name}_w", f"{name}_b"]
        self.nodes.append(helper.make_node("Conv", inputs_of, [name], pads=pads, strides=strides))
        return name

    def relu(self, source: str) -> str:
        self.nodes.append(helper.make_node("Relu", [source], [f"{source}_relu"]))
        return f"{source}_relu"


def tiny_onnx(size: int, width: int) -> bytes:
    """uint8 [1, size, size, 3] -> box_i [1, 4, h, w], score_i [1, 3, h, w] for strides 8, 16, 32; float32 logits."""
    graph = Graph()
    graph.weights.append(numpy_helper.from_array(np.float32(1 / 255), "scale"))
    graph.weights.append(numpy_helper.from_array(np.uint8(0), "zero"))
    graph.nodes.append(helper.make_node("Transpose", ["images_u8"], ["nchw"], perm=[0, 3, 1, 2]))
    graph.nodes.append(helper.make_node("DequantizeLinear", ["nchw", "scale", "zero"], ["real"]))
    source, channels, outputs = "real", 3, []
    for step in range(5):
        source = graph.relu(graph.conv(source, f"body_{step}", channels, width, 2))
        channels = width
        if step < 2:
            continue
        for role, count, bias in (("box", 4, 2.0), ("score", len(CLASSES), 0.0)):
            name = graph.conv(source, f"{role}_{step - 2}", channels, count, 1, bias)
            shape = [1, count, size >> (step + 1), size >> (step + 1)]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    pixels = helper.make_tensor_value_info("images_u8", TensorProto.UINT8, [1, size, size, 3])
    made = helper.make_graph(graph.nodes, "tiny", [pixels], outputs, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_tiny_package(folder: Path, size: int = 160, width: int = 16) -> Path:
    """Writes the package; `size` in pixels, a multiple of 32."""
    manifest = dummy_manifest("tiny", CLASSES, size, {}, nms=True)
    manifest["artifacts"] = [{"file": "model.onnx", "batch": 1}]
    return write_package(folder, manifest, {"model.onnx": tiny_onnx(size, width)})
