# SPDX-License-Identifier: Apache-2.0
"""The head is found by what the graph computes: names, node order and operators do not matter."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from head_graphs import (
    ANCHORS,
    SIZE,
    STRIDES,
    Graph,
    anchor_head,
    anchor_rows,
    distance_head,
    distance_parts,
    exponential_head,
    pair_maps,
    suppressed,
)
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, find_head, passthrough_head
from yoloq_quantize.passes import FixShapes, FoldConstants, UniqueNames, canonical_passes, run_passes


def find(proto: onnx.ModelProto, classes: int | None = None, size: tuple[int, int] = SIZE) -> Head:
    return find_head(run_passes(ir.from_proto(proto), *canonical_passes(*size)), classes)


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
    head = find(proto, classes=5, size=(640, 640))
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

    plain, other = find(proto, size=(640, 640)), find(scrambled, size=(640, 640))
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

    dense = passthrough_head(fixed(distance_head(classes=3), SIZE[0]), "dense-cxcywh", 3)
    assert (dense.box, dense.score, dense.nms, dense.strides) == ("cxcywh", "probability", True, ())
    assert (dense.outputs[0].role, dense.outputs[0].channel_axis) == ("combined", 1)
    rows = passthrough_head(fixed(anchor_head(classes=4), SIZE[0]), "dense-cxcywh", 4)
    assert (rows.objectness, rows.outputs[0].channel_axis) == (True, -1)
    e2e = fixed(onnx.load(root / "models" / "fasteners-yolo26n-e2e.onnx"), 640)
    assert passthrough_head(e2e, "end2end", 5).outputs[0].role == "end2end"
    with pytest.raises(QuantizeError, match="class names"):
        passthrough_head(e2e, "dense-xyxy", 5)


@pytest.mark.parametrize(
    ("classes", "size", "strides"),
    [
        (1, (64, 96), STRIDES),
        (2, (128, 64), (4, 8, 16, 32)),
        (80, (128, 128), (8, 16, 32, 64)),
        (147, (96, 64), (16, 32)),
    ],
)
def test_any_size_strides_and_classes(classes: int, size: tuple[int, int], strides: tuple[int, ...]) -> None:
    head = find(distance_head(classes, size, strides, bins=16), classes, size)
    assert described(head) == ("ltrb", "logit", 16, False, True, strides, None, classes)
    assert [output.shape[2:] for output in head.outputs[::2]] == [(size[0] // s, size[1] // s) for s in strides]


@pytest.mark.parametrize("every", [False, True])
def test_decoded_output_among_raw_maps(every: bool) -> None:
    """Old v5 exports give the raw maps beside the decoded rows, in whatever order."""
    graph = Graph()
    rows, maps = anchor_rows(graph, 2)
    head = find(graph.model(*([*maps, rows] if every else [rows, *maps])))
    assert described(head) == ("anchor", "logit", 1, True, True, STRIDES, ANCHORS, 2)


def test_learned_factor_behind_the_last_convolution() -> None:
    head = find(anchor_head(classes=3, implicit=True))
    assert described(head) == ("anchor", "logit", 1, True, True, STRIDES, ANCHORS, 3)


def test_objectness_of_ones_is_none() -> None:
    """Meituan's v6 writes a column of ones."""
    graph = Graph()
    boxes, scores = distance_parts(graph, 3)
    ones = graph.constant([[[1.0] * graph.grid().shape[2]]])
    head = find(graph.model(graph.op("Concat", boxes, ones, scores, axis=1)))
    assert described(head) == ("ltrb", "logit", 1, False, True, STRIDES, None, 3)


@pytest.mark.parametrize("form", ["xyxy", "cxcywh"])
def test_boxes_and_scores_apart(form: str) -> None:
    graph = Graph()
    boxes, scores = distance_parts(graph, 3, 16, form)
    head = find(graph.model(scores, boxes) if form == "xyxy" else graph.model(boxes, scores))
    assert described(head) == ("ltrb", "logit", 16, False, True, STRIDES, None, 3)


def test_best_class_only() -> None:
    graph = Graph()
    boxes, scores = distance_parts(graph, 3)
    best = graph.op("ReduceMax", scores, axes=[1], keepdims=1)
    label = graph.op("Cast", graph.op("ArgMax", scores, axis=1, keepdims=1), to=onnx.TensorProto.FLOAT)
    head = find(graph.model(graph.op("Concat", boxes, best, label, axis=1)))
    assert described(head) == ("ltrb", "logit", 1, False, True, STRIDES, None, 3)


@pytest.mark.parametrize("columns", [6, 7])
def test_suppression_in_the_graph(columns: int) -> None:
    graph = Graph()
    boxes, scores = distance_parts(graph, 2, 16, "xyxy")
    rows = suppressed(graph, graph.op("Transpose", boxes, perm=[0, 2, 1]), scores, columns)
    assert described(find(graph.model(rows))) == ("ltrb", "logit", 16, False, True, STRIDES, None, 2)


def test_suppression_behind_anchors() -> None:
    """v7 --end2end: the anchors are read off single candidates that survive."""
    graph = Graph()
    rows, _ = anchor_rows(graph, 3)
    middle, sides, gate, score = graph.op("Split", rows, graph.whole(2, 2, 1, 3), outputs=4, axis=2)
    half = graph.op("Mul", sides, graph.constant(0.5))
    boxes = graph.op("Concat", graph.op("Sub", middle, half), graph.op("Add", middle, half), axis=2)
    scores = graph.op("Transpose", graph.op("Mul", gate, score), perm=[0, 2, 1])
    head = find(graph.model(suppressed(graph, boxes, scores, 7)), classes=3)
    assert described(head) == ("anchor", "logit", 1, True, True, STRIDES, ANCHORS, 3)


def test_suppression_by_a_plugin() -> None:
    """What a TensorRT plugin reads is what the host decodes and suppresses."""
    graph = Graph()
    boxes, scores = (graph.op("Transpose", part, perm=[0, 2, 1]) for part in distance_parts(graph, 2, 1, "xyxy"))
    outputs = graph.op("EfficientNMS_TRT", boxes, scores, outputs=4, domain="TRT", score_threshold=0.25)
    head = find(graph.model(*outputs))
    assert described(head) == ("ltrb", "logit", 1, False, True, STRIDES, None, 2)


def test_undecoded_yolox() -> None:
    """YOLOX's export without decode_in_inference: boxes raw, objectness and scores through sigmoids."""
    head = find(exponential_head(classes=3, decode=False))
    assert described(head) == ("exp", "logit", 1, True, True, STRIDES, None, 3)
    assert head.family.endswith("undecoded")


def test_undecoded_maps() -> None:
    graph = Graph()
    outputs = [part for pair in pair_maps(graph, 5, 16) for part in pair]
    head = find(graph.model(*outputs), classes=5)
    assert described(head) == ("ltrb", "logit", 16, False, True, STRIDES, None, 5)


def test_undecoded_probabilities_tell_the_scores() -> None:
    """64 classes and 4 x 16 bins, scores first: the sigmoid tells them apart."""
    graph = Graph()
    outputs = [part for box, score in pair_maps(graph, 64, 16, True) for part in (graph.op("Sigmoid", score), box)]
    proto = graph.model(*outputs)
    squashed = {node.input[0] for node in proto.graph.node if node.op_type == "Sigmoid"}
    head = find(proto)
    assert described(head) == ("ltrb", "logit", 16, False, True, STRIDES, None, 64)
    assert {output.value for output in head.outputs if output.role == "score"} == squashed


def test_doubt_is_refused() -> None:
    graph = Graph()
    proto = graph.model(*[part for pair in pair_maps(graph, 4, 16) for part in pair])
    with pytest.raises(QuantizeError, match=r"raw maps of 64 and 4 channels.*do not tell boxes from scores.*--data"):
        find(proto)
    anchors = Graph()
    with pytest.raises(QuantizeError, match="anchors are not in the graph"):
        find(anchors.model(*(anchors.raw(3 * (5 + 2), stride) for stride in STRIDES)), classes=2)
    with pytest.raises(QuantizeError, match="unknown head"):
        find(exponential_head(classes=3, decode=False, squash=False), classes=3)


def test_two_whole_detectors_are_refused() -> None:
    """YOLOv9's training graph ends in an auxiliary head and the main one."""
    graph = Graph()
    outputs = [graph.op("Concat", *distance_parts(graph, 3), axis=1) for _ in range(2)]
    with pytest.raises(QuantizeError, match="'answer', 'answer1' each are a whole detector's"):
        find(graph.model(*outputs))


@pytest.mark.parametrize(("extra", "guess"), [(32, "masks"), (51, "keypoints"), (1, "angle")])
def test_other_tasks_are_refused(extra: int, guess: str) -> None:
    """A third tensor a level, joined to the rows of a detector."""
    graph = Graph()
    boxes, scores = distance_parts(graph, 3)
    more = graph.op("Concat", *(graph.cells(graph.raw(extra, stride), extra) for stride in STRIDES), axis=2)
    with pytest.raises(QuantizeError, match=f"unknown head: a third tensor a level.*{guess}.*only object detection"):
        find(graph.model(graph.op("Concat", boxes, scores, more, axis=1)))


def test_the_exporters_word_on_the_task_is_taken() -> None:
    graph = Graph()
    proto = graph.model(graph.op("Concat", *distance_parts(graph, 3), axis=1), metadata={"task": "pose"})
    with pytest.raises(QuantizeError, match="task is 'pose'; only object detection"):
        find(proto)


@pytest.mark.parametrize(
    ("kind", "guess"), [("LayerNormalization", "transformer decoder"), ("Einsum", "open-vocabulary")]
)
def test_other_kinds_of_head_are_guessed(kind: str, guess: str) -> None:
    graph = Graph()
    boxes, scores = distance_parts(graph, 3)
    if kind == "Einsum":
        scores = graph.op("Einsum", graph.constant([[1.0, 2, 3], [0, 1, 1]]), scores, equation="kc,ncx->nkx")
    else:
        scores = graph.op("LayerNormalization", scores, graph.constant([1.0] * graph.grid().shape[2]), axis=2)
    with pytest.raises(QuantizeError, match=f"unknown head: .*{guess}.*'answer'"):
        find(graph.model(graph.op("Concat", boxes, scores, axis=1)))


def test_foreign_operator_is_named() -> None:
    graph = Graph()
    boxes, scores = distance_parts(graph, 3)
    odd = graph.op("Odd", boxes, domain="TRT")
    with pytest.raises(QuantizeError, match=r"node 'n\d+' is TRT.Odd, no standard operator"):
        find(graph.model(graph.op("Concat", odd, scores, axis=1)))
