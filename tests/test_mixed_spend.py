# SPDX-License-Identifier: Apache-2.0
"""Spending on a detector with one layer that INT8 hurts on purpose: it is bought first, and no more than allowed."""

from __future__ import annotations

import pytest

from mixed_subject import HURT, make_plan, make_subject
from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.plans import int8_share
from yoloq_quantize.mixed.spend import Purse, spend
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Plan, Subject, quantized
from yoloq_quantize.summary import multiply_adds


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Plan, Objective]:
    subject = make_subject(tmp_path_factory.mktemp("spend"))
    return subject, make_plan(subject), Objective(subject)


def test_the_hurt_layer_is_bought_first(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    found = spend(subject, plan, objective, Purse(0.5, 0.3))
    assert found.kept_float[0] == HURT and 0.5 < found.error <= 1
    assert found.time <= 0.5
    assert set(found.plan.placement.weighted) == set(plan.placement.weighted) - set(found.kept_float)
    before, after = (objective.raw(Runner(quantized(subject, each)).run).error for each in (plan, found.plan))
    assert after < before / 2


def test_nothing_is_bought_with_nothing(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    found = spend(subject, plan, objective, Purse(0.0, 0.0))
    assert found.time <= 0 and HURT not in found.kept_float


def test_nothing_is_bought_where_the_error_is_small_enough(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    needed = spend(subject, plan, objective, Purse(0.5, 0.3))
    raw = objective.raw(Runner(quantized(subject, plan)).run, len(objective.stream)).error
    assert needed.raw_error == raw > 0
    spared = spend(subject, plan, objective, Purse(0.5, 0.3, enough=raw))
    assert spared.plan is plan and spared.kept_float == () and spared.time == 0 and spared.raw_error == raw
    assert spend(subject, plan, objective, Purse(0.5, 0.3, enough=raw * 0.99)).kept_float == needed.kept_float
    little = spend(subject, plan, objective, Purse(9.0, 0.3, 0.5, raw))
    assert little.kept_float == needed.kept_float and little.time == needed.time


def test_the_share_of_int8_is_kept(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    macs = multiply_adds(subject.graph)
    least = int8_share(macs, plan.placement.weighted) - 0.05
    found = spend(subject, plan, objective, Purse(1.0, least))
    assert int8_share(macs, found.plan.placement.weighted) >= least


def test_the_same_twice(planned: tuple[Subject, Plan, Objective]) -> None:
    subject, plan, objective = planned
    one, two = (spend(subject, plan, objective, Purse(0.3, 0.5)) for _ in range(2))
    assert one.kept_float == two.kept_float and one.time == two.time
