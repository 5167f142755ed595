# SPDX-License-Identifier: Apache-2.0
"""The switchboard against ONNX Runtime: all on it is the QDQ graph, all off the float graph, in between what the QDQ
graph of that part is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from mixed_subject import HURT, make_plan, make_subject
from yoloq_quantize.mixed.plans import narrowed, part_of
from yoloq_quantize.mixed.switchboard import Switchboard
from yoloq_quantize.params import TensorParams
from yoloq_quantize.subject import Plan, Subject, quantized


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Plan]:
    subject = make_subject(tmp_path_factory.mktemp("switchboard"))
    plan = make_plan(subject)
    biases = {"inner": np.full(4, 0.25, np.float32)}
    return subject, Plan(plan.placement, replace(plan.params, biases=biases))


def by_onnx_runtime(model: ir.Model, picture: np.ndarray) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images_u8": picture}), strict=True))


def answers(board: Switchboard, picture: np.ndarray, state: np.ndarray) -> dict[str, np.ndarray]:
    """By the latest tail that the state allows."""
    ((tail, members),) = board.tails([state])
    assert members == [0]
    tail.enter(picture, np.zeros_like(state))
    return tail.run(state)


def worst(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Largest difference of a tensor, mean of squares against its variance, root."""
    assert ours.keys() == theirs.keys()
    return max(float(np.sqrt(np.mean((ours[k] - theirs[k]) ** 2)) / theirs[k].std()) for k in ours)


def test_all_off_is_the_float_graph(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    board = Switchboard(subject, plan)
    for picture in subject.pictures:
        got = answers(board, picture, np.zeros(len(board.switches), np.float32))
        assert worst(got, by_onnx_runtime(subject.graph, picture)) < 1e-4


def test_all_on_is_the_quantised_graph(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    board, graph = Switchboard(subject, plan), quantized(subject, plan)
    for picture in subject.pictures:
        reference = by_onnx_runtime(graph, picture)
        got = answers(board, picture, board.state(plan.placement))
        assert worst(by_onnx_runtime(subject.graph, picture), reference) > 0.05  # INT8 is not float
        assert worst(got, reference) < 0.005  # a rounding may fall the other way where float sums differ in order


@pytest.mark.parametrize("kept", [("stem",), (HURT, "merge"), ("inner", "deep", "box_0")])
def test_a_part_is_the_quantised_graph_of_that_part(planned: tuple[Subject, Plan], kept: tuple[str, ...]) -> None:
    subject, plan = planned
    board = Switchboard(subject, plan)
    part = part_of(subject, plan, set(plan.placement.weighted) - set(kept))
    graph = quantized(subject, narrowed(subject, plan, kept))
    for picture in subject.pictures:
        assert worst(answers(board, picture, board.state(part)), by_onnx_runtime(graph, picture)) < 0.005


def test_a_wrong_scale_shows(planned: tuple[Subject, Plan]) -> None:
    """The comparison can fail: one scale a tenth too large in the switchboard alone."""
    subject, plan = planned
    activations = dict(plan.params.activations)
    name = "stem.y.a"
    wrong = TensorParams(1.1 * activations[name].scale, activations[name].zero_point)
    board = Switchboard(subject, Plan(plan.placement, replace(plan.params, activations={**activations, name: wrong})))
    picture = subject.pictures[0]
    got = answers(board, picture, board.state(plan.placement))
    assert worst(got, by_onnx_runtime(quantized(subject, plan), picture)) > 0.005
