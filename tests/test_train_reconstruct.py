# SPDX-License-Identifier: Apache-2.0
"""The learned step on a toy detector: it brings the quantised graph nearer to the float one, always the same way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from train_subject import SIDE, make_plan, make_subject, write_pictures
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.params import TensorParams
from yoloq_quantize.subject import Plan, Subject, quantized
from yoloq_quantize.train.descend import Settings
from yoloq_quantize.train.reconstruct import reconstruct

QUICK = Settings(side=64, crops=12, held_out=4, batch=4, block_convolutions=2, block_steps=10, distil_steps=30)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads cost more than they bring at this size


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return make_subject(write_pictures(tmp_path_factory.mktemp("pictures"), 16))


@pytest.fixture(scope="module")
def plan(subject: Subject) -> Plan:
    return make_plan(subject)


@pytest.fixture(scope="module")
def crude(subject: Subject, plan: Plan) -> Plan:
    """Scales three times too wide, so that there is much to recover."""
    wide = {
        name: TensorParams(np.float32(3 * params.scale).item(), params.zero_point)
        for name, params in plan.params.activations.items()
    }
    return replace(plan, params=replace(plan.params, activations=wide))


def error(subject: Subject, plan: Plan) -> float:
    """Mean squared difference of the raw tensors from the float graph's, by ONNX Runtime, on the pictures."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    found = []
    for model in (subject.graph, quantized(subject, plan)):
        proto = ir.to_proto(model).SerializeToString()
        session = ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
        found.append([session.run(None, {"images_u8": picture}) for picture in subject.pictures])
    pairs = [pair for one, other in zip(*found, strict=True) for pair in zip(one, other, strict=True)]
    return float(np.mean([((a - b) ** 2).mean() for a, b in pairs]))


@pytest.mark.parametrize("stages", [(20, 0), (0, 40), (10, 30)], ids=["blocks", "distilled", "both"])
def test_learning_brings_the_outputs_nearer(subject: Subject, crude: Plan, stages: tuple[int, int]) -> None:
    settings = replace(QUICK, block_steps=stages[0], distil_steps=stages[1], scale_rate=0.02)
    learned = reconstruct(subject, crude, settings=settings)
    assert learned.placement == crude.placement
    assert error(subject, learned) < 0.8 * error(subject, crude)
    for name, params in learned.params.weights.items():
        assert np.abs(params.stored.astype(int) - crude.params.weights[name].stored).max() <= 1


@pytest.mark.parametrize("what", ["rounding_rate", "scale_rate", "bias_rate"])
def test_a_rate_of_zero_leaves_its_numbers(subject: Subject, crude: Plan, what: str) -> None:
    rates = {"rounding_rate": 0.02, "scale_rate": 0.02, "bias_rate": 0.02, what: 0.0}
    learned = reconstruct(subject, crude, settings=replace(QUICK, **rates)).params
    fresh = {
        "rounding_rate": any(
            not np.array_equal(p.stored, crude.params.weights[n].stored) for n, p in learned.weights.items()
        ),
        "scale_rate": learned.activations != crude.params.activations,
        "bias_rate": any(not np.array_equal(learned.biases[n], bias) for n, bias in plain_biases(subject).items()),
    }
    assert fresh == {name: name != what for name in fresh}


def plain_biases(subject: Subject) -> dict[str, np.ndarray]:
    return {
        node.name: node.inputs[2].const_value.numpy()
        for node in subject.graph.graph
        if node.op_type == "Conv" and node.name not in ("box_0", "score_0")
    }


def test_same_inputs_same_bytes(subject: Subject, crude: Plan) -> None:
    first, second = (
        ir.to_proto(quantized(subject, reconstruct(subject, crude, settings=QUICK))).SerializeToString(
            deterministic=True
        )
        for _ in range(2)
    )
    assert first == second


def test_settings_of_torch_come_back(subject: Subject, plan: Plan) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    reconstruct(subject, plan, settings=replace(QUICK, block_steps=1, distil_steps=1))
    after = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_what_makes_it_worse_is_not_taken(subject: Subject, plan: Plan) -> None:
    spoiling = replace(QUICK, block_steps=3, distil_steps=3, bias_rate=5.0)
    assert reconstruct(subject, plan, settings=spoiling) is plan


def test_one_grey_picture_is_enough(tmp_path: Path, plan: Plan) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((SIDE, SIDE, 3), 114, np.uint8))
    grey = make_subject(tmp_path)
    learned = reconstruct(grey, plan, settings=replace(QUICK, block_steps=2, distil_steps=2))
    for params in learned.params.activations.values():
        assert np.isfinite(params.scale) and params.scale > 0
    assert all(np.isfinite(bias).all() for bias in learned.params.biases.values())


def test_a_model_that_computes_nan_is_refused(subject: Subject, plan: Plan) -> None:
    graph = subject.graph.clone()
    value = graph.graph.initializers["inner.b"]
    value.const_value = ir.tensor(np.full(value.shape.numpy(), np.nan, np.float32), name="inner.b")
    with pytest.raises(QuantizeError, match="diverges"):
        reconstruct(replace(subject, graph=graph), plan, settings=QUICK)
