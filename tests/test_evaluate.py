# SPDX-License-Identifier: Apache-2.0
"""The reference pipeline against the graphs' own outputs, and `evaluate` on real pictures."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from yoloq_quantize.dataset import Dataset, load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import Run, evaluate, run_model
from yoloq_quantize.evaluate_cli import register
from yoloq_quantize.metrics import Detections, match_pairs, measure_accuracy, measure_agreement
from yoloq_quantize.pipeline import quantize
from yoloq_quantize.reference import (
    Candidates,
    Head,
    Letterbox,
    ReferenceDetector,
    _open_session,
    decode,
    suppress,
)

PICTURES = 10
KNOWN = (("e2e", 67.83, 44.90), ("dense", 70.76, 46.50))  # mAP50, mAP50-95 of these pictures; all 120: see the README
RAW_CONVOLUTIONS = {"e2e": "one2one_cv", "dense": "cv"}  # names of the demo exports' last convolutions


@pytest.fixture(scope="module")
def data(root: Path) -> Dataset:
    """The first validation pictures."""
    whole = load_dataset(root / "datasets/fasteners/data.yaml")
    return dataclasses.replace(whole, samples=whole.samples[:PICTURES])


@pytest.fixture(scope="module")
def models(root: Path) -> dict[str, Path]:
    return {kind: root / f"models/fasteners-yolo26n-{kind}.onnx" for kind in ("e2e", "dense")}


@pytest.fixture(scope="module")
def runs(data: Dataset, models: dict[str, Path]) -> dict[str, Run]:
    return {kind: run_model(path, data) for kind, path in models.items()}


@pytest.fixture(scope="module")
def small_data(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.yaml of four pictures, by a list."""
    folder = tmp_path_factory.mktemp("data")
    pictures = sorted((root / "datasets/fasteners/images/val").iterdir())[:4]
    (folder / "val.txt").write_text("".join(f"{p}\n" for p in pictures))
    path = folder / "data.yaml"
    path.write_text("val: val.txt\nnames: [bolt, nut, washer, screw, scratch]\n")
    return path


# ------------------------------------------------------------------------------------------------ reference pipeline


def run_with_raw_heads(model: Path, kind: str, image: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The graph's own output, and the raw box and score convolutions of its three levels (box 0, score 0, box 1...)."""
    proto = onnx.load(model)
    prefix = RAW_CONVOLUTIONS[kind]
    raw = [f"/model.23/{prefix}{part}.{i}/{prefix}{part}.{i}.2/Conv_output_0" for i in range(3) for part in (2, 3)]
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in raw)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    tensor = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / 255
    out = session.run(None, {"images": tensor})
    return out[0], out[1:]


def raw_head(nms: bool) -> Head:
    outputs = tuple((role, level) for level in range(3) for role in ("box", "score"))
    return Head("ltrb", "logit", nms, outputs, (1,) * 6, strides=(8, 16, 32))


@pytest.mark.parametrize("kind", ["e2e", "dense"])
def test_decoder_of_raw_heads_gives_what_the_graph_decodes(kind: str, models: dict[str, Path], data: Dataset) -> None:
    whole, raw = run_with_raw_heads(models[kind], kind, data.samples[0].read())
    ours = decode(raw_head(kind == "dense"), raw, 5, (640, 640), 0.01)
    if kind == "e2e":
        theirs = decode(Head("xyxy", "probability", False, (("end2end", 0),), (-1,)), [whole], 5, (640, 640), 0.01)
    else:
        theirs = decode(Head("cxcywh", "probability", True, (("combined", 0),), (1,)), [whole], 5, (640, 640), 0.01)
    assert len(ours.scores) == len(theirs.scores) > 20
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    # Rows of nearly equal scores may change places: compare as sets, box by box.
    key = [np.lexsort((c.boxes[:, 0].round(1), c.boxes[:, 1].round(1), c.class_ids)) for c in (ours, theirs)]
    np.testing.assert_array_equal(ours.class_ids[key[0]], theirs.class_ids[key[1]])
    np.testing.assert_allclose(ours.boxes[key[0]], theirs.boxes[key[1]], atol=2e-2)


def one_cell(box: str, channels: list[float], **fields: object) -> Candidates:
    """Decodes a head of one level, 2 x 2 cells of stride 16, one class with probability 0.9 at column 1, row 0."""
    width = len(channels)
    raw = np.zeros((1, width + 1, 2, 2), np.float32)
    raw[0, :width, 0, 1] = channels
    raw[0, width, 0, 1] = 0.9
    head = Head(box, "probability", False, (("combined", 0),), (1,), strides=(16,), **fields)
    return decode(head, [raw], 1, (32, 32), 0.5)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        # The cell's centre is (24, 8).
        (lambda: one_cell("ltrb", [1, 0.5, 0.25, 0.25]), [8, 0, 28, 12]),
        (lambda: one_cell("exp", [0.5, 0.5, np.log(2), 0]), [8, 0, 40, 16]),
        (lambda: one_cell("anchor", [0, 0, 0, 0], anchors=([[10, 6]],)), [19, 5, 29, 11]),
        # DFL: bin 2 for certain; the mean of bins 0 and 1; bin 0; bin 3.
        (
            lambda: one_cell("ltrb", [0, 0, 99, 0, 99, 99, 0, 0, 99, 0, 0, 0, 0, 0, 0, 99], reg_max=4),
            [-8, 0, 24, 56],
        ),
    ],
)
def test_box_forms_by_hand(candidates: Callable[[], Candidates], expected: list[float]) -> None:
    found = candidates()
    np.testing.assert_allclose(found.boxes, [expected], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9])


def test_objectness_multiplies_and_logits_pass_the_sigmoid() -> None:
    raw = np.array([50, 60, 20, 10, 0.0, np.log(3)], np.float32).reshape(1, 6, 1)  # sigmoids 0.5 and 0.75
    head = Head("cxcywh", "logit", True, (("combined", 0),), (1,), objectness=True)
    found = decode(head, [raw], 1, (640, 640), 0.1)
    np.testing.assert_allclose(found.boxes, [[40, 55, 60, 65]])
    np.testing.assert_allclose(found.scores, [0.375], rtol=1e-6)
    assert len(decode(head, [raw], 1, (640, 640), 0.4).scores) == 0


@pytest.mark.parametrize(("shape", "axis"), [((1, 2, 5, 2, 3), 2), ((1, 2, 2, 3, 5), -1), ((1, 10, 2, 3), 1)])
def test_anchor_layouts_agree(shape: tuple[int, ...], axis: int) -> None:
    """Two anchors, 2 x 3 cells, four box channels and one class; canonical order (h, w, anchor, channel)."""
    canonical = np.random.default_rng(0).uniform(-2, 2, (2, 3, 2, 5)).astype(np.float32)
    order = {2: (2, 3, 0, 1), -1: (2, 0, 1, 3), 1: (2, 3, 0, 1)}[axis]
    raw = canonical.transpose(order).reshape(shape)
    head = Head("anchor", "logit", True, (("combined", 0),), (axis,), strides=(8,), anchors=([[4, 8], [9, 3]],))
    found = decode(head, [raw], 1, (24, 16), 1e-6)
    scores = 1 / (1 + np.exp(-canonical[..., 4].reshape(-1)))
    np.testing.assert_allclose(found.scores, np.sort(scores)[::-1], rtol=1e-5)
    best = int(np.argmax(scores))
    row, column, anchor = best // 6, best // 2 % 3, best % 2
    unit = 1 / (1 + np.exp(-canonical[row, column, anchor, :4]))
    centre = (2 * unit[:2] - 0.5 + [column, row]) * 8
    side = (2 * unit[2:]) ** 2 * [[4, 8], [9, 3]][anchor]
    np.testing.assert_allclose(found.boxes[0], [*(centre - side / 2), *(centre + side / 2)], rtol=1e-4)


def test_nms_is_class_aware_greedy_and_bounded() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 5], [50, 50, 60, 60]], np.float32)
    found = Candidates(boxes, np.linspace(0.9, 0.5, 5, dtype=np.float32), np.array([0, 0, 1, 0, 0]))
    assert suppress(found, 0.7, 300).scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])
    assert suppress(found, 0.95, 300).scores.size == 5
    assert suppress(found, 0.7, 2).scores.tolist() == pytest.approx([0.9, 0.7])


def test_box_voting_is_the_mean_by_score_and_overlap() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [50, 50, 60, 60]], np.float32)
    found = Candidates(boxes, np.array([0.8, 0.6, 0.5, 0.4], np.float32), np.array([0, 0, 1, 0]))
    kept = suppress(found, 0.7, 300, box_voting=True)
    assert kept.scores.tolist() == suppress(found, 0.7, 300).scores.tolist()
    assert kept.boxes[0, 3] == pytest.approx((0.8 * 10 + 0.6 * 0.9 * 9) / (0.8 + 0.6 * 0.9))
    assert kept.boxes[1:].tolist() == boxes[2:].tolist()
    low = Candidates(np.array([[0, 0, 10, 10], [0, 0, 10, 6]], np.float32), found.scores[:2], found.class_ids[:2])
    assert suppress(low, 0.45, 300, box_voting=True).boxes.tolist() == [[0, 0, 10, 10]]  # suppressed without a vote
    assert found.boxes[0, 3] == 10  # what was given stays


def test_box_voting_finds_the_places_of_objects_better(models: dict[str, Path], data: Dataset) -> None:
    """With NMS, where it has candidates to vote; end to end nothing changes."""
    figures = {}
    for kind, path in models.items():
        for voting in (False, True):
            found = run_model(path, data, box_voting=voting).detections
            figures[kind, voting] = measure_accuracy(data, found).map50_95
    assert figures["dense", True] > figures["dense", False]
    assert figures["e2e", True] == figures["e2e", False]


@pytest.mark.parametrize("voting", [True, False])
def test_a_reference_votes_as_the_package_does(
    models: dict[str, Path],
    data: Dataset,
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    voting: bool,
) -> None:
    """The library against the reference, and what `evaluate` makes of an ONNX beside a package."""
    package, model, asked = tmp_path / "d.yoloq", models["dense"], []
    quantize(model, None, package, precision="float32", box_voting=voting, backend_options={"precision": "f32"})
    few = dataclasses.replace(data, samples=data.samples[:3])
    ours, theirs = run_model(package, few).detections, run_model(model, few, box_voting=voting).detections
    other = run_model(model, few, box_voting=not voting).detections
    assert all(len(one) > 50 for one in ours)
    gaps = [
        [float(np.abs(a.boxes[i] - b.boxes[j]).max()) for a, b in zip(ours, side, strict=True)
         for i, j in match_pairs(a.above(0.25), b.above(0.25), 0.5)]
        for side in (theirs, other)
    ]  # fmt: skip
    assert max(gaps[0]) < 0.1 < max(gaps[1])  # pixels
    monkeypatch.setattr(
        "yoloq_quantize.evaluate.run_model", lambda path, seen, **given: asked.append(given) or run_model(path, seen)
    )
    evaluate(package, small_data, reference=model)
    assert asked[1]["box_voting"] is voting
    with pytest.raises(QuantizeError, match="says itself what is done to boxes; leave box_voting out"):
        run_model(package, few, box_voting=voting)


def test_letterbox_rule_and_its_way_back() -> None:
    assert Letterbox.fit((1920, 1080), (640, 640)) == Letterbox(640, 360, 0, 140)
    assert Letterbox.fit((1920, 1080), (640, 640), align="topleft") == Letterbox(640, 360, 0, 0)
    assert Letterbox.fit((100, 50), (640, 640), upscale=False) == Letterbox(100, 50, 270, 295)
    assert Letterbox.fit((1, 16384), (640, 640)).width == 1
    assert Letterbox.fit((256, 37), (128, 128)).height == 18  # 18.5: ties go to even
    box = Letterbox.fit((1920, 1080), (640, 640))
    boxes = np.array([[10.0, 150.0, 90.0, 230.0], [-9.0, 100.0, 700.0, 600.0]])
    np.testing.assert_allclose(box.undo(boxes, (1920, 1080)), [[30, 30, 270, 270], [0, 0, 1920, 1080]], rtol=1e-6)
    image = np.full((100, 200, 3), 7, np.uint8)
    boxed = Letterbox.fit((200, 100), (64, 64)).apply(image, (64, 64))
    assert boxed.shape == (64, 64, 3)
    assert (boxed[16:48] == 7).all() and (boxed[:16] == 114).all() and (boxed[48:] == 114).all()


def test_pictures_of_other_sizes_give_the_same_boxes_in_their_own_pixels(
    models: dict[str, Path], data: Dataset
) -> None:
    image = data.samples[0].read()
    doubled = np.repeat(np.repeat(image, 2, 0), 2, 1)
    with ReferenceDetector(models["e2e"], score_threshold=0.25) as detector:
        once, twice = detector.detect(image), detector.detect(doubled)
    halved = Detections(twice.boxes / 2, twice.scores, twice.class_ids)
    agreement = measure_agreement([halved], [once])
    assert agreement.candidate_confirmed == agreement.reference_confirmed == 100


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="no such file"):
        ReferenceDetector(tmp_path / "no.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(QuantizeError, match="ONNX Runtime cannot load it"):
        ReferenceDetector(tmp_path / "bad.onnx")
    (tmp_path / "empty.yoloq").mkdir()
    with pytest.raises(QuantizeError, match=r"no manifest\.json"):
        ReferenceDetector(tmp_path / "empty.yoloq")
    (tmp_path / "empty.yoloq/manifest.json").write_text('{"head": {}}')
    with pytest.raises(QuantizeError, match=r"does not follow docs/package-format\.md"):
        ReferenceDetector(tmp_path / "empty.yoloq")
    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "r.onnx")
    with pytest.raises(QuantizeError, match=r"outputs \[1, 3, 8, 8\]; expected one of"):
        ReferenceDetector(tmp_path / "r.onnx")


def test_sums_of_bytes_do_not_saturate(tmp_path: Path) -> None:
    """8 x 127 x 255 does not fit the 16 bits in which CPUs without VNNI add: as it comes, ONNX Runtime gives 13."""
    text = """
        <ir_version: 8, opset_import: ["": 17]>
        sums (uint8[1,8,4,4] x) => (float[1,4,4,4] y)
        <float s = {0.01}, uint8 z = {0}, int8 zw = {0}, float one = {1.0}>
        {
            a = DequantizeLinear (x, s, z)
            b = DequantizeLinear (w, s, zw)
            c = Conv (a, b)
            d = QuantizeLinear (c, one, z)
            y = DequantizeLinear (d, one, z)
        }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((4, 8, 1, 1), 127, np.int8), "w"))
    onnx.save(model, tmp_path / "sums.onnx")
    (found,) = _open_session(tmp_path / "sums.onnx", 1).run(None, {"x": np.full((1, 8, 4, 4), 255, np.uint8)})
    assert (found == round(8 * 127 * 255 * 0.01**2)).all()


# ------------------------------------------------------------------------------------------------ evaluate


def test_float_models_reach_their_known_accuracy(runs: dict[str, Run], data: Dataset) -> None:
    for kind, map50, map50_95 in KNOWN:
        accuracy = measure_accuracy(data, runs[kind].detections)
        assert accuracy.map50 == pytest.approx(map50, abs=0.1)
        assert accuracy.map50_95 == pytest.approx(map50_95, abs=0.1)
        assert all(len(d) <= 300 for d in runs[kind].detections)


@pytest.mark.parametrize("mistake", ["shifted", "classes", "scores"])
def test_a_mistake_lowers_the_figure(mistake: str, runs: dict[str, Run], data: Dataset) -> None:
    def wrong(found: Detections) -> Detections:
        if mistake == "shifted":
            return Detections(found.boxes + np.float32(4), found.scores, found.class_ids)
        if mistake == "classes":
            return Detections(found.boxes, found.scores, (found.class_ids + 1) % 5)
        return Detections(found.boxes, 1 - found.scores, found.class_ids)

    right = measure_accuracy(data, runs["e2e"].detections).map50_95
    assert measure_accuracy(data, [wrong(found) for found in runs["e2e"].detections]).map50_95 < right - 5


def test_library_and_reference_agree_on_a_package(demo_package: Path, data: Dataset) -> None:
    """The C library and OpenVINO against OpenCV, ONNX Runtime and NumPy, on the same INT8 graph."""
    library = run_model(demo_package, data)
    reference = run_model(demo_package, data, engine="reference")
    figures = [measure_accuracy(data, run.detections).map50_95 for run in (library, reference)]
    # Ten pictures: one object weighs ten times as much as in the whole set, where the limit is 0.1.
    assert figures[0] == pytest.approx(figures[1], abs=1.0)
    agreement = measure_agreement(library.detections, reference.detections)
    assert agreement.candidate_confirmed > 95
    assert agreement.reference_confirmed > 95


def test_evaluate_tells_everything_once(models: dict[str, Path], small_data: Path) -> None:
    result = evaluate(models["e2e"], small_data, reference=models["e2e"])
    assert result.pictures == result.accuracy.pictures == 4
    assert result.agreement.candidate_confirmed == result.agreement.reference_confirmed == 100
    assert result.latency.p50_ms > 0
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["accuracy"]["per_class"][4]["name"] == "scratch"


def test_without_labels_there_is_agreement_only(models: dict[str, Path], root: Path, tmp_path: Path) -> None:
    for path in sorted((root / "datasets/fasteners/images/val").iterdir())[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    result = evaluate(models["e2e"], tmp_path, reference=models["dense"])
    assert result.accuracy is None
    assert 0 < result.agreement.candidate_confirmed < 100
    with pytest.raises(QuantizeError, match="--reference"):
        evaluate(models["e2e"], tmp_path)


def test_wrong_engine_and_wrong_classes_are_refused(models: dict[str, Path], small_data: Path) -> None:
    with pytest.raises(QuantizeError, match=r"the library runs \.yoloq packages only"):
        evaluate(models["e2e"], small_data, engine="library")
    other = small_data.with_name("other.yaml")
    other.write_text("val: val.txt\nnames: [a, b, c, d, e, f]\n")
    with pytest.raises(QuantizeError, match=r"the model knows 5 classes .* has 6"):
        evaluate(models["e2e"], other)


def run_command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    parsed = parser.parse_args(["evaluate", *map(str, arguments)])
    return parsed.run(parsed)


def test_command_prints_a_table_and_writes_json(
    models: dict[str, Path], small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_command(models["e2e"], "--data", small_data, "--json", tmp_path / "r.json") == 0
    table = capsys.readouterr().out
    figures = json.loads((tmp_path / "r.json").read_text())["accuracy"]
    for name in ("bolt", "nut", "washer", "screw", "scratch", "all"):
        assert sum(line.startswith(name) for line in table.splitlines()) == 1
    assert f"{figures['map50_95']:.2f}" in table
    assert run_command(models["e2e"], "--data", small_data, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == figures
