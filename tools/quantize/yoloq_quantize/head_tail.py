# SPDX-License-Identifier: Apache-2.0
"""The tail of a detector: what lies between its last convolutions and its outputs, and how to run it alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from yoloq_quantize.errors import QuantizeError

Raws = dict[str, np.ndarray]  # raw tensors by name

SEED = 20
NMS = ("NonMaxSuppression",)
PLUGIN_NMS = ("EfficientNMS_TRT", "BatchedNMSDynamic_TRT", "BatchedNMS_TRT")  # boxes and scores are their inputs


@dataclass(frozen=True)
class View:
    """A value, or boxes and scores apart, that may be a detector's decoded output, and the tail that makes it."""

    values: tuple[ir.Value, ...]
    convolutions: tuple[ir.Node, ...]
    tail: tuple[ir.Node, ...]

    @property
    def nms(self) -> bool:
        """Whether the tail suppresses boxes itself."""
        return any(node.op_type in NMS for node in self.tail)


@dataclass(frozen=True)
class Levels:
    """The last convolutions by stride in pixels, each level's in the graph's order."""

    by_stride: dict[int, tuple[ir.Node, ...]]

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(sorted(self.by_stride))

    @property
    def channels(self) -> list[list[int]]:
        return [[int(conv.outputs[0].shape[1]) for conv in self.by_stride[stride]] for stride in self.strides]

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        shapes = [self.by_stride[stride][0].outputs[0].shape for stride in self.strides]
        return tuple((int(shape[2]), int(shape[3])) for shape in shapes)

    @property
    def raws(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the raw tensors by name."""
        convs = [conv for stride in self.strides for conv in self.by_stride[stride]]
        return {conv.outputs[0].name: static_shape(conv.outputs[0]) for conv in convs}


def find_views(graph: ir.Graph) -> list[View]:
    """Values to look at, likeliest first: an NMS plugin's inputs; outputs that no other output says more than; pairs of
    outputs. Every output must lead to a convolution."""
    views = []
    for node in graph:
        if node.op_type in PLUGIN_NMS:
            views.append(make_view(tuple(node.inputs[:2])))
    if views:
        return views
    singles = [make_view((value,)) for value in graph.outputs]
    sets = [set(view.convolutions) for view in singles]
    most = max(len(each) for each in sets)
    for view, own in zip(singles, sets, strict=True):
        if own and not any(own < other for other in sets):
            views.append(view)
    views.sort(key=lambda view: len(view.convolutions) < most)
    return views + [make_view(pair) for pair in combinations(graph.outputs, 2) if len(graph.outputs) <= 4]


def make_view(values: tuple[ir.Value, ...]) -> View:
    """The convolutions reached backwards from `values` before any other, and the nodes in between."""
    convolutions: list[ir.Node] = []
    tail: list[ir.Node] = []
    seen: set[ir.Node] = set()
    waiting = [value.producer() for value in values]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type == "Conv" and not _is_bin_mean(node):
            convolutions.append(node)
            continue
        tail.append(node)
        waiting.extend(value.producer() for value in node.inputs if value is not None)
    return View(values, tuple(convolutions), tuple(tail))


def _is_bin_mean(node: ir.Node) -> bool:
    """A 1x1 convolution with the weights 0, 1, 2, ...: the mean bin of a distribution, part of the decode."""
    weight = node.inputs[1].const_value
    if weight is None or len(weight.shape) != 4 or weight.shape[0] != 1 or weight.shape[1] < 2:
        return False
    return np.array_equal(weight.numpy().reshape(-1), np.arange(weight.shape[1]))


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """QuantizeError where a side is unknown."""
    if value.shape is None or not all(isinstance(side, int) for side in value.shape):
        raise QuantizeError(f"the shape of {value.name!r} cannot be inferred; export the model with static shapes")
    return tuple(int(side) for side in value.shape)


def find_levels(convolutions: Iterable[ir.Node], input_shape: ir.Shape) -> Levels:
    """QuantizeError where a convolution's result is no grid over the input."""
    height, width = int(input_shape[2]), int(input_shape[3])
    levels: dict[int, list[ir.Node]] = {}
    for conv in convolutions:
        shape = static_shape(conv.outputs[0])
        if len(shape) != 4 or height % shape[2] or width % shape[3] or height // shape[2] != width // shape[3]:
            raise QuantizeError(
                f"last convolution {conv.name!r} gives {list(shape)}, no grid over the"
                f" {height}x{width} input; only YOLO grid heads are known (see --head)"
            )
        levels.setdefault(height // shape[2], []).append(conv)
    order = {node: index for index, node in enumerate(next(iter(levels.values()))[0].graph)} if levels else {}
    return Levels({stride: tuple(sorted(convs, key=order.__getitem__)) for stride, convs in levels.items()})


class Probe:
    """Runs the tail alone: raw convolution results in, the view's values out, float32."""

    def __init__(self, graph: ir.Graph, view: View) -> None:
        foreign = next((node for node in view.tail if node.domain not in ("", "ai.onnx")), None)
        if foreign is not None:
            raise QuantizeError(
                f"node {foreign.name!r} is {foreign.domain}.{foreign.op_type}, no standard operator: export without it"
            )
        self.raws = [conv.outputs[0] for conv in view.convolutions]
        model = ir.Model(ir.convenience.extract(graph, self.raws, list(view.values)), ir_version=8)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        try:
            self.session = ort.InferenceSession(
                ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise QuantizeError(
                f"ONNX Runtime refuses what follows the last convolutions: {str(error).splitlines()[0][:200]}"
            ) from error

    def random(self) -> dict[str, np.ndarray]:
        """Numbers that no two structures turn into the same boxes."""
        generator = np.random.default_rng(SEED)
        return {raw.name: generator.normal(0, 1.5, static_shape(raw)).astype(np.float32) for raw in self.raws}

    def run(self, raws: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(result) for result in self.session.run(None, raws)]


def one_anchor_at_a_time(levels: Levels, anchors: int) -> Iterator[tuple[int, tuple[float, float], Raws]]:
    """Raw tensors of an anchor head in which one candidate alone scores: level, its centre in pixels, the tensors.

    Its box logits are 0, where the box is the anchor itself: (2 sigmoid(0))^2 a = a, 2 sigmoid(0) - 1/2 = 1/2.
    """
    names = list(levels.raws)
    for level, stride in enumerate(levels.strides):
        height, width = levels.grids[level]
        row, column = height // 2, width // 2
        for anchor in range(anchors):
            raws = {}
            for name in names:
                raw = np.full(levels.raws[name], -20, np.float32).reshape(anchors, -1, *levels.raws[name][2:])
                raw[:, :4] = 0
                if name == names[level]:
                    raw[anchor, 4:6, row, column] = 10
                raws[name] = raw.reshape(levels.raws[name])
            yield level, ((column + 0.5) * stride, (row + 0.5) * stride), raws
