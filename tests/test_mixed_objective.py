# SPDX-License-Identifier: Apache-2.0
"""The objective on a small detector: nothing lost by FP32, more lost by worse graphs, labels found and used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import pytest

from mixed_subject import CLASSES, SIDE, make_plan, make_subject
from yoloq_quantize.dataset import DatasetError, load_labelled
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.mixed.objective import Objective, Raw, combined_loss
from yoloq_quantize.mixed.plans import narrowed
from yoloq_quantize.runner import Runner
from yoloq_quantize.subject import Plan, Subject, quantized


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Plan]:
    subject = make_subject(tmp_path_factory.mktemp("objective"))
    return subject, make_plan(subject)


def test_the_float_graph_loses_nothing(planned: tuple[Subject, Plan]) -> None:
    subject, _ = planned
    objective = Objective(subject)
    runner = Runner(subject.graph)
    score = objective.score(runner.run)
    assert (score.loss, score.expected_drop, score.labelled) == (0.0, 0.0, None)
    assert objective.raw(runner.run) == Raw(0.0, 0.0)


def test_raw_error_is_what_plain_arithmetic_says(planned: tuple[Subject, Plan]) -> None:
    """Scores moved by a known amount, boxes by a known number of cells, everywhere."""
    subject, _ = planned
    objective = Objective(subject)
    runner = Runner(subject.graph)

    def shifted(picture: np.ndarray) -> dict[str, np.ndarray]:
        return {k: v + np.float32(0.5) if "box" in k else v for k, v in runner.run(picture).items()}

    squares, weights = 0.0, 0.0
    for picture in subject.pictures:
        tensors = runner.run(picture)
        for level, stride in enumerate((8, 16)):
            sides = tensors[f"box_{level}_b.y"][0].reshape(4, -1).astype(np.float64) * stride
            scores = 1 / (1 + np.exp(-tensors[f"score_{level}_b.y"][0].reshape(CLASSES, -1).astype(np.float64)))
            width, height = np.maximum(sides[0] + sides[2], 1), np.maximum(sides[1] + sides[3], 1)
            moves = np.stack([0.5 * stride / width, 0.5 * stride / height])
            change = (np.clip(moves, 0, 1) ** 2).mean(0)
            for row in scores:
                seen = row >= 0.05
                squares += (row * change)[seen].sum()
                weights += row[seen].sum()
    assert objective.raw(shifted).box == pytest.approx(squares / weights, rel=1e-4)
    assert objective.raw(shifted).score == 0


def test_int8_loses_and_float_where_it_hurts_gets_it_back(planned: tuple[Subject, Plan]) -> None:
    subject, plan = planned
    objective = Objective(subject)
    whole, part = (quantized(subject, narrowed(subject, plan, kept)) for kept in ((), ("score_0_a",)))
    assert objective.raw(Runner(whole).run).score > 4 * objective.raw(Runner(part).run).score > 0


def test_labels_are_found_and_used(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    plain = Objective(subject)
    assert plain.labelled == 0 and plain.float_labelled is None
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    dataset = load_labelled(subject.pictures.files, ("a", "b"))
    objective = Objective(subject, dataset)
    assert objective.labelled == 1
    score = objective.score(Runner(subject.graph).run)
    assert score.labelled == objective.float_labelled and score.labelled_drop == 0.0
    (tmp_path / "labels" / "0.txt").write_text("7 0.5 0.5 0.4 0.4\n")
    with pytest.raises(DatasetError, match="class 7 is not one of 0 to 1"):
        load_labelled(subject.pictures.files, ("a", "b"))


def test_labels_are_moved_into_the_letterbox(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, pictures=1)
    cv2.imwrite(str(subject.pictures.files[0]), np.zeros((SIDE // 2, SIDE, 3), np.uint8))  # bars above and below
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 0.5 0.5 1 1\n")
    objective = Objective(subject, load_labelled(subject.pictures.files, ("a", "b")))
    assert objective._truth[0].boxes.tolist() == [[0, SIDE / 4, SIDE, 3 * SIDE / 4]]


def test_a_model_that_sees_nothing_is_refused(tmp_path: Path) -> None:
    subject = make_subject(tmp_path)
    for output in subject.graph.graph.outputs:
        if "score" in output.name:
            bias = output.producer().inputs[2]
            bias.const_value = ir.tensor(np.full(CLASSES, -40, np.float32), name=bias.name)
    with pytest.raises(QuantizeError, match="finds nothing on the calibration pictures"):
        Objective(subject)


def test_many_labels_count_more_than_few() -> None:
    few, many = combined_loss(1.0, 0.2, 8), combined_loss(1.0, 0.2, 5000)
    assert 0.2 < few < many < 1.0
    assert combined_loss(0.3, 0.3, 64) == pytest.approx(0.3)


END_TO_END = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (uint8[1,64,64,3] images_u8) => (float[1,3,6] rows)
<float scale = {0.0}, float[1,3,6] table =
 {10, 10, 30, 30, 0.8, 0,  20, 20, 60, 40, 0.5, 1,  5, 5, 9, 9, 0.01, 0}>
{
    zeros = DequantizeLinear(images_u8, scale)
    mean = ReduceMean<keepdims = 0>(zeros)
    rows = Add(table, mean)
}
"""


def test_rows_of_an_end_to_end_table_are_paired_in_any_order(tmp_path: Path) -> None:
    output = HeadOutput("rows", "rows", "end2end", 0, (1, 3, 6), -1)
    head = Head("xyxy", "probability", 1, False, False, (), None, (output,), CLASSES, "test")
    subject = replace(make_subject(tmp_path), graph=ir.from_onnx_text(END_TO_END), head=head)
    objective = Objective(subject)
    runner = Runner(subject.graph)
    assert objective.raw(runner.run) == Raw(0.0, 0.0)

    def other(picture: np.ndarray) -> dict[str, np.ndarray]:
        rows = runner.run(picture)["rows"][:, [1, 0, 2]].copy()  # another order
        rows[0, 1, [0, 2]] += 2  # two pixels of twenty to the right
        rows[0, 0, 4] = 0.3
        return {"rows": rows}

    found = objective.raw(other)
    assert found.box == pytest.approx(0.8 * (2 * 0.1**2 / 4) / 1.3, rel=1e-4)
    assert found.score == pytest.approx(0.5 * 0.2**2 / 1.3, rel=1e-4)
    lost = objective.raw(lambda picture: {"rows": runner.run(picture)["rows"][:, 1:]})
    assert lost.box == pytest.approx(0.8 / 1.3, rel=1e-4)  # a row that is gone counts whole
    assert lost.score == pytest.approx(0.8 * 0.8**2 / 1.3, rel=1e-4)
