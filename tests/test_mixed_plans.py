# SPDX-License-Identifier: Apache-2.0
"""Parts of plans: fewer nodes in INT8, the same numbers for the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixed_subject import make_plan, make_subject
from yoloq_quantize.mixed.plans import narrowed, part_of, widest
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
