# SPDX-License-Identifier: Apache-2.0
"""A small detector with everything that sensitivity and mixed precision look at: a stem, a block with Split, Add and
Concat, two levels of box and score branches, one layer that INT8 hurts on purpose; with pictures and a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.mixed.plans import widest
from yoloq_quantize.params import find_params
from yoloq_quantize.passes import Uint8Input, UniqueNames, run_passes
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import place
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Subject

SIDE, CLASSES = 64, 2
BIAS = {"box": 1.5, "score": -0.5}  # of the last convolutions: boxes of some cells, scores of all sizes
COST = {  # simple rates, under which INT8 pays even for a tiny node
    "int8": {"mac": 1.0, "depthwise": 2.0, "byte": 1.0, "activation": 3.0, "node": 10.0},
    "float": {"mac": 4.0, "depthwise": 5.0, "byte": 1.0, "activation": 3.0, "node": 10.0},
    "convert": {"element": 5.0},
}
HURT = "score_0_a"  # its input has a channel a thousand times as large as the others


class _Net:
    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.generator = np.random.default_rng(seed)

    def conv(self, name: str, source: str, inputs: int, outputs: int, side: int = 1, stride: int = 1) -> str:
        weight = self.generator.normal(0, (2 / (inputs * side * side)) ** 0.5, (outputs, inputs, side, side))
        self.constant(f"{name}.w", weight)
        self.constant(f"{name}.b", self.generator.normal(0, 0.1, outputs))
        pads = [side // 2] * 4
        feeds = [source, f"{name}.w", f"{name}.b"]
        self.nodes.append(helper.make_node("Conv", feeds, [f"{name}.y"], name=name, pads=pads, strides=[stride] * 2))
        return f"{name}.y"

    def silu(self, source: str) -> str:
        self.nodes.append(helper.make_node("Sigmoid", [source], [f"{source}.s"], name=f"{source}/sigmoid"))
        self.nodes.append(helper.make_node("Mul", [source, f"{source}.s"], [f"{source}.a"], name=f"{source}/mul"))
        return f"{source}.a"

    def layer(self, *conv: object, **options: int) -> str:
        return self.silu(self.conv(*conv, **options))

    def constant(self, name: str, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def scale(self, name: str, factors: np.ndarray) -> None:
        """Multiplies a weight [out, in, kh, kw] by factors that broadcast to it."""
        index = next(i for i, weight in enumerate(self.weights) if weight.name == name)
        array = numpy_helper.to_array(self.weights[index]) * factors
        self.weights[index].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))


def network(hurt: bool = True) -> onnx.ModelProto:
    """x [1, 3, 64, 64] to box and score of two levels, float32."""
    net = _Net(3)
    x = net.layer("stem", "x", 3, 8, side=3, stride=4)
    x = net.layer("down", x, 8, 8, side=3, stride=2)
    net.nodes.append(helper.make_node("Split", [x], ["left", "right"], name="split", axis=1))
    inner = net.layer("inner", "right", 4, 4, side=3)
    net.nodes.append(helper.make_node("Add", ["right", inner], ["sum"], name="add"))
    net.nodes.append(helper.make_node("Concat", ["left", "right", "sum"], ["all"], name="concat", axis=1))
    levels = [net.layer("merge", "all", 12, 8)]
    levels.append(net.layer("deep", levels[0], 8, 8, side=3, stride=2))
    outputs = []
    for level, source in enumerate(levels):
        for role, channels in (("box", 4), ("score", CLASSES)):
            name = f"{role}_{level}"
            middle = net.layer(name, source, 8, 8, side=3)
            last = net.conv(f"{name}_b", net.layer(f"{name}_a", middle, 8, 8), 8, channels)
            net.weights[-1].CopyFrom(numpy_helper.from_array(np.full(channels, BIAS[role], np.float32), f"{name}_b.b"))
            cells = SIDE >> (3 + level)
            outputs.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, channels, cells, cells]))
    if hurt:  # one huge channel that the next layer hardly reads: the others are lost in its scale
        factors = np.array([1000.0] + [1.0] * 7)
        net.scale("score_0.w", factors.reshape(8, 1, 1, 1))
        net.scale(f"{HURT}.w", 1 / factors.reshape(1, 8, 1, 1))
    pixels = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(net.nodes, "tiny", [pixels], outputs, net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def make_subject(folder: Path, hurt: bool = True, nms: bool = False, pictures: int = 4) -> Subject:
    """With pictures written to `folder`/images."""
    outputs = []
    for level in range(2):
        for role, count in (("box", 4), ("score", CLASSES)):
            name, cells = f"{role}_{level}_b.y", SIDE >> (3 + level)
            outputs.append(HeadOutput(name, name, role, level, (1, count, cells, cells)))
    head = Head("ltrb", "logit", 1, False, nms, (8, 16), None, tuple(outputs), CLASSES, "test")
    graph = run_passes(ir.from_proto(network(hurt)), UniqueNames(), Uint8Input(1 / 255))
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for index in range(pictures):
        coarse = generator.integers(0, 256, (8, 8, 3), np.uint8)
        picture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), picture)
    files = sorted((folder / "images").glob("*.png"))
    target = replace(load_target("cpu"), cost=COST)
    return Subject(graph, head, target, PictureStream(files, SIDE, SIDE, "RGB"))


def make_plan(subject: Subject) -> Plan:
    """Everything in INT8 but the last convolutions."""
    target = subject.target
    placement = place(subject.graph, widest(target.place), subject.head)
    calibration = calibrate(subject.graph, placement.groups, subject.pictures, target.activations.bins)
    return Plan(placement, find_params(subject.graph, placement, calibration, target))
