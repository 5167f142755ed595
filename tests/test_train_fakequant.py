# SPDX-License-Identifier: Apache-2.0
"""The fake-quantised network beside the QDQ graph in ONNX Runtime, and its gradients beside their formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from train_subject import make_plan, make_subject, write_pictures
from yoloq_quantize.params import TensorParams, WeightParams
from yoloq_quantize.subject import Plan, Subject, quantized
from yoloq_quantize.train.fakequant import ActivationQuantizer, FakeQuantized, WeightQuantizer


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return make_subject(write_pictures(tmp_path_factory.mktemp("pictures")))


@pytest.fixture(scope="module")
def plan(subject: Subject) -> Plan:
    return make_plan(subject)


def by_runtime(model: ir.Model, names: list[str], picture: np.ndarray) -> dict[str, np.ndarray]:
    values = ir.convenience.create_value_mapping(model.graph)
    model.graph.outputs[:] = [values[name] for name in names]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"images_u8": picture}), strict=True))


def differing_steps(subject: Subject, plan: Plan) -> dict[str, np.ndarray]:
    """Every quantised value -> how many steps of its scale the student and ONNX Runtime are apart, when both get what
    ONNX Runtime computes before it."""
    student = FakeQuantized(subject, plan)
    values = list(plan.placement.edges)
    picture = subject.pictures[0]
    found = by_runtime(quantized(subject, plan), [name for v in values for name in (v, f"{v}/real")], picture)
    apart = {}
    for value in values:
        with torch.no_grad():
            real = student.quantizer(value)(torch.from_numpy(found[value])).numpy()
        apart[value] = np.abs(real - found[f"{value}/real"]) / plan.params.activations[value].scale
    return apart


def test_activations_are_the_integers_of_onnx_runtime(subject: Subject, plan: Plan) -> None:
    apart = differing_steps(subject, plan)
    assert len(apart) > 3
    for value, steps in apart.items():
        assert steps.max() < 1.001, value
        assert (steps > 0.5).mean() <= 1e-3, f"{value}: more than ties differ"


def test_a_zero_point_off_by_one_is_seen(subject: Subject, plan: Plan) -> None:
    student = FakeQuantized(subject, plan)
    value = next(iter(plan.placement.edges))
    student.quantizer(value).zero_point += 1
    x = torch.linspace(-1, 20, 500)
    right = FakeQuantized(subject, plan).quantizer(value)(x)
    assert (student.quantizer(value)(x) - right).abs().max() > plan.params.activations[value].scale / 2


def test_network_is_the_qdq_graph(subject: Subject, plan: Plan) -> None:
    """From pictures to raw tensors; a tie that falls the other way moves a result by a few steps at most."""
    student = FakeQuantized(subject, plan)
    picture = subject.pictures[1]
    wanted = by_runtime(quantized(subject, plan), list(student.outputs), picture)
    floating = by_runtime(subject.graph.clone(), list(student.outputs), picture)
    with torch.no_grad():
        found = student(torch.from_numpy(picture.copy()))
    for name in student.outputs:
        noise = np.abs(wanted[name] - floating[name]).mean()
        assert np.abs(found[name].numpy() - wanted[name]).mean() < noise / 20, name


def test_nothing_learned_gives_the_plan_back(subject: Subject, plan: Plan) -> None:
    back = FakeQuantized(subject, plan).to_plan()
    assert back.placement == plan.placement
    assert back.params.activations == plan.params.activations
    for name, params in plan.params.weights.items():
        np.testing.assert_array_equal(back.params.weights[name].stored, params.stored)
        np.testing.assert_array_equal(back.params.weights[name].scales, params.scales)
        assert back.params.weights[name].stored.dtype == params.stored.dtype


def test_plan_of_a_changed_student_is_what_the_student_computes(subject: Subject, plan: Plan) -> None:
    student = FakeQuantized(subject, plan)
    with torch.no_grad():
        for quantizer in student.quantizers:
            quantizer.log_scale += 0.1
        for bias in student.biases.values():
            bias += 0.05
        for weight in student.weights:
            weight.place[0] = 1 - weight.place[0]
    changed = student.to_plan()
    picture = subject.pictures[0]
    wanted = by_runtime(quantized(subject, changed), list(student.outputs), picture)
    old = by_runtime(quantized(subject, plan), list(student.outputs), picture)
    with torch.no_grad():
        found = student(torch.from_numpy(picture.copy()))
    for name in student.outputs:
        assert np.abs(wanted[name] - old[name]).mean() > 20 * np.abs(found[name].numpy() - wanted[name]).mean(), name


def test_roundings_stay_beside_the_weight(subject: Subject, plan: Plan) -> None:
    """However far they are pushed, stored integers stay the weight's neighbours and inside the scheme's limits."""
    student = FakeQuantized(subject, plan)
    for push in (-5.0, 5.0):
        with torch.no_grad():
            for weight in student.weights:
                weight.place += push
        for name, params in student.to_plan().params.weights.items():
            assert np.abs(params.stored.astype(int) - plan.params.weights[name].stored).max() <= 1
            assert np.abs(params.stored.astype(int)).max() <= 127


@pytest.mark.parametrize("stored", [[-3, 1, 127], [-2, 2, 126], [-4, 0, -127]])
def test_a_rounding_that_an_earlier_step_chose_is_kept(stored: list[int]) -> None:
    weight = torch.tensor([-2.6, 1.2, 130.0]).reshape(3, 1, 1, 1)
    params = WeightParams(np.array([1.0], np.float32), np.array(stored, np.int8).reshape(3, 1, 1, 1))
    quantizer = WeightQuantizer(weight, params, 0, (-127, 127))
    assert quantizer.stored().flatten().tolist() == stored


def test_gradient_of_a_rounded_weight_passes_straight_through() -> None:
    weight = torch.tensor([[0.3, 0.8], [-0.4, 1.9]]).reshape(2, 2, 1, 1)
    params = WeightParams(np.array([1.0, 0.5], np.float32), np.array([[0, 1], [-1, 4]], np.int8).reshape(2, 2, 1, 1))
    quantizer = WeightQuantizer(weight, params, 0, (-127, 127))
    quantizer().sum().backward()
    np.testing.assert_allclose(quantizer.place.grad.reshape(2, 2), [[1, 1], [0.5, 0.5]])


def test_gradients_of_an_activation() -> None:
    """Straight through where not clipped; of the scale, the derivative with the roundings' places held fast."""
    scale, zero = 0.1, 10
    x = torch.tensor([-2.0, -0.93, 0.02, 0.07, 3.33, 24.4, 26.0], requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    quantizer = ActivationQuantizer(scale, zero, (0, 255))
    (quantizer(x) * weight).sum().backward()
    numbers = x.detach().numpy().astype(np.float64)
    inside = (numbers >= -1.0) & (numbers <= 24.5)
    np.testing.assert_allclose(x.grad, weight.numpy() * inside)
    steps = np.clip(np.rint(numbers / scale), -zero, 255 - zero)
    by_scale = np.where(inside, steps - numbers / scale, steps) * weight.numpy()
    np.testing.assert_allclose(float(quantizer.log_scale.grad), by_scale.sum() * scale, rtol=1e-3)


def test_dropping_leaves_a_share_unrounded() -> None:
    quantizer = ActivationQuantizer(1.0, 0, (0, 255))
    quantizer.share = 0.25
    torch.manual_seed(0)
    x = torch.full((10000,), 3.4)
    kept = (quantizer(x) == x).float().mean()
    assert 0.22 < float(kept) < 0.28


def test_scales_of_powers_of_two_are_not_learned(subject: Subject, plan: Plan) -> None:
    scheme = replace(subject.target.activations, symmetric=True, dtype="int8", scale_form="power_of_two")
    target = replace(subject.target, activations=scheme)
    params = {name: TensorParams(0.125, 0) for name in plan.params.activations}
    student = FakeQuantized(
        replace(subject, target=target), replace(plan, params=replace(plan.params, activations=params))
    )
    assert not student.scales_are_free
    assert student.quantizers[0].limits == (-128, 127)
