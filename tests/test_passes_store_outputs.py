# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir
import pytest

from pass_check import kinds, same_numbers
from yoloq_quantize.passes import StoreOutputs, UniqueNames, run_passes

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[2] x) => (float[2] box, float[2] score)
{
  box = Relu (x)
  score = Neg (box)
}
"""


def test_every_output_has_a_node_of_its_own_and_its_name() -> None:
    model = same_numbers(MODEL, StoreOutputs())
    assert kinds(model) == ["Relu", "Neg", "Identity", "Identity"]
    assert [value.name for value in model.graph.outputs] == ["box", "score"]
    assert [value.producer().name for value in model.graph.outputs] == ["box/Identity", "score/Identity"]
    assert [tuple(value.shape) for value in model.graph.outputs] == [(2,), (2,)]
    assert model.graph.node(1).inputs[0].name == "box/made", "other readers read what was made, not the copy"


def test_a_second_time_it_changes_nothing() -> None:
    model = run_passes(ir.from_onnx_text(MODEL), UniqueNames(), StoreOutputs())
    assert not StoreOutputs()(model).modified


def test_an_output_that_no_node_makes_is_refused() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> test (float[2] x) => (float[2] x) { y = Neg (x) }'
    with pytest.raises(ir.passes.PreconditionError, match="no node of its own makes the output 'x'"):
        StoreOutputs()(ir.from_onnx_text(text))


def test_names_that_are_taken_stay() -> None:
    model = run_passes(ir.from_onnx_text(MODEL), UniqueNames())
    model.graph.node(0).name, model.graph.node(1).outputs[0].name = "box/Identity", "box/made"
    model = run_passes(model, StoreOutputs())
    names = [node.name for node in model.graph] + [node.outputs[0].name for node in model.graph]
    assert len(set(names)) == len(names)
