# SPDX-License-Identifier: Apache-2.0
"""A detector of toy size as the learned steps get it: a graph cut at a head of one level, pictures, and a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.dataset import list_images
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.params import find_params
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import place
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Subject

SIDE = 64  # pixels


class _Net:
    """Nodes and weights as they grow; weights are noise."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(5)

    def conv(self, source: str, name: str, channels: tuple[int, int], kernel: int, stride: int = 1) -> str:
        spread = np.sqrt(2 / (channels[0] * kernel**2))
        weight = self.rng.normal(0, spread, (channels[1], channels[0], kernel, kernel)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(weight, f"{name}.w"))
        self.weights.append(
            numpy_helper.from_array(self.rng.normal(0, 0.3, channels[1]).astype(np.float32), f"{name}.b")
        )
        pads, strides = [kernel // 2] * 4, [stride] * 2
        inputs = [source, f"{name}.w", f"{name}.b"]
        self.nodes.append(helper.make_node("Conv", inputs, [name], name=name, pads=pads, strides=strides))
        return name

    def silu(self, source: str) -> str:
        self.nodes.append(helper.make_node("Sigmoid", [source], [f"{source}.s"], name=f"{source}/Sigmoid"))
        self.nodes.append(helper.make_node("Mul", [source, f"{source}.s"], [f"{source}.a"], name=f"{source}/Mul"))
        return f"{source}.a"


def toy_graph(width: int = 16) -> ir.Model:
    """uint8 [1, 64, 64, 3] -> box_0 [1, 4, 8, 8], score_0 [1, 2, 8, 8]: a stem, a bottleneck with Split, Add and
    Concat, two branches."""
    net = _Net()
    net.weights += [numpy_helper.from_array(np.float32(1 / 255), "scale"), numpy_helper.from_array(np.uint8(0), "zero")]
    net.nodes.append(helper.make_node("DequantizeLinear", ["images_u8", "scale", "zero"], ["real"], name="real"))
    net.nodes.append(helper.make_node("Transpose", ["real"], ["nchw"], name="nchw", perm=[0, 3, 1, 2]))
    source, channels = "nchw", 3
    for index in range(3):
        source = net.silu(net.conv(source, f"stem_{index}", (channels, width), 3, 2))
        channels = width
    half = width // 2
    net.nodes.append(helper.make_node("Split", [source], ["left", "right"], name="split", axis=1))
    inner = net.silu(net.conv("right", "inner", (half, half), 3))
    net.nodes.append(helper.make_node("Add", ["right", inner], ["sum"], name="sum"))
    net.nodes.append(helper.make_node("Concat", ["left", "right", "sum"], ["all"], name="all", axis=1))
    neck = net.silu(net.conv("all", "neck", (3 * half, width), 1))
    outputs = []
    for role, count in (("box", 4), ("score", 2)):
        branch = net.silu(net.conv(neck, f"{role}_hidden", (width, width), 3))
        name = net.conv(branch, f"{role}_0", (width, count), 1)
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, SIDE // 8, SIDE // 8]))
    pixels = helper.make_tensor_value_info("images_u8", TensorProto.UINT8, [1, SIDE, SIDE, 3])
    graph = helper.make_graph(net.nodes, "toy", [pixels], outputs, net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def toy_head() -> Head:
    outputs = tuple(
        HeadOutput(f"{role}_0", f"{role}_0", role, 0, (1, n, 8, 8)) for role, n in (("box", 4), ("score", 2))
    )
    return Head("ltrb", "logit", 1, False, False, (8,), None, outputs, 2, "toy")


def write_pictures(folder: Path, count: int = 6) -> Path:
    rng = np.random.default_rng(9)
    for index in range(count):
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    return folder


def make_subject(folder: Path) -> Subject:
    """`folder`: of pictures."""
    return Subject(toy_graph(), toy_head(), load_target("cpu"), PictureStream(list_images(folder), SIDE, SIDE, "RGB"))


def make_plan(subject: Subject) -> Plan:
    """Everything in INT8 but the last convolutions, from one calibration pass."""
    keep = frozenset(("box_0", "score_0"))
    scheme = replace(subject.target.place, float_last={"one_to_one": {}, "one_to_many": {}})
    placement = place(subject.graph, scheme, subject.head, keep)
    calibration = calibrate(subject.graph, placement.groups, subject.pictures, 1024)
    return Plan(placement, find_params(subject.graph, placement, calibration, subject.target))
