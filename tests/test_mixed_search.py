# SPDX-License-Identifier: Apache-2.0
"""The search on a detector with one layer that INT8 hurts on purpose: it must find that one, and only what it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mixed_subject import COST, HURT, make_plan, make_subject
from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.plans import int8_share, widest
from yoloq_quantize.mixed.search import mixed_precision
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.summary import multiply_adds


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Plan, Objective]:
    subject = make_subject(tmp_path_factory.mktemp("search"))
    return subject, make_plan(subject), Objective(subject)


def test_it_keeps_the_hurt_layer_in_float_and_little_else(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    bare = mixed_precision(subject, plan, objective, 100.0, 0.5)
    assert bare.met and bare.kept_float == () and bare.plan.placement == plan.placement
    limit = bare.loss / 3
    found = mixed_precision(subject, plan, objective, limit, 0.5)
    assert found.met and found.loss <= limit
    assert HURT in found.kept_float and len(found.kept_float) <= 3
    assert set(found.plan.placement.weighted) == set(plan.placement.weighted) - set(found.kept_float)
    share = int8_share(multiply_adds(subject.graph), found.plan.placement.weighted)
    assert found.int8_macs == pytest.approx(share) and share >= 0.5
    assert f"{len(found.kept_float)} nodes in float" in found.message(limit)


def test_a_limit_that_cannot_be_kept_is_said(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    found = mixed_precision(subject, plan, objective, 1e-9, 0.999)
    assert not found.met
    assert "cannot keep the loss under 0.00 points" in found.message(1e-9) and HURT in found.message(1e-9)
    assert found.int8_macs >= 0.999 or found.kept_float == ()


def test_the_share_of_int8_is_kept(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    macs = multiply_adds(subject.graph)
    possible = int8_share(macs, plan.placement.weighted)
    found = mixed_precision(subject, plan, objective, 1e-9, possible - 0.05)
    assert all(step.int8_macs >= possible - 0.05 for step in found.steps)
    assert len(found.steps) >= 2


def test_the_same_twice(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    one, two = (mixed_precision(subject, plan, objective, 1.0, 0.6) for _ in range(2))
    assert one.kept_float == two.kept_float and one.steps == two.steps


def test_the_rule_is_tried_too(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    scheme = subject.target.place
    rule = replace(scheme, float_last={"one_to_one": {"box": 2, "score": 2}, "one_to_many": {"box": 1, "score": 1}})
    ruled = replace(subject, target=replace(subject.target, place=rule))
    assert widest(rule).float_last["one_to_one"] == {"box": 1, "score": 1}
    found = mixed_precision(ruled, plan, objective, 1e-9, 0.5)
    assert {"box_0_a", "box_1_a", "score_0_a", "score_1_a"} in [set(step.kept_float) for step in found.steps]


def test_nodes_that_int8_makes_no_faster_are_float_from_the_start(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    slow = {**COST, "int8": {**COST["int8"], "depthwise": 9.0, "node": 4000.0}}  # dear to start: small layers lose
    target = replace(subject.target, cost=slow)
    found = mixed_precision(replace(subject, target=target), plan, objective, 100.0, 0.5)
    assert found.met and len(found.steps) == 1
    assert {"box_1_a", "score_1_a"} <= set(found.kept_float)  # 16 cells of 8 x 8 channels
    assert "stem" not in found.kept_float  # 256 cells of 8 x 27: INT8 saves far more than it costs
    assert found.int8_macs >= 0.5
