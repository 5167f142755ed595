# SPDX-License-Identifier: Apache-2.0
"""Step `head`: finds the detection head by what the graph computes, never by names.

The tail of a detector is what lies between its last convolutions and its output. The tail runs alone, on made-up
convolution results, and what comes out is compared with every head structure that its channels allow (head_math).
Exactly one must reproduce it: box form, bins, strides, cell offsets, anchors and scores are read off the graph's own
arithmetic, whatever operators the exporter wrote it in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head_math import Hypothesis, anchors_from_probe, channel_roles, explains

SEED = 20
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


def find_head(model: ir.Model, classes: int | None = None) -> Head:
    """Finds the head of a float model [1, 3, h, w] whose shapes are inferred and constants folded.

    `classes`: the number of class names, if known; a head that disagrees is refused.
    """
    graph = model.graph
    convolutions, tail = _last_convolutions(graph.outputs[0])
    levels = _levels(convolutions, graph.inputs[0].shape)
    strides = tuple(sorted(levels))
    raws = {conv.outputs[0].name: tuple(conv.outputs[0].shape) for stride in strides for conv in levels[stride]}
    has_nms = any(node.op_type == "NonMaxSuppression" for node in tail)
    probe = _Probe(graph, convolutions)
    for hypothesis in _hypotheses(levels, strides, probe):
        random = probe.random(raws)
        result = probe.run(random)
        form = explains(hypothesis, random, result, has_nms)
        if form:
            head = _describe(hypothesis, raws, nms=has_nms or form == "dense")
            if classes is not None and head.classes != classes:
                raise QuantizeError(f"the head has {head.classes} classes, but {classes} class names were given")
            return head
    raise QuantizeError(_found(levels, strides, graph.outputs[0], tail))


def passthrough_head(model: ir.Model, form: str, classes: int | None) -> Head:
    """An already decoded head, left in the graph: `form` is one of PASSTHROUGH, said by the user."""
    if form not in PASSTHROUGH:
        raise QuantizeError(f"unknown head {form!r}; expected one of: auto, {', '.join(PASSTHROUGH)}")
    value = model.graph.outputs[0]
    shape = _static(value)
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


def _last_convolutions(output: ir.Value) -> tuple[list[ir.Node], list[ir.Node]]:
    """Convolutions reached backwards from the output before any other, and the nodes in between."""
    convolutions: list[ir.Node] = []
    tail: list[ir.Node] = []
    seen: set[ir.Node] = set()
    waiting = [output.producer()]
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
    if not convolutions:
        raise QuantizeError(f"no convolution leads to output {output.name!r}; this is not a YOLO detector")
    return convolutions, tail


def _is_bin_mean(node: ir.Node) -> bool:
    """A 1x1 convolution with the weights 0, 1, 2, ...: the mean bin of a distribution, part of the decode."""
    weight = node.inputs[1].const_value
    if weight is None or len(weight.shape) != 4 or weight.shape[0] != 1 or weight.shape[1] < 2:
        return False
    return np.array_equal(weight.numpy().reshape(-1), np.arange(weight.shape[1]))


def _static(value: ir.Value) -> tuple[int, ...]:
    if value.shape is None or not all(isinstance(side, int) for side in value.shape):
        raise QuantizeError(f"the shape of {value.name!r} cannot be inferred; export the model with static shapes")
    return tuple(int(side) for side in value.shape)


def _levels(convolutions: list[ir.Node], input_shape: ir.Shape) -> dict[int, list[ir.Node]]:
    """Stride in pixels -> that level's last convolutions, ordered by channels then name-free graph order."""
    height, width = int(input_shape[2]), int(input_shape[3])
    levels: dict[int, list[ir.Node]] = {}
    for conv in convolutions:
        shape = _static(conv.outputs[0])
        if len(shape) != 4 or height % shape[2] or width % shape[3] or height // shape[2] != width // shape[3]:
            raise QuantizeError(
                f"last convolution {conv.name!r} gives {list(shape)}, no grid over the"
                f" {height}x{width} input; only YOLO grid heads are known (see --head)"
            )
        levels.setdefault(height // shape[2], []).append(conv)
    order = {node: index for index, node in enumerate(convolutions[0].graph)}
    for convs in levels.values():
        convs.sort(key=lambda conv: order[conv])
    return levels


class _Probe:
    """Runs the tail alone: raw convolution results in, the model's output out, float32."""

    def __init__(self, graph: ir.Graph, convolutions: list[ir.Node]) -> None:
        tail = ir.convenience.extract(graph, [conv.outputs[0] for conv in convolutions], [graph.outputs[0]])
        model = ir.Model(tail, ir_version=8)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    @staticmethod
    def random(raws: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Numbers that no two structures turn into the same boxes."""
        generator = np.random.default_rng(SEED)
        return {name: generator.normal(0, 1.5, shape).astype(np.float32) for name, shape in raws.items()}

    def run(self, raws: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(self.session.run(None, raws)[0], dtype=np.float64)


def _hypotheses(levels: dict[int, list[ir.Node]], strides: tuple[int, ...], probe: _Probe) -> list[Hypothesis]:
    """Every structure that the channels of the last convolutions allow."""
    channels = [[int(conv.outputs[0].shape[1]) for conv in levels[stride]] for stride in strides]
    grids = [tuple(int(side) for side in levels[stride][0].outputs[0].shape[2:]) for stride in strides]
    found = []
    for roles in product(*(channel_roles(level) for level in channels)):
        if len({(role.roles_by_channels(level)) for role, level in zip(roles, channels, strict=True)}) != 1:
            continue
        tensors = tuple(
            tuple((role, levels[stride][index].outputs[0].name) for role, index in assignment.by_role)
            for stride, assignment in zip(strides, roles, strict=True)
        )
        for form in roles[0].forms:
            hypothesis = Hypothesis(
                form=form, reg_max=roles[0].reg_max, strides=strides, grids=tuple(grids), tensors=tensors, anchors=None
            )
            if form == "anchor":
                hypothesis = anchors_from_probe(hypothesis, probe.run, channels)
                if hypothesis is None:
                    continue
            found.append(hypothesis)
    return found


def _describe(hypothesis: Hypothesis, raws: dict[str, tuple[int, ...]], nms: bool) -> Head:
    outputs = tuple(
        HeadOutput(name, f"{role}_{level}", role, level, raws[name])
        for level, tensors in enumerate(hypothesis.tensors)
        for role, name in tensors
    )
    objectness = hypothesis.form == "anchor" or any(output.role == "objectness" for output in outputs)
    return Head(
        box=hypothesis.form,
        score="logit",
        reg_max=hypothesis.reg_max,
        objectness=objectness,
        nms=nms,
        strides=hypothesis.strides,
        anchors=hypothesis.anchors,
        outputs=outputs,
        classes=hypothesis.classes(raws),
        family=f"{hypothesis.form}, {'one-to-many' if nms else 'one-to-one'}",
    )


def _found(levels: dict[int, list[ir.Node]], strides: tuple[int, ...], output: ir.Value, tail: list[ir.Node]) -> str:
    channels = "; ".join(
        f"stride {stride}: "
        + ", ".join(f"{conv.name!r} {conv.outputs[0].shape[1]} channels" for conv in levels[stride])
        for stride in strides
    )
    last = output.producer()
    return (
        f"unknown head: no known structure explains output {output.name!r} {output.shape} (made by"
        f" {last.op_type} {last.name!r}, {len(tail)} nodes after the last convolutions: {channels});"
        " if it is decoded already, say so with --head dense-cxcywh, dense-xyxy or end2end"
    )
