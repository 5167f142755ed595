# SPDX-License-Identifier: Apache-2.0
"""Small detectors that end the way exporters end theirs: a strided convolution per raw tensor, then the decode."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (64, 64)  # (height, width) in pixels
STRIDES = (8, 16, 32)
ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))


class Graph:
    """A detector as it grows; `size` (height, width) in pixels."""

    def __init__(self, size: tuple[int, int] = SIZE, strides: tuple[int, ...] = STRIDES, opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.generator = np.random.default_rng(0)
        self.size, self.strides, self.opset = size, strides, opset

    def constant(self, array: np.ndarray | list | float, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def whole(self, *numbers: int) -> str:
        return self.constant(list(numbers), np.int64)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def raw(self, channels: int, stride: int) -> str:
        weight = self.generator.normal(0, 0.1, (channels, 3, stride, stride))
        return self.op("Conv", "picture", self.constant(weight), strides=[stride, stride])

    def cells(self, raw: str, channels: int) -> str:
        return self.op("Reshape", raw, self.whole(1, channels, -1))

    def sides(self, stride: int) -> tuple[int, int]:
        """Rows and columns of a level."""
        return self.size[0] // stride, self.size[1] // stride

    def grid(self, offset: float = 0.5) -> np.ndarray:
        """[1, 2, cells]: x and y of every cell of every level, in cells."""
        levels = []
        for stride in self.strides:
            rows, columns = np.mgrid[: self.sides(stride)[0], : self.sides(stride)[1]]
            levels.append(np.stack([columns.ravel(), rows.ravel()]) + offset)
        return np.concatenate(levels, axis=1)[None]

    def cell_strides(self) -> np.ndarray:
        """[1, cells], pixels."""
        return np.concatenate([np.full(int(np.prod(self.sides(stride))), stride) for stride in self.strides])[None]

    def model(self, *outputs: str, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        names = ["answer", *(f"answer{i}" for i in range(1, len(outputs)))]
        for output, name in zip(outputs, names, strict=True):
            self.nodes.append(helper.make_node("Identity", [output], [name]))
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, *self.size])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("TRT", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        helper.set_model_props(model, metadata or {})
        return model


def pair_maps(graph: Graph, classes: int, bins: int, score_first: bool = False) -> list[tuple[str, str]]:
    """Box and score maps of each level."""
    maps = []
    for stride in graph.strides:
        channels = (classes, 4 * bins) if score_first else (4 * bins, classes)
        pair = [graph.raw(count, stride) for count in channels]
        maps.append(tuple(pair[::-1] if score_first else pair))
    return maps


def distances(graph: Graph, maps: list[str], bins: int, projection: str = "Conv") -> str:
    """[1, 4, cells]: left, top, right, bottom in cells."""
    box = graph.op("Concat", *(graph.cells(each, 4 * bins) for each in maps), axis=2)
    if bins == 1:
        return box
    box = graph.op("Reshape", box, graph.whole(1, 4, bins, -1))
    box = graph.op("Softmax", graph.op("Transpose", box, perm=[0, 2, 1, 3]), axis=1)
    weights = graph.constant(np.arange(bins).reshape(1, bins, 1, 1))
    if projection == "Conv":
        box = graph.op("Conv", box, weights)
    else:
        box = graph.op("ReduceSum", graph.op("Mul", box, weights), graph.whole(1), keepdims=1)
    return graph.op("Reshape", box, graph.whole(1, 4, -1))


def distance_boxes(graph: Graph, sides: str, form: str, offset: float = 0.5, factor: float = 1.0) -> str:
    """[1, 4, cells] in pixels, as `form` "xyxy" or "cxcywh"."""
    near, far = graph.op("Split", sides, outputs=2, axis=1)
    anchors = graph.constant(graph.grid(offset))
    low, high = graph.op("Sub", anchors, near), graph.op("Add", anchors, far)
    if form == "cxcywh":
        middle = graph.op("Div", graph.op("Add", low, high), graph.constant(2.0))
        corners = graph.op("Concat", middle, graph.op("Sub", high, low), axis=1)
    else:
        corners = graph.op("Concat", low, high, axis=1)
    return graph.op("Mul", corners, graph.constant(graph.cell_strides() * factor))


def distance_parts(
    graph: Graph, classes: int, bins: int = 1, form: str = "cxcywh", score_first: bool = False, **options: object
) -> tuple[str, str]:
    """Boxes [1, 4, cells] and probabilities [1, C, cells]."""
    projection = options.pop("projection", "Conv")
    maps = pair_maps(graph, classes, bins, score_first)
    boxes = distance_boxes(graph, distances(graph, [box for box, _ in maps], bins, projection), form, **options)
    score = graph.op("Concat", *(graph.cells(score, classes) for _, score in maps), axis=2)
    return boxes, graph.op("Sigmoid", score)


def distance_head(
    classes: int, size: tuple[int, int] = SIZE, strides: tuple[int, ...] = STRIDES, **options: object
) -> onnx.ModelProto:
    """v8 (bins 16) or YOLO26 one-to-many (bins 1): dense [1, 4 + C, cells]."""
    graph = Graph(size, strides)
    return graph.model(graph.op("Concat", *distance_parts(graph, classes, **options), axis=1))


def anchor_rows(graph: Graph, classes: int, implicit: bool = False) -> tuple[str, list[str]]:
    """v5 and v7: [1, rows, 5 + C], anchors of a level one after another; and the maps [1, a, h, w, 5 + C]."""
    levels, maps = [], []
    for stride, anchors in zip(graph.strides, ANCHORS, strict=True):
        sides, count = graph.sides(stride), len(anchors)
        raw = graph.raw(count * (5 + classes), stride)
        if implicit:  # v7's learned factor behind the last convolution
            raw = graph.op("Mul", raw, graph.constant(graph.generator.normal(1, 0.1, (1, count * (5 + classes), 1, 1))))
        split = graph.op("Reshape", raw, graph.whole(1, count, 5 + classes, *sides))
        maps.append(graph.op("Transpose", split, perm=[0, 1, 3, 4, 2]))
        xy, wh, rest = graph.op(
            "Split", graph.op("Sigmoid", maps[-1]), graph.whole(2, 2, 1 + classes), outputs=3, axis=4
        )
        rows, columns = np.mgrid[: sides[0], : sides[1]]
        cells = graph.constant((np.stack([columns, rows], -1) - 0.5)[None, None])
        xy = graph.op("Add", graph.op("Mul", xy, graph.constant(2.0)), cells)
        xy = graph.op("Mul", xy, graph.constant(float(stride)))
        twice = graph.op("Mul", wh, graph.constant(2.0))
        sizes = graph.constant(np.reshape(anchors, (1, count, 1, 1, 2)))
        wh = graph.op("Mul", graph.op("Pow", twice, graph.constant(2.0)), sizes)
        level = graph.op("Concat", xy, wh, rest, axis=4)
        levels.append(graph.op("Reshape", level, graph.whole(1, -1, 5 + classes)))
    return graph.op("Concat", *levels, axis=1), maps


def anchor_head(classes: int, implicit: bool = False) -> onnx.ModelProto:
    graph = Graph()
    return graph.model(anchor_rows(graph, classes, implicit)[0])


def exponential_head(classes: int, decode: bool = True, squash: bool = True) -> onnx.ModelProto:
    """YOLOX: [1, cells, 5 + C], decoded in the graph or not; squash: sigmoids on objectness and scores."""
    graph, levels = Graph(), []
    for stride in graph.strides:
        parts = [graph.raw(count, stride) for count in (4, 1, classes)]
        if squash:
            parts[1:] = [graph.op("Sigmoid", part) for part in parts[1:]]
        levels.append(graph.cells(graph.op("Concat", *parts, axis=1), 5 + classes))
    rows = graph.op("Transpose", graph.op("Concat", *levels, axis=2), perm=[0, 2, 1])
    if not decode:
        return graph.model(rows)
    xy, wh, rest = graph.op("Split", rows, graph.whole(2, 2, 1 + classes), outputs=3, axis=2)
    strides = graph.constant(graph.cell_strides().transpose()[None])
    xy = graph.op("Mul", graph.op("Add", xy, graph.constant(graph.grid(0).transpose(0, 2, 1))), strides)
    return graph.model(graph.op("Concat", xy, graph.op("Mul", graph.op("Exp", wh), strides), rest, axis=2))


def suppressed(graph: Graph, boxes: str, scores: str, columns: int) -> str:
    """Rows that NonMaxSuppression leaves of boxes [1, n, 4] x1 y1 x2 y2 and scores [1, C, n]: x1 y1 x2 y2 score class,
    or with 7 columns as YOLOv7 writes them: picture x1 y1 x2 y2 class score."""
    limits = [graph.whole(20), graph.constant([0.6]), graph.constant([0.3])]
    chosen = graph.op("NonMaxSuppression", boxes, scores, *limits)
    picture, label, cell = (graph.op("Gather", chosen, graph.whole(i), axis=1) for i in range(3))
    box = graph.op("Gather", graph.op("Squeeze", boxes, graph.whole(0)), graph.op("Squeeze", cell, graph.whole(1)))
    score = graph.op("Unsqueeze", graph.op("GatherND", scores, chosen), graph.whole(1))
    label, picture = (graph.op("Cast", each, to=TensorProto.FLOAT) for each in (label, picture))
    parts = (box, score, label) if columns == 6 else (picture, box, label, score)
    return graph.op("Concat", *parts, axis=1)
