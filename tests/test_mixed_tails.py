# SPDX-License-Identifier: Apache-2.0
"""Tails of a graph against the whole, in ONNX Runtime and in the search's engine."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from mixed_subject import make_plan, make_subject
from yoloq_quantize.mixed.plans import part_of
from yoloq_quantize.mixed.switchboard import INPUT, Switchboard, switchable, switches_of
from yoloq_quantize.mixed.tails import Tail, cut
from yoloq_quantize.runner import with_outputs
from yoloq_quantize.subject import Plan, Subject

Made = tuple[Subject, Plan, ir.Model]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    subject = make_subject(tmp_path_factory.mktemp("tails"))
    plan = make_plan(subject)
    return subject, plan, switchable(subject.graph, plan, "uint8", switches_of(plan.placement))


def run(model: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    wanted = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {k: v for k, v in feeds.items() if k in wanted}), strict=True))


def states(subject: Subject, plan: Plan) -> dict[str, np.ndarray]:
    board = Switchboard(subject, plan)
    return {name: board.state(part_of(subject, plan, (name,))) for name in plan.placement.weighted}


def switched(model: ir.Model) -> list[int]:
    """Where switches have their effect."""
    return [index for index, node in enumerate(model.graph) if "/switch_" in node.name and node.op_type == "Mul"]


def test_every_cut_computes_the_same(made: Made) -> None:
    """With what comes before it from the graph itself, all switches on: a tail is nothing but the rest of the graph."""
    subject, _, model = made
    feeds = {"images_u8": subject.pictures[0], INPUT: np.ones(model.graph.inputs[-1].shape[0], np.float32)}
    whole, count = run(model, feeds), len(list(model.graph))
    sizes = set()
    assert len(switched(model)) > 20
    for start in [0, *switched(model)]:
        tail, borders = cut(model, start, INPUT)
        sizes.add(len(list(tail.graph)))
        given = run(with_outputs(model, list(borders)), feeds) if borders else {}
        for name, found in run(tail, {**feeds, **given}).items():
            np.testing.assert_array_equal(found, whole[name])
    assert max(sizes) == count and min(sizes) < 20


def test_late_layers_run_little_and_give_what_the_whole_gives(made: Made) -> None:
    subject, plan, model = made
    wanted, picture = states(subject, plan), subject.pictures[0]
    nothing = np.zeros(model.graph.inputs[-1].shape[0], np.float32)
    whole = Tail(model, 0, INPUT)
    whole.enter(picture, nothing)
    tails = list(Switchboard(subject, plan).tails(list(wanted.values())))
    assert len(tails) > 2 and sorted(index for _, members in tails for index in members) == list(range(len(wanted)))
    for tail, members in tails:
        tail.enter(picture, nothing)
        for index in members:
            state = list(wanted.values())[index]
            found, expected = tail.run(state), whole.run(state)
            for name, tensor in expected.items():
                np.testing.assert_allclose(found[name], tensor, atol=1e-4 * tensor.std())


def test_a_tail_that_begins_too_late_shows(made: Made) -> None:
    """The comparison can fail: the stem's switch has no effect on a tail that begins behind it."""
    subject, plan, model = made
    state, picture = states(subject, plan)["stem"], subject.pictures[0]
    results = []
    for start in (0, switched(model)[len(switched(model)) // 2]):
        tail = Tail(model, start, INPUT)
        tail.enter(picture, np.zeros_like(state))
        results.append(tail.run(state))
    assert any(np.abs(results[0][name] - results[1][name]).max() > 1e-3 for name in results[0])
