# SPDX-License-Identifier: Apache-2.0
"""The head is found by what the graph computes: names, node order and operators do not matter."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, find_head, passthrough_head
from yoloq_quantize.passes import FixShapes, FoldConstants, RemoveIdentity, UniqueNames, run_passes

SIZE = 64
STRIDES = (8, 16, 32)
ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))


class Graph:
    """Builds small detectors: a strided convolution per raw tensor, then whatever tail the test writes."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.generator = np.random.default_rng(seed)

    def constant(self, array: np.ndarray | list | float, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def raw(self, channels: int, stride: int) -> str:
        weight = self.generator.normal(0, 0.1, (channels, 3, stride, stride))
        return self.op("Conv", "picture", self.constant(weight), strides=[stride, stride])

    def cells(self, raw: str, channels: int) -> str:
        return self.op("Reshape", raw, self.constant([1, channels, -1], np.int64))

    def model(self, output: str, open_shape: bool = False) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["answer"]))
        sides = ["n", 3, "h", "w"] if open_shape else [1, 3, SIZE, SIZE]
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("picture", TensorProto.FLOAT, sides)],
            [helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def grid(offset: float = 0.5) -> np.ndarray:
    """[1, 2, cells]: centre of every cell of every level, in cells."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: SIZE // stride, : SIZE // stride]
        levels.append(np.stack([columns.ravel(), rows.ravel()]) + offset)
    return np.concatenate(levels, axis=1)[None]


def cell_strides() -> np.ndarray:
    return np.concatenate([np.full((SIZE // stride) ** 2, stride) for stride in STRIDES])[None]


def distance_head(
    classes: int,
    bins: int = 1,
    form: str = "cxcywh",
    offset: float = 0.5,
    factor: float = 1.0,
    score_first: bool = False,
    projection: str = "Conv",
) -> onnx.ModelProto:
    """v8 (bins 16) or YOLO26 one-to-many (bins 1): dense [1, 4 + C, cells]."""
    graph = Graph()
    raws = []
    for stride in STRIDES:
        channels = (classes, 4 * bins) if score_first else (4 * bins, classes)
        pair = [graph.raw(count, stride) for count in channels]
        raws.append(pair[::-1] if score_first else pair)
    box = graph.op("Concat", *(graph.cells(pair[0], 4 * bins) for pair in raws), axis=2)
    score = graph.op("Concat", *(graph.cells(pair[1], classes) for pair in raws), axis=2)
    if bins > 1:
        box = graph.op("Reshape", box, graph.constant([1, 4, bins, -1], np.int64))
        box = graph.op("Softmax", graph.op("Transpose", box, perm=[0, 2, 1, 3]), axis=1)
        if projection == "Conv":
            box = graph.op("Conv", box, graph.constant(np.arange(bins).reshape(1, bins, 1, 1)))
        else:
            weighted = graph.op("Mul", box, graph.constant(np.arange(bins).reshape(1, bins, 1, 1)))
            box = graph.op("ReduceSum", weighted, graph.constant([1], np.int64), keepdims=1)
        box = graph.op("Reshape", box, graph.constant([1, 4, -1], np.int64))
    near, far = graph.op("Split", box, outputs=2, axis=1)
    anchors = graph.constant(grid(offset))
    low, high = graph.op("Sub", anchors, near), graph.op("Add", anchors, far)
    if form == "cxcywh":
        middle = graph.op("Div", graph.op("Add", low, high), graph.constant(2.0))
        corners = graph.op("Concat", middle, graph.op("Sub", high, low), axis=1)
    else:
        corners = graph.op("Concat", low, high, axis=1)
    boxes = graph.op("Mul", corners, graph.constant(cell_strides() * factor))
    return graph.model(graph.op("Concat", boxes, graph.op("Sigmoid", score), axis=1))


def anchor_head(classes: int) -> onnx.ModelProto:
    """v5 and v7: dense [1, rows, 5 + C], anchors of a level one after another."""
    graph, levels = Graph(), []
    for stride, anchors in zip(STRIDES, ANCHORS, strict=True):
        side, count = SIZE // stride, len(anchors)
        raw = graph.raw(count * (5 + classes), stride)
        split = graph.op("Reshape", raw, graph.constant([1, count, 5 + classes, side, side], np.int64))
        values = graph.op("Sigmoid", graph.op("Transpose", split, perm=[0, 1, 3, 4, 2]))
        xy, wh, rest = graph.op("Split", values, graph.constant([2, 2, 1 + classes], np.int64), outputs=3, axis=4)
        rows, columns = np.mgrid[:side, :side]
        cells = graph.constant((np.stack([columns, rows], -1) - 0.5)[None, None])
        xy = graph.op(
            "Mul", graph.op("Add", graph.op("Mul", xy, graph.constant(2.0)), cells), graph.constant(float(stride))
        )
        twice = graph.op("Mul", wh, graph.constant(2.0))
        wh = graph.op(
            "Mul", graph.op("Pow", twice, graph.constant(2.0)), graph.constant(np.reshape(anchors, (1, count, 1, 1, 2)))
        )
        level = graph.op("Concat", xy, wh, rest, axis=4)
        levels.append(graph.op("Reshape", level, graph.constant([1, -1, 5 + classes], np.int64)))
    return graph.model(graph.op("Concat", *levels, axis=1))


def exponential_head(classes: int) -> onnx.ModelProto:
    """YOLOX, decoded in the graph: dense [1, cells, 5 + C]."""
    graph, levels = Graph(), []
    for stride in STRIDES:
        box, objectness, score = graph.raw(4, stride), graph.raw(1, stride), graph.raw(classes, stride)
        level = graph.op("Concat", box, graph.op("Sigmoid", objectness), graph.op("Sigmoid", score), axis=1)
        levels.append(graph.cells(level, 5 + classes))
    rows = graph.op("Transpose", graph.op("Concat", *levels, axis=2), perm=[0, 2, 1])
    xy, wh, rest = graph.op("Split", rows, graph.constant([2, 2, 1 + classes], np.int64), outputs=3, axis=2)
    strides = graph.constant(cell_strides().transpose()[None])
    xy = graph.op("Mul", graph.op("Add", xy, graph.constant(grid(0).transpose(0, 2, 1))), strides)
    return graph.model(graph.op("Concat", xy, graph.op("Mul", graph.op("Exp", wh), strides), rest, axis=2))


def find(proto: onnx.ModelProto, classes: int | None = None, size: int = SIZE) -> Head:
    model = run_passes(ir.from_proto(proto), UniqueNames(), FixShapes(size, size), FoldConstants(), RemoveIdentity())
    return find_head(model, classes)


def described(head: Head) -> tuple[object, ...]:
    return (head.box, head.score, head.reg_max, head.objectness, head.nms, head.strides, head.anchors, head.classes)


def scramble(proto: onnx.ModelProto, seed: int = 3) -> onnx.ModelProto:
    """The same model: every tensor and node renamed, nodes in another valid order."""
    shuffle = random.Random(seed)
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    graph = model.graph
    kept = {value.name for value in list(graph.input) + list(graph.output)}
    names: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if not name or name in kept else names.setdefault(name, f"v{shuffle.getrandbits(64):x}")

    for index, node in enumerate(graph.node):
        node.name = f"node{shuffle.getrandbits(48):x}_{index}"
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    del graph.value_info[:]
    waiting, ready = list(graph.node), {tensor.name for tensor in graph.initializer} | {"", graph.input[0].name}
    order = []
    while waiting:
        free = [node for node in waiting if set(node.input) <= ready]
        node = shuffle.choice(free)
        waiting.remove(node)
        ready |= set(node.output)
        order.append(node)
    del graph.node[:]
    graph.node.extend(order)
    return model


@pytest.mark.parametrize(("export", "nms"), [("e2e", False), ("dense", True)])
def test_demo_exports(root: Path, export: str, nms: bool) -> None:
    proto = onnx.load(root / "models" / f"fasteners-yolo26n-{export}.onnx")
    head = find(proto, classes=5, size=640)
    assert described(head) == ("ltrb", "logit", 1, False, nms, (8, 16, 32), None, 5)
    assert [(output.name, output.shape) for output in head.outputs] == [
        (f"{role}_{level}", (1, channels, side, side))
        for level, side in enumerate((80, 40, 20))
        for role, channels in (("box", 4), ("score", 5))
    ]


@pytest.mark.parametrize("export", ["e2e", "dense"])
def test_names_and_order_do_not_matter(root: Path, export: str) -> None:
    proto = onnx.load(root / "models" / f"fasteners-yolo26n-{export}.onnx")
    scrambled = scramble(proto)
    assert not {node.name for node in proto.graph.node} & {node.name for node in scrambled.graph.node}

    def weights(model: onnx.ModelProto, head: Head) -> list[bytes]:
        stored = {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}
        makers = {name: node for node in model.graph.node for name in node.output}
        return [stored[makers[output.value].input[1]] for output in head.outputs]

    plain, other = find(proto, size=640), find(scrambled, size=640)
    assert described(plain) == described(other)
    assert weights(proto, plain) == weights(scrambled, other)


@pytest.mark.parametrize("projection", ["Conv", "ReduceSum"])
@pytest.mark.parametrize("form", ["cxcywh", "xyxy"])
def test_distribution_bins(projection: str, form: str) -> None:
    head = find(distance_head(classes=3, bins=16, form=form, projection=projection))
    assert described(head) == ("ltrb", "logit", 16, False, True, STRIDES, None, 3)


@pytest.mark.parametrize("score_first", [False, True])
def test_equal_channels_are_told_apart(score_first: bool) -> None:
    """64 classes and 4 x 16 bins: only the arithmetic says which tensor holds boxes."""
    proto = distance_head(classes=64, bins=16, score_first=score_first)
    head = find(proto)
    makers = {name: index for index, node in enumerate(proto.graph.node) for name in node.output}
    box, score = (makers[head.outputs[index].value] for index in (0, 1))
    assert (head.outputs[0].role, head.outputs[1].role) == ("box", "score")
    assert (score < box) == score_first


def test_anchors_are_read_off_the_graph() -> None:
    head = find(anchor_head(classes=4))
    assert described(head) == ("anchor", "logit", 1, True, True, STRIDES, ANCHORS, 4)
    assert [output.role for output in head.outputs] == ["combined"] * 3


def test_exponential_boxes() -> None:
    head = find(exponential_head(classes=4))
    assert described(head) == ("exp", "logit", 1, True, True, STRIDES, None, 4)
    assert [output.role for output in head.outputs[:3]] == ["box", "objectness", "score"]


@pytest.mark.parametrize("wrong", [{"offset": 0.0}, {"factor": 2.0}])
def test_unknown_arithmetic_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(QuantizeError, match=r"unknown head.*'answer'.*Concat.*stride 8: 'n0' 4 channels.*--head"):
        find(distance_head(classes=3, **wrong))


def test_other_tasks_are_refused() -> None:
    """A mask head has one more convolution a level."""
    graph = Graph()
    tensors = [graph.cells(graph.raw(count, stride), count) for count in (4, 3, 32) for stride in STRIDES]
    joined = [graph.op("Concat", *tensors[i : i + 3], axis=2) for i in (0, 3, 6)]
    with pytest.raises(QuantizeError, match="unknown head"):
        find(graph.model(graph.op("Concat", *joined, axis=1)))


def test_no_convolution_is_refused() -> None:
    graph = Graph()
    with pytest.raises(QuantizeError, match="no convolution leads to output"):
        find(graph.model(graph.op("Relu", "picture")))


def test_class_count_must_agree() -> None:
    with pytest.raises(QuantizeError, match="has 3 classes, but 7 class names"):
        find(distance_head(classes=3), classes=7)


def test_decoded_outputs_pass_when_asked(root: Path) -> None:
    def fixed(proto: onnx.ModelProto, size: int) -> ir.Model:
        return run_passes(ir.from_proto(proto), UniqueNames(), FixShapes(size, size), FoldConstants())

    dense = passthrough_head(fixed(distance_head(classes=3), SIZE), "dense-cxcywh", 3)
    assert (dense.box, dense.score, dense.nms, dense.strides) == ("cxcywh", "probability", True, ())
    assert (dense.outputs[0].role, dense.outputs[0].channel_axis) == ("combined", 1)
    rows = passthrough_head(fixed(anchor_head(classes=4), SIZE), "dense-cxcywh", 4)
    assert (rows.objectness, rows.outputs[0].channel_axis) == (True, -1)
    e2e = fixed(onnx.load(root / "models" / "fasteners-yolo26n-e2e.onnx"), 640)
    assert passthrough_head(e2e, "end2end", 5).outputs[0].role == "end2end"
    with pytest.raises(QuantizeError, match="class names"):
        passthrough_head(e2e, "dense-xyxy", 5)
