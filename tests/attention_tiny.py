# SPDX-License-Identifier: Apache-2.0
"""A small detector with attention as YOLO11 and YOLO26 have it, and raw scores far below what a sigmoid tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from test_sophgo_lowering import SIDE, Drawing
from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.params import find_params, output_floors
from yoloq_quantize.passes import InsertQdq, StoreOutputs, Uint8Input, UniqueNames, run_passes
from yoloq_quantize.place import place
from yoloq_quantize.scheme import Target

CHANNELS, CLASSES = 16, 3
OUTPUTS = (
    HeadOutput("box_0", "box_0", "box", 0, (1, 4, SIDE, SIDE)),
    HeadOutput("score_0", "score_0", "score", 0, (1, CLASSES, SIDE, SIDE)),
)
HEAD = Head("ltrb", "logit", 1, False, True, (1,), None, OUTPUTS, CLASSES, "test")


def float_graph() -> ir.Model:
    """first -> SiLU -> attention + itself -> deep -> SiLU -> box, score; cells of one level."""
    drawing = Drawing()
    whole = drawing.act(drawing.conv("images", "first", 3, CHANNELS))
    joined = drawing.add(whole, _attention(drawing, whole), "joined")
    drawing.conv(drawing.act(drawing.conv(joined, "deep", CHANNELS, CHANNELS)), "box_0", CHANNELS, 4)
    drawing.conv("deep_act", "score_0", CHANNELS, CLASSES)
    weight = numpy_helper.to_array(drawing.constants[-2]) * np.float32(0.02)  # numbers as scores have them
    drawing.constants[-2].CopyFrom(numpy_helper.from_array(weight, "score_0_w"))
    drawing.constants[-1].CopyFrom(numpy_helper.from_array(np.full(CLASSES, -8, np.float32), "score_0_b"))
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    made = [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, list(output.shape)) for output in OUTPUTS]
    graph = helper.make_graph(drawing.nodes, "attention", [given], made, drawing.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return run_passes(ir.from_proto(model), UniqueNames(), Uint8Input())


def _attention(drawing: Drawing, source: str) -> str:
    """Two heads over all cells; half as many channels for queries and keys as for values."""
    cells, heads, values = SIDE * SIDE, 2, CHANNELS // 2
    shapes = {"heads": [1, heads, 2 * values, cells], "parts": [values // 2, values // 2, values],
              "grid": [1, CHANNELS, SIDE, SIDE]}  # fmt: skip
    drawing.constants += [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    drawing.constants.append(numpy_helper.from_array(np.float32(0.02), "temperature"))
    drawing.conv(source, "qkv", CHANNELS, 2 * CHANNELS)
    drawing.nodes += [
        helper.make_node("Reshape", ["qkv", "heads"], ["by_head"]),
        helper.make_node("Split", ["by_head", "parts"], ["q", "k", "v"], axis=2),
        helper.make_node("Mul", ["q", "temperature"], ["q_small"]),
        helper.make_node("Transpose", ["q_small"], ["q_rows"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q_rows", "k"], ["likeness"]),
        helper.make_node("Softmax", ["likeness"], ["shares"], axis=-1),
        helper.make_node("Transpose", ["shares"], ["shares_columns"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["v", "shares_columns"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "grid"], ["mixed_grid"]),
    ]
    return drawing.conv("mixed_grid", "project", CHANNELS, CHANNELS)


def pictures(count: int) -> list[np.ndarray]:
    """Noise in four coarse corners, so that attention has something to tell apart."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 200, (count, 1, 4, 4, 3)).repeat(SIDE // 4, 2).repeat(SIDE // 4, 3)
    return list((coarse + rng.integers(0, 56, (count, 1, SIDE, SIDE, 3))).astype(np.uint8))


def quantised(target: Target, floors: Mapping[str, float] | None = None) -> onnx.ModelProto:
    """floors: in place of the head's."""
    return _quantised(float_graph(), HEAD, target, output_floors(HEAD) if floors is None else floors)


def one_convolution(target: Target) -> onnx.ModelProto:
    """From the picture to box_0."""
    drawing = Drawing()
    drawing.conv("images", "box_0", 3, 4)
    return _quantised(drawing.done(), replace(HEAD, outputs=OUTPUTS[:1]), target, {})


def _quantised(model: ir.Model, head: Head, target: Target, floors: Mapping[str, float]) -> onnx.ModelProto:
    model = run_passes(model, StoreOutputs()) if target.place.outputs else model
    placement = place(model, target.place, head)
    found = calibrate(model, placement.groups, pictures(8), target.activations.bins)
    params = find_params(model, placement, found, target, floors)
    return ir.to_proto(run_passes(model, InsertQdq(placement, params, target.activations.dtype)))
