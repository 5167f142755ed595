# SPDX-License-Identifier: Apache-2.0
"""The cost model: counts by hand on a small network, and what the rates make of them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixed_subject import SIDE, make_plan, make_subject
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.mixed.cost import RATES, CostModel, rates_of
from yoloq_quantize.mixed.plans import int8_share, part_of
from yoloq_quantize.place import place
from yoloq_quantize.recover.prescale import prescale
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Subject
from yoloq_quantize.summary import multiply_adds


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Plan]:
    subject = make_subject(tmp_path_factory.mktemp("cost"))
    return subject, make_plan(subject)


def test_counts_are_what_one_counts_by_hand(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    features = CostModel(subject.graph, rates_of(subject.target)).features(plan.placement)
    stem, last = features["stem"], features["box_0_b"]
    cells = (SIDE // 4) ** 2
    assert (stem.precision, stem.mac, stem.activation) == ("int8", cells * 8 * 3 * 9, cells * 8)
    assert stem.byte == SIDE * SIDE * 3 + cells * 8
    cells = (SIDE // 8) ** 2
    assert (last.precision, last.mac, last.activation) == ("float", cells * 4 * 8, 0)
    assert last.byte == 4 * cells * (8 + 4)
    assert features["concat"].byte == 2 * cells * 12 and features["concat"].precision == "int8"


def test_a_float_node_among_integers_makes_conversions(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    model = CostModel(subject.graph, rates_of(subject.target))
    assert model.converted(plan.placement) == {}
    part = part_of(subject, plan, set(plan.placement.weighted) - {"score_0"})
    # Box branch and deep layer read the same tensor quantised.
    assert model.converted(part) == {"merge.y.a": (SIDE // 8) ** 2 * 8}


def test_a_scale_for_each_channel_costs_what_float_readers_get_back(planned: tuple[Subject, Plan]) -> None:
    """The Mul before a quantisation is the convolution's; the one that undoes it for a float reader is a conversion."""
    subject, plan = planned
    scaled = prescale(subject, plan.placement)
    assert len(scaled.values) == len(plan.placement.edges) > 0
    placement = place(scaled.subject.graph, subject.target.place, subject.head)
    models = [CostModel(one.graph, rates_of(subject.target)) for one in (subject, scaled.subject)]
    before, after = models[0].features(plan.placement), models[1].features(placement)
    assert {name: after[name] for name in before} == before
    given_back = {node.inputs[0].name for node in scaled.subject.graph.graph if node.name.endswith("/unscaled/Mul")}
    assert set(models[1].converted(placement)) - set(models[0].converted(plan.placement)) == given_back == {"right"}


def test_float_costs_more_by_the_targets_rates(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    model = CostModel(subject.graph, rates_of(subject.target))
    times = [model.time(part_of(subject, plan, plan.placement.weighted[:count])) for count in (0, 4, 12)]
    assert times[0] > times[1] > times[2] > 0
    zero = {name: dict.fromkeys(RATES, 0.0) for name in ("int8", "float")}
    only_macs = {**zero, "float": {**zero["float"], "mac": 1.0}, "convert": {"element": 0.0}}
    nothing = part_of(subject, plan, ())
    assert CostModel(subject.graph, only_macs).time(nothing) == sum(multiply_adds(subject.graph).values())


def test_blocks_of_channels_and_overlap_are_counted_as_the_chip_does(planned: tuple[Subject, Plan]) -> None:
    """RK3588's layers as its compiler counts them: 32 inputs by 32 outputs, 8 activated elements a cycle."""
    subject, plan = planned
    rates = rates_of(load_target("rk3588"))
    model = CostModel(subject.graph, rates)
    stem = model.features(plan.placement)["stem"]  # 3 -> 8 channels, 3 by 3
    cells = (SIDE // 4) ** 2
    assert stem.mac == cells * 9 * 32 * 32 and stem.activation == cells * 8
    assert stem.time(rates) == pytest.approx(cells * 9, rel=0.01)  # cycles: more than for 8 activations or 20 bytes
    in_float = model.features(part_of(subject, plan, ()))["stem"]
    assert in_float.mac == cells * 9 * 32 * 16 and in_float.time(rates) == pytest.approx(cells * 9, rel=0.01)


def test_what_a_float_convolution_converts_is_counted(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    zero = {name: dict.fromkeys(RATES, 0.0) for name in ("int8", "float")}
    part = part_of(subject, plan, set(plan.placement.weighted) - {"stem"})
    for rate, elements in (("picture", SIDE * SIDE * 3), ("back", (SIDE // 4) ** 2 * 8)):
        model = CostModel(subject.graph, {**zero, "convert": {"element": 0.0, rate: 1.0}})
        assert model.time(part) - model.time(plan.placement) == elements


def test_int8_share_is_of_the_multiply_adds() -> None:
    assert int8_share({"a": 30, "b": 70}, ("b",)) == 0.7
    assert int8_share({}, ()) == 0


def test_rates_that_are_missing_or_wrong_are_named() -> None:
    target = load_target("cpu")
    for cost in (None, {}, {**target.cost, "int8": {**target.cost["int8"], "mac": -1}}):
        with pytest.raises(QuantizeError, match=r"\[cost.int8\] mac is missing or no rate"):
            rates_of(replace(target, cost=cost))


def test_the_fit_finds_the_rates_that_made_the_times(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("cost_fit", root / "bench" / "cost_fit.py")
    fit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fit)

    generator = np.random.default_rng(0)
    matrix, rates = generator.uniform(0, 1, (40, 5)), np.array([0.02, 0.0, 0.5, 0.1, 0.0])
    assert fit.non_negative(matrix, matrix @ rates) == pytest.approx(rates, abs=1e-9)
