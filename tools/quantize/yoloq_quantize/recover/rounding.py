# SPDX-License-Identifier: Apache-2.0
"""Rounding of a convolution's weights so that their errors cancel where its inputs move together.

For an output y = w x the mean squared error of rounded weights w' is (w - w') H (w - w')^T with H = E[x x^T]; rounding
each weight to the nearest integer minimises it only if inputs were independent, which pixels beside each other are not.
Weights are rounded one after the other, the one whose input is strongest first, and each takes back what those before
it did to the output (Frantar et al., "GPTQ", 2022; here as Babai's nearest plane, which is the same: Chen et al., "The
geometry of LLM quantization", 2025). Scales stay, and every weight stays one of the two integers around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from yoloq_quantize.params import WeightParams
from yoloq_quantize.recover.patches import Window
from yoloq_quantize.runner import Runner, with_outputs
from yoloq_quantize.subject import Plan, Subject

PICTURES = 64
PLACES = 1 << 15  # of a convolution's output that H is measured at, over all pictures
DAMPING = 0.01  # of the mean of H's diagonal, added to it: what few pictures do not show may move otherwise
QUIET = 1e-12  # added too: inputs that are always 0 have no say
CHUNK_BYTES = 1 << 28  # of H at once: one pass over the pictures each
BLOCK = 64  # columns between two updates of all the rest
SEED = 0


def round_together(subject: Subject, plan: Plan, pictures: int = PICTURES) -> Plan:
    """The plan with new `stored` integers for its weighted two-dimensional convolutions."""
    nodes = {node.name: node for node in subject.graph.graph}
    wanted = [nodes[name] for name in plan.placement.weighted if nodes[name].op_type == "Conv"]
    wanted = [node for node in wanted if len(node.inputs[1].shape) == 4]
    stream = subject.pictures.spread(pictures)
    weights = dict(plan.params.weights)
    chunks = list(_chunks(wanted))
    work = [(chunk, index) for chunk in chunks for index in range(len(stream))]
    moments: dict[str, np.ndarray] = {}
    runner = None
    for chunk, index in subject.progress(work, "rounding"):
        if index == 0:
            runner, moments = Runner(with_outputs(subject.graph, _inputs(chunk))), {}
        generator = np.random.default_rng((SEED, index))
        _add(moments, chunk, runner.run(stream[index]), PLACES // len(stream) + 1, generator)
        if index == len(stream) - 1:
            for node in chunk:
                limits = subject.target.weights.limits
                weights[node.name] = _rounded(node, weights[node.name], moments.pop(node.name), limits)
    return replace(plan, params=replace(plan.params, weights=weights))


def _inputs(chunk: Sequence[ir.Node]) -> list[str]:
    return list(dict.fromkeys(node.inputs[0].name for node in chunk))


def _chunks(nodes: Sequence[ir.Node]) -> Iterator[list[ir.Node]]:
    """Nodes whose H fit into CHUNK_BYTES together."""
    chunk: list[ir.Node] = []
    held = 0
    for node in nodes:
        groups, width = node.attributes.get_int("group", 1), int(np.prod([int(s) for s in node.inputs[1].shape[1:]]))
        size = 8 * groups * width**2
        if chunk and held + size > CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
        chunk.append(node)
        held += size
    if chunk:
        yield chunk


def _add(
    moments: dict[str, np.ndarray],
    chunk: Sequence[ir.Node],
    values: dict[str, np.ndarray],
    count: int,
    generator: np.random.Generator,
) -> None:
    """Adds a picture's sums of x x^T [groups, K, K], float64."""
    for node in chunk:
        seen = Window.of(node).patches(values[node.inputs[0].name][0], count, generator)
        sums = np.matmul(seen.transpose(0, 2, 1), seen)
        if node.name in moments:
            moments[node.name] += sums
        else:
            moments[node.name] = sums.astype(np.float64)


def _rounded(node: ir.Node, old: WeightParams, moment: np.ndarray, limits: tuple[int, int]) -> WeightParams:
    weight = node.inputs[1].const_value.numpy().astype(np.float64)
    groups, width = moment.shape[:2]
    scales = np.broadcast_to(old.scales.astype(np.float64), weight.shape[:1]).reshape(groups, -1, 1)
    steps = weight.reshape(groups, -1, width) / scales
    stored = nearest_plane(steps, moment, limits)
    return replace(old, stored=stored.reshape(weight.shape).astype(old.stored.dtype))


def nearest_plane(steps: np.ndarray, moment: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """Integers [groups, out, K] beside `steps` (weights over their scales) that make e H e^T small for every row e of
    the errors. `moment`: H [groups, K, K]. With H = L L^T the error is |e L|^2: from the last column on, each integer
    is the one that makes its entry of e L least, the columns after it being decided."""
    order = np.argsort(np.einsum("gkk->gk", moment), axis=1, kind="stable")
    moment = np.take_along_axis(np.take_along_axis(moment, order[:, :, None], 1), order[:, None, :], 2)
    diagonal = np.einsum("gkk->gk", moment)  # a view
    diagonal += DAMPING * diagonal.mean(axis=1, keepdims=True) + QUIET
    factor = np.linalg.cholesky(moment)
    steps = np.take_along_axis(steps, order[:, None, :], 2)
    low, high = (np.clip(end(steps), *limits) for end in (np.floor, np.ceil))
    found, error, pushed = np.empty_like(steps), np.empty_like(steps), np.zeros_like(steps)
    for end in range(steps.shape[2], 0, -BLOCK):
        start = max(0, end - BLOCK)
        for column in range(end - 1, start - 1, -1):
            aim = steps[..., column] + pushed[..., column] / factor[:, None, column, column]
            found[..., column] = np.clip(np.rint(aim), low[..., column], high[..., column])
            error[..., column] = steps[..., column] - found[..., column]
            pushed[..., start:column] += error[..., column, None] * factor[:, None, column, start:column]
        pushed[..., :start] += error[..., start:end] @ factor[:, start:end, :start]
    result = np.empty_like(found)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], found.shape), found, 2)
    return result
