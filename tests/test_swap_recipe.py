# SPDX-License-Identifier: Apache-2.0
"""The recipe from subject to subject."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from mixed_subject import SIDE, make_plan, make_subject
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.swap_activations import SwapActivations
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Subject, quantized
from yoloq_quantize.swap.recipe import half_size, swap_activations


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return make_subject(tmp_path / "data", hurt=False)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def bytes_of(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString(deterministic=True)


def apart(subject: Subject, graph: ir.Model) -> float:
    """Sum over the outputs of the error, in parts of the output's own spread."""
    wanted, found = Runner(subject.graph), Runner(graph)
    total = 0.0
    for picture in subject.pictures:
        ours, theirs = found.run(picture), wanted.run(picture)
        total += sum(float(((ours[name] - theirs[name]) ** 2).mean() / theirs[name].var()) for name in theirs)
    return total


def test_every_silu_is_swapped_and_the_subject_stays(subject: Subject) -> None:
    before = bytes_of(subject.graph)
    swapped = swap_activations(subject, which="all", steps=2)
    assert operators(swapped.graph).count("HardSwish") == operators(subject.graph).count("Sigmoid")
    assert "Sigmoid" not in operators(swapped.graph)
    assert bytes_of(subject.graph) == before
    assert [value.name for value in swapped.graph.graph.outputs] == [output.name for output in subject.head.outputs]


def test_least_squares_bring_it_nearer(subject: Subject) -> None:
    plain = apart(subject, run_passes(subject.graph.clone(), SwapActivations("all", "Relu")))
    fitted = apart(subject, swap_activations(subject, to="Relu", which="all", steps=0).graph)
    assert fitted < 0.7 * plain


def test_the_same_twice_is_the_same_bytes(subject: Subject, tmp_path: Path) -> None:
    one = swap_activations(subject, steps=3, checkpoint=tmp_path / "run.ckpt")
    other = swap_activations(subject, steps=3)
    assert bytes_of(one.graph) == bytes_of(other.graph)
    assert bytes_of(swap_activations(subject, steps=3, seed=1).graph) != bytes_of(other.graph)


def test_further_pictures_are_learned_from(subject: Subject, tmp_path: Path) -> None:
    more = make_subject(tmp_path / "more", hurt=False, pictures=6).pictures.files
    with_them = swap_activations(subject, steps=2, train_pictures=more)
    assert bytes_of(with_them.graph) != bytes_of(swap_activations(subject, steps=2).graph)


def test_the_result_quantises_like_any_subject(subject: Subject) -> None:
    swapped = swap_activations(subject, which="all", steps=2)
    graph = quantized(swapped, make_plan(swapped))
    outputs = Runner(graph).run(subject.pictures[0])
    assert all(np.isfinite(array).all() for array in outputs.values())
    assert "QuantizeLinear" in operators(graph)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"to": "Gelu"}, "'Gelu'"), ({"steps": -1}, "-1 training steps"), ({"which": "some"}, "'some' is not known")],
)
def test_wrong_options_are_refused(subject: Subject, options: dict, message: str) -> None:
    with pytest.raises(QuantizeError, match=message):
        swap_activations(subject, **options)


def test_hardswish_needs_an_opset_that_has_it(subject: Subject) -> None:
    graph = subject.graph.clone()
    graph.graph.opset_imports[""] = 13
    with pytest.raises(QuantizeError, match="opset 13 has no HardSwish"):
        swap_activations(replace(subject, graph=graph), steps=0)


def test_a_damaged_model_is_refused(subject: Subject) -> None:
    graph = subject.graph.clone()
    value = graph.graph.initializers["merge.w"]
    array = value.const_value.numpy().copy()
    array.flat[0] = np.nan
    value.const_value = ir.tensor(array, name=value.name)
    with pytest.raises(QuantizeError, match="NaN or infinity"):
        swap_activations(replace(subject, graph=graph), steps=0)


def test_training_pictures_are_half_as_large(subject: Subject) -> None:
    assert half_size(subject) == (SIDE // 2, SIDE // 2)
