# SPDX-License-Identifier: Apache-2.0
"""Sensitivity on a detector with one layer that INT8 hurts on purpose."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from mixed_subject import HURT, make_plan, make_subject
from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.plans import narrowed
from yoloq_quantize.mixed.sensitivity import Sensitivity, find_units, layer_sqnr, measure_sensitivity
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Plan, Subject, quantized

Measured = tuple[Subject, Plan, Objective, Sensitivity]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    subject = make_subject(tmp_path_factory.mktemp("sensitivity"))
    plan = make_plan(subject)
    objective = Objective(subject)
    return subject, plan, objective, measure_sensitivity(subject, plan, objective)


def test_the_layer_that_is_hurt_comes_first(measured: Measured) -> None:
    *_, result = measured
    errors = result.by_layer()
    assert max(errors, key=errors.get) == HURT
    rest = sorted(errors.values())[-2]
    assert errors[HURT] > 3 * rest
    gains = {row.unit.name: row.gain for row in result.rows if row.unit.kind == "layer"}
    assert max(gains, key=gains.get) == HURT and gains[HURT] > result.whole / 2


def test_figures_are_those_of_compiled_graphs(measured: Measured) -> None:
    """The switchboard's shortcut against real QDQ graphs: one layer only, and all but one."""
    subject, plan, objective, result = measured
    row = next(row for row in result.rows if row.unit.name == HURT)
    others = set(plan.placement.weighted) - {HURT}
    alone = objective.raw(Runner(quantized(subject, narrowed(subject, plan, others))).run).error
    without = objective.raw(Runner(quantized(subject, narrowed(subject, plan, (HURT,)))).run).error
    assert row.only == pytest.approx(alone, rel=0.05)
    assert result.whole - row.gain == pytest.approx(without, rel=0.1)


def test_every_kind_of_unit_is_found(measured: Measured) -> None:
    subject, plan, *_ = measured
    units = find_units(subject, plan)
    assert [unit.name for unit in units if unit.kind == "layer"] == list(plan.placement.weighted)
    branches = {unit.name: unit.nodes for unit in units if unit.kind == "branch"}
    assert branches["score_0_b.y"] == ("score_0", "score_0_a")
    scales = [unit for unit in units if unit.kind == "scale"]
    assert [unit.name for unit in scales] == ["scale of concat"]
    assert set(scales[0].nodes) == set(next(group for group in plan.placement.groups if len(group) > 1))


def test_sqnr_is_what_onnx_runtime_gives(measured: Measured) -> None:
    subject, plan, *_ = measured
    found = layer_sqnr(subject, plan)
    assert sorted(found) == sorted(plan.placement.weighted)

    def run(model: ir.Model, picture: np.ndarray) -> np.ndarray:
        proto = ir.to_proto(model)
        del proto.graph.output[:]
        proto.graph.output.add().name = "merge.y"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return ort.InferenceSession(proto.SerializeToString(), options).run(None, {"images_u8": picture})[0]

    signal = noise = 0.0
    for picture in subject.pictures.spread(2):
        ours, theirs = run(subject.graph, picture), run(quantized(subject, plan), picture)
        signal += (ours.astype(np.float64) ** 2).sum()
        noise += ((ours.astype(np.float64) - theirs) ** 2).sum()
    assert found["merge"] == pytest.approx(10 * np.log10(signal / noise), abs=0.3)
