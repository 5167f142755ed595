# SPDX-License-Identifier: Apache-2.0
"""What the proof `quantisation` builds on: pictures, decoders and verdicts. The proof itself is long: prove.py."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from conftest import ROOT
from families import fasteners
from families.family import DENSE, END_TO_END, Family, PlainDetector, rgb_from_0_to_1, yolox_boxes
from families.layout import write_split, write_yaml
from quantisation import MOST_LOSS, claims
from yoloq_quantize.dataset import load_dataset, read_image
from yoloq_quantize.evaluate import open_detector

FASTENERS = ROOT / "datasets" / "fasteners"


def test_fasteners_draws_the_demo_pictures(tmp_path):
    """The seed of the demo's first validation picture gives that picture: same labels, same pixels but for JPEG."""
    write_split(tmp_path, "val", fasteners.sample, 90_000, 1, jpeg=92)
    ours, theirs = tmp_path / "labels/val/90000.txt", FASTENERS / "labels/val/00000.txt"
    assert ours.read_text().split() == theirs.read_text().split()
    made, kept = read_image(tmp_path / "images/val/90000.jpg"), read_image(FASTENERS / "images/val/00000.jpg")
    assert np.abs(made.astype(int) - kept).mean() < 1.5  # two JPEG encoders; another picture is 40 away


def test_written_splits_are_read_as_they_were_meant(tmp_path):
    truth = [(1, (10.0, 20.0, 50.0, 30.0)), (0, (0.0, 0.0, 64.0, 48.0))]
    write_split(tmp_path, "val", lambda seed: (np.full((48, 64, 3), seed, np.uint8), truth), 7, 2)
    data = load_dataset(write_yaml(tmp_path, ["a", "b"]), "val")
    assert data.class_names == ("a", "b")
    for sample, grey in zip(data.samples, (7, 8), strict=True):
        assert (sample.read() == grey).all()
        assert sample.class_ids.tolist() == [1, 0]
        np.testing.assert_allclose(sample.boxes, [box for _, box in truth], atol=1e-4)


def test_a_split_has_no_pictures_of_another_run(tmp_path):
    def render(seed):
        return np.full((48, 64, 3), seed, np.uint8), [(0, (0.0, 0.0, 9.0, 9.0))]

    write_split(tmp_path, "val", render, 5, 4)
    write_split(tmp_path, "val", render, 7, 3)
    for kind in ("images", "labels"):
        assert sorted(path.stem for path in (tmp_path / kind / "val").iterdir()) == ["7", "8", "9"]


@pytest.mark.parametrize(("form", "head"), [("e2e", END_TO_END), ("dense", DENSE)])
def test_plain_detector_is_the_reference_on_the_demo_model(form, head):
    model, image = ROOT / "models" / f"fasteners-yolo26n-{form}.onnx", read_image(FASTENERS / "images/val/00003.jpg")
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    family = Family("", "", model, model, model, model, (640, 640), head)
    found = PlainDetector(family, session, "images", "output0", fasteners.NAMES).detect(image)
    expected = open_detector(model, box_voting=True).detect(image)
    assert len(found) > 10
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)


def test_yolox_boxes_by_hand():
    """The first cell of stride 16 in its second row: cell (0, 1), behind the 52 x 52 cells of stride 8."""
    table = np.zeros((1, 52 * 52 + 26 * 26 + 13 * 13, 6), np.float32)
    table[0, 52 * 52 + 26] = [0.25, 0.5, np.log(2), np.log(3), 0.5, 0.8]
    row = yolox_boxes(table)[0, :, 52 * 52 + 26]
    np.testing.assert_allclose(row, [0.25 * 16, 1.5 * 16, 32, 48, 0.4], rtol=1e-6)


FOCUS = """
<ir_version: 8, opset_import: ["" : 11]>
focus (float[1,3,8,8] images) => (float[1,4,4,4] out) {
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  big = Constant <value_ints = [99]> ()
  rows = Constant <value_ints = [2]> ()
  columns = Constant <value_ints = [3]> ()
  even = Slice (images, zero, big, rows, two)
  odd = Slice (images, one, big, rows, two)
  a = Slice (even, zero, big, columns, two)
  b = Slice (odd, zero, big, columns, two)
  c = Slice (even, one, big, columns, two)
  d = Slice (odd, one, big, columns, two)
  joined = Concat <axis = 1> (a, b, c, d)
  out = Conv <pads = [1, 1, 1, 1]> (joined, weight)
}
"""


def test_colours_and_scale_fold_into_the_first_convolution():
    model = onnx.parser.parse_model(FOCUS.replace("value_ints = [", "value = int64[1] {").replace("]> ()", "}> ()"))
    rng = np.random.default_rng(1)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(4, 12, 3, 3)).astype(np.float32), "weight")
    model.graph.initializer.append(weight)
    bytes_bgr = rng.integers(0, 256, (1, 3, 8, 8)).astype(np.float32)
    expected = _run(model, bytes_bgr)
    folded = rgb_from_0_to_1(model)
    assert folded.opset_import[0].version == 13
    np.testing.assert_allclose(_run(folded, bytes_bgr[:, ::-1] / 255), expected, rtol=1e-4, atol=1e-2)
    assert np.abs(_run(folded, bytes_bgr / 255) - expected).max() > 1  # colours the wrong way round


def _run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": np.ascontiguousarray(images)})[0]


def _rows(**changed: object) -> dict[str, dict]:
    good = {"loss mAP50": 0.0, "loss mAP50-95": 0.0, "int8_macs": 0.97}
    rows = {f"yoloq {recipe}": dict(good) for recipe in MOST_LOSS}
    rows |= {"float": {"mAP50": 60.0}, "yoloq float32": {"loss mAP50-95": 0.01}}
    rows["yoloq default"] |= changed
    return rows


def test_the_verdict_can_fail():
    tried = list(MOST_LOSS)
    assert all(claims(_rows(), tried).values())
    for change in ({"loss mAP50-95": 0.21}, {"loss mAP50": 0.21}, {"int8_macs": 0.94}):
        assert list(claims(_rows(**change), tried).values()).count(False) == 1, change
    refused = _rows()
    refused["yoloq default"] = {"failed": "unknown head"}
    assert list(claims(refused, tried).values()).count(False) == 3
