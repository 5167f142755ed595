# SPDX-License-Identifier: Apache-2.0
"""Parts of plans: fewer nodes in INT8, the same numbers for the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from exact import exact_session
from mixed_subject import make_plan, make_subject
from yoloq_quantize.mixed.plans import narrowed, part_of, plan_runner, widest
from yoloq_quantize.place import place
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, quantized


def test_the_widest_scheme_leaves_the_last_operator_of_each_branch(tmp_path: Path) -> None:
    scheme = widest(load_target("cpu").place)
    assert all(depth <= 1 for roles in scheme.float_last.values() for depth in roles.values())
    plan = make_plan(make_subject(tmp_path))
    assert sorted(plan.placement.kept_float) == ["box_0_b", "box_1_b", "score_0_b", "score_1_b"]


def test_a_narrowed_plan_is_what_place_would_make(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    plan = make_plan(subject)
    kept = {"merge", "score_0"}
    narrow = narrowed(subject, plan, kept)
    expected = place(subject.graph, widest(subject.target.place), subject.head, frozenset(kept))
    assert narrow.placement.edges == expected.edges and narrow.placement.weighted == expected.weighted
    assert narrow.params.activations == {name: plan.params.activations[name] for name in expected.edges}
    assert set(narrow.params.weights) == set(plan.placement.weighted) - kept
    quantized(subject, narrow)  # it can be inserted: nothing that it needs is missing
    assert narrowed(subject, plan, ()).placement == plan.placement


def test_biases_of_float_nodes_go(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    plan = make_plan(subject)
    biases = {"merge": np.zeros(8, np.float32), "deep": np.ones(8, np.float32)}
    plan = Plan(plan.placement, type(plan.params)(plan.params.activations, plan.params.weights, biases))
    assert list(narrowed(subject, plan, ("merge",)).params.biases) == ["deep"]


def test_nodes_that_the_plan_keeps_in_float_stay_there(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    plan = make_plan(subject)
    assert part_of(subject, plan, ("stem", "box_0_b")).weighted == ("stem",)
    assert part_of(subject, plan, ()).edges == {}


@pytest.mark.parametrize("small", [True, False])
def test_integers_are_left_to_the_engine_only_where_every_cpu_adds_them_exactly(tmp_path: Path, small: bool) -> None:
    """`small`: weights are kept small for it, as the target cpu does and no chip."""
    subject = make_subject(tmp_path, hurt=False)
    weights = replace(subject.target.weights, pair_sums=small)
    subject = replace(subject, target=replace(subject.target, weights=weights))
    plan = make_plan(subject)
    runner = plan_runner(subject, plan)
    done = [node.get_rt_info() for node in runner._compiled.get_runtime_model().get_ops()]
    kinds = {info["runtimePrecision"].astype(str) for info in done if info["layerType"].astype(str) == "Convolution"}
    assert bool(kinds & {"i8", "u8"}) == small, kinds
    session = exact_session(ir.to_proto(quantized(subject, plan)))
    names = [output.name for output in session.get_outputs()]
    for picture in subject.pictures:
        found = runner.run(picture)
        for name, wanted in zip(names, session.run(names, {"images_u8": picture}), strict=True):
            assert np.sqrt(np.mean((found[name] - wanted) ** 2)) < 0.02 * wanted.std()
