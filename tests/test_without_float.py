# SPDX-License-Identifier: Apache-2.0
"""A target whose chip has no float, up to its compiler: nothing is left in float, and what asks for it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import attention_tiny
import yoloq_quantize
from exact import exact_session
from flow_case import World, make_world
from mixed_subject import make_plan, make_subject
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head
from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.search import mixed_precision
from yoloq_quantize.params import SCORE_FLOOR, output_floors
from yoloq_quantize.passes import StoreOutputs, run_passes
from yoloq_quantize.place import place
from yoloq_quantize.scheme import load_target

TARGET = load_target("rv1106")
LEAST = np.log(0.001 / 0.999)  # the raw score of the lowest threshold in the house


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("integers") / "world")


def quantize(world: World, out: Path, **options: object) -> yoloq_quantize.QuantizeResult:
    given = {"data": world.folder / "data.yaml", "measure": False, "compiled": False, **options}
    return yoloq_quantize.quantize(world.folder / "tiny.onnx", world.folder / "calib", out, "rv1106", **given)


def test_default_leaves_everything_in_int8_and_every_output_has_a_pair(world: World, tmp_path: Path) -> None:
    result = quantize(world, tmp_path / "p.yoloq", max_drop=0)
    told = json.loads((tmp_path / "p.yoloq" / "manifest.json").read_text())["quantization"]
    steps = [step["step"] for step in told["steps"]]
    assert steps == ["equalize", "calibrate", "rounding", "biases", "mixed"]
    assert told["steps"][-1]["float"] == [] and told["steps"][-1]["graphs"] == 1
    assert result.int8_convolutions == result.convolutions
    lost = told["steps"][-1]["loss"] > 0
    assert lost == any("the chip has no float; allow more with --max-drop" in text for text in result.warnings)
    graph = onnx.load(tmp_path / "p.yoloq" / "model.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        assert makers[makers[output.name].input[0]].op_type == "DequantizeLinear"


def test_a_loss_above_the_limit_is_said_and_nothing_is_searched(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    target = replace(TARGET, cost=None)
    found = mixed_precision(replace(subject, target=target), make_plan(subject), Objective(subject), 1e-9)
    assert not found.met and found.kept_float == () and len(found.steps) == 1
    assert "with everything in INT8, and the chip has no float" in found.message(1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"float_time": 0.15}, "has no float to spend time on; leave out --float-time"),
        ({"steps_on": ["spend"]}, "has no float to spend time on; leave out the step spend"),
        ({"precision": "float32"}, "has no float; take precision int8, or another target"),
    ],
)
def test_what_asks_for_float_is_refused_in_one_line(world: World, tmp_path: Path, options: dict, said: str) -> None:
    with pytest.raises(QuantizeError, match=said) as caught:
        quantize(world, tmp_path / "p.yoloq", **options)
    assert "'rv1106'" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_scores_are_told_apart_where_thresholds_are() -> None:
    picture, stored = attention_tiny.pictures(9)[8], {}
    for name, floors in (("head's", None), ("none", {}), ("too high", {"score_0": -2.0})):
        proto = attention_tiny.quantised(TARGET, floors)
        stored[name] = np.unique(exact_session(proto).run(["score_0"], {"images_u8": picture})[0])
    assert stored["none"].min() < 2 * SCORE_FLOOR, "there is much below the floor"
    assert stored["head's"].min() < LEAST, "the lowest number passes no threshold"
    assert stored["too high"].min() > LEAST, "what is no candidate would become one"
    assert np.diff(stored["head's"]).min() < np.diff(stored["none"]).min() * 0.8


def test_only_scores_that_a_sigmoid_reads_have_a_floor() -> None:
    head = attention_tiny.HEAD
    assert output_floors(head) == {"score_0": SCORE_FLOOR}
    decoded = Head("xyxy", "probability", 1, False, True, (), None, head.outputs, head.classes, "decoded")
    assert output_floors(decoded) == {}


def test_every_tensor_between_operators_of_attention_has_a_pair() -> None:
    model = run_passes(attention_tiny.float_graph(), StoreOutputs())
    found = place(model, TARGET.place, attention_tiny.HEAD)
    assert {"qkv", "q_small", "likeness", "shares", "mixed", "box_0/made", "score_0/made"} <= set(found.edges)
    assert found.kept_float == ()


def test_second_inputs_of_matmul_have_their_zero_point_in_the_middle() -> None:
    proto = attention_tiny.quantised(TARGET)
    zeros = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    middle = {
        name.removesuffix("/zero_point") for name, zero in zeros.items() if zero.dtype == np.uint8 and zero == 128
    }
    assert {"qkv", "shares"} <= middle and "likeness" not in middle


def test_nothing_of_an_output_is_clipped_but_by_its_floor() -> None:
    """The few largest numbers are the detections; squared errors of all would clip them."""
    session, boxes = exact_session(ir.to_proto(attention_tiny.float_graph())), []
    for picture in attention_tiny.pictures(8):
        boxes += session.run(["box_0"], {"images_u8": picture})
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in attention_tiny.quantised(TARGET).graph.initializer}
    scale, zero = (float(constants[f"box_0/made/{part}"]) for part in ("scale", "zero_point"))
    assert (255 - zero) * scale == pytest.approx(np.max(boxes), abs=scale)
