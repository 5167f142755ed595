# SPDX-License-Identifier: Apache-2.0
"""Step `head`: finds the detection head by what the graph computes, never by names.

The tail of a detector is what lies between its last convolutions and its outputs. The tail runs alone, on made-up
convolution results, and what comes out is compared with every head structure that its channels allow (head_math).
One must reproduce it: box form, bins, strides, cell offsets, anchors and scores are read off the graph's own
arithmetic, whatever operators the exporter wrote it in. A graph that ends before the decode has no such arithmetic:
there the channels and the sigmoids must leave one structure only (head_raw), or the model is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head_math import Hypothesis, channel_roles, explains, tables
from yoloq_quantize.head_raw import undecoded
from yoloq_quantize.head_tail import (
    Levels,
    Probe,
    View,
    find_levels,
    find_views,
    make_view,
    one_anchor_at_a_time,
    static_shape,
)

PASSTHROUGH = ("dense-cxcywh", "dense-xyxy", "end2end")


@dataclass(frozen=True)
class HeadOutput:
    """One raw tensor of the head: the graph's `value`, its `name` in the artefact, its role and level."""

    value: str
    name: str
    role: str
    level: int
    shape: tuple[int, ...]
    channel_axis: int = 1


@dataclass(frozen=True)
class Head:
    """A head as docs/package-format.md describes it. `family` is for people."""

    box: str
    score: str
    reg_max: int
    objectness: bool
    nms: bool
    strides: tuple[int, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...] | None
    outputs: tuple[HeadOutput, ...]
    classes: int
    family: str
    box_voting: bool = False  # of nms; the user's choice, no fact of the graph
    box_scale: tuple[float, float] = (1.0, 1.0)  # factors of a box's width and height, from labels


def find_head(model: ir.Model, classes: int | None = None) -> Head:
    """Finds the head of a float model [1, 3, h, w] whose shapes are inferred and constants folded.

    `classes`: the number of class names, if known; a head that disagrees is refused. QuantizeError with the nodes and
    the reason where no structure, or more than one, explains what the graph does.
    """
    graph = model.graph
    _check_task(model)
    found: list[tuple[View, Head]] = []
    for view in find_views(graph):
        if not view.convolutions or (found and len(view.values) > 1):
            continue
        head = _decoded(graph, view, classes)
        if head is not None and not any(head.outputs == other.outputs for _, other in found):
            found.append((view, head))
    if len(found) > 1:
        names = ", ".join(repr(view.values[0].name) for view, _ in found)
        raise QuantizeError(f"outputs {names} each are a whole detector's; export the model with one of them only")
    whole = make_view(tuple(graph.outputs))
    if not whole.convolutions:
        names = ", ".join(repr(value.name) for value in graph.outputs)
        raise QuantizeError(f"no convolution leads to output {names}; this is not a YOLO detector")
    levels = find_levels(whole.convolutions, graph.inputs[0].shape)
    if found:
        head = found[0][1]
    else:
        hypothesis = undecoded(Probe(graph, whole), levels, classes)
        if hypothesis is None:
            raise QuantizeError(_unknown(levels, whole))
        head = _describe(hypothesis, levels, nms=True, how="undecoded")
    if classes is not None and head.classes != classes:
        raise QuantizeError(f"the head has {head.classes} classes, but {classes} class names were given")
    return head


def passthrough_head(model: ir.Model, form: str, classes: int | None) -> Head:
    """An already decoded head, left in the graph: `form` is one of PASSTHROUGH, said by the user."""
    if form not in PASSTHROUGH:
        raise QuantizeError(f"unknown head {form!r}; expected one of: auto, {', '.join(PASSTHROUGH)}")
    value = model.graph.outputs[0]
    shape = static_shape(value)
    if form == "end2end":
        if len(shape) != 3 or shape[2] != 6 or classes is None:
            raise QuantizeError(
                f"head end2end: output {value.name!r} has shape {list(shape)}; expected [1, rows, 6]"
                " and class names (--data)"
            )
        output = HeadOutput(value.name, "detections", "end2end", 0, shape, channel_axis=-1)
        return Head("xyxy", "probability", 1, False, False, (), None, (output,), classes, "decoded, end to end")
    axis = 1 if len(shape) == 3 and shape[1] < shape[2] else -1
    if len(shape) != 3 or classes is None or shape[axis] not in (4 + classes, 5 + classes):
        raise QuantizeError(
            f"head {form}: output {value.name!r} has shape {list(shape)}; expected 4 + classes channels"
            " and class names (--data)"
        )
    output = HeadOutput(value.name, "combined_0", "combined", 0, shape, channel_axis=axis)
    objectness = shape[axis] == 5 + classes
    return Head(
        form.removeprefix("dense-"), "probability", 1, objectness, True, (), None, (output,), classes, "decoded, dense"
    )


def _check_task(model: ir.Model) -> None:
    """Refuses what the exporter itself says is no detector."""
    task = model.metadata_props.get("task", "detect")
    if task != "detect":
        raise QuantizeError(f"this model's task is {task!r}; only object detection (task 'detect') is supported")


def _decoded(graph: ir.Graph, view: View, classes: int | None) -> Head | None:
    """The head if one structure reproduces the view's values from raw tensors."""
    try:
        levels = find_levels(view.convolutions, graph.inputs[0].shape)
    except QuantizeError:
        return None  # a mask prototype, say; what it means is judged over all outputs
    candidates = list(_assignments(levels))
    if not candidates or not view.tail:
        return None
    probe = Probe(graph, view)
    random = probe.random()
    results = probe.run(random)
    for hypothesis in candidates:
        if hypothesis.form == "anchor":
            hypothesis = _with_anchors(hypothesis, levels, probe, results, classes)
        form = None if hypothesis is None else explains(hypothesis, random, results, view.nms)
        if form:
            return _describe(hypothesis, levels, nms=view.nms or form == "dense")
    return None


def _assignments(levels: Levels) -> Iterator[Hypothesis]:
    """Every structure that the channels of the last convolutions allow; anchors are still to be found."""
    levels_roles = [channel_roles(channels) for channels in levels.channels]
    for key in dict.fromkeys(role.agree(levels.channels[0]) for role in levels_roles[0]):
        same = [
            [role for role in roles if role.agree(channels) == key]
            for roles, channels in zip(levels_roles, levels.channels, strict=True)
        ]
        for roles in product(*same):
            tensors = tuple(
                tuple((role, levels.by_stride[stride][index].outputs[0].name) for role, index in assignment.by_role)
                for stride, assignment in zip(levels.strides, roles, strict=True)
            )
            first = roles[0]
            yield Hypothesis(first.form, first.reg_max, first.objectness, levels.strides, levels.grids, tensors)


def _with_anchors(
    hypothesis: Hypothesis, levels: Levels, probe: Probe, results: list[np.ndarray], classes: int | None
) -> Hypothesis | None:
    """Anchor sizes in pixels, read off the tail's answers to one candidate at a time; None if it is no anchor head."""
    channels = {count for level in levels.channels for count in level}
    cells = sum(height * width for height, width in levels.grids)
    counts = [len(rows) // cells for rows in tables(results) if len(rows) % cells == 0]
    counts += [next(iter(channels)) // (5 + classes)] if classes else [3]
    if len(channels) != 1:
        return None
    for count in dict.fromkeys(counts):
        if count < 1 or next(iter(channels)) % count or next(iter(channels)) // count < 6:
            continue
        anchors: list[list[tuple[float, float]]] = [[] for _ in levels.strides]
        for level, centre, raws in one_anchor_at_a_time(levels, count):
            size = _best_size(probe.run(raws), centre)
            if size is None:
                break
            # Exporters write anchors in single precision; the trainer's are whole or tidy numbers.
            anchors[level].append((round(size[0], 4), round(size[1], 4)))
        else:
            return replace(hypothesis, anchors=tuple(tuple(level) for level in anchors))
    return None


def _best_size(results: list[np.ndarray], centre: tuple[float, float]) -> tuple[float, float] | None:
    """Width and height of the best box in a tail's answer, if it lies around `centre`; all in pixels."""
    for rows in tables(results):
        if rows.shape[1] < 5 or not len(rows):
            continue
        boxes, scores = (
            (rows[:, 1:5], rows[:, 6:]) if rows.shape[1] == 7 and len(rows) == 1 else (rows[:, :4], rows[:, 4:])
        )
        x, y, right, bottom = (float(side) for side in boxes[np.argmax(scores.max(axis=1))])
        for middle, size in (((x, y), (right, bottom)), (((x + right) / 2, (y + bottom) / 2), (right - x, bottom - y))):
            if np.allclose(middle, centre, atol=0.1) and min(size) > 0:
                return size
    return None


def _describe(hypothesis: Hypothesis, levels: Levels, nms: bool, how: str = "") -> Head:
    outputs = tuple(
        HeadOutput(name, f"{role}_{level}", role, level, levels.raws[name])
        for level, tensors in enumerate(hypothesis.tensors)
        for role, name in tensors
    )
    family = (hypothesis.form, "one-to-many" if nms else "one-to-one", how)
    return Head(
        box=hypothesis.form,
        score="logit",
        reg_max=hypothesis.reg_max,
        objectness=hypothesis.objectness,
        nms=nms,
        strides=hypothesis.strides,
        anchors=hypothesis.anchors,
        outputs=outputs,
        classes=hypothesis.classes(levels.raws),
        family=", ".join(word for word in family if word),
    )


def _unknown(levels: Levels, view: View) -> str:
    channels = "; ".join(
        f"stride {stride}: "
        + ", ".join(f"{conv.name!r} {conv.outputs[0].shape[1]} channels" for conv in levels.by_stride[stride])
        for stride in levels.strides
    )
    value = view.values[0]
    last = value.producer()
    return (
        f"unknown head: {_guess(levels, view)} explains output {value.name!r} {value.shape} (made by"
        f" {last.op_type} {last.name!r}, {len(view.tail)} nodes after the last convolutions: {channels});"
        " if it is decoded already, say so with --head dense-cxcywh, dense-xyxy or end2end"
    )


def _guess(levels: Levels, view: View) -> str:
    """What the graph seems to be, for the refusal."""
    kinds = {node.op_type for node in view.tail}
    if kinds & {"GridSample", "LayerNormalization"}:
        return "a transformer decoder (RT-DETR and the like are not supported), no known structure"
    if kinds & {"Einsum", "ReduceL2", "LpNormalization"}:
        return "an open-vocabulary head (YOLO-World and the like are not supported), no known structure"
    extra = [level[-1] for level in levels.channels if len(level) == 3]
    if extra:
        kind = "an angle" if extra[0] == 1 else "masks" if extra[0] == 32 else "keypoints or masks"
        return f"a third tensor a level ({kind}? only object detection is supported), no known structure"
    return "no known structure"
