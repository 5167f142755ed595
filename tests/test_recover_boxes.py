# SPDX-License-Identifier: Apache-2.0
"""The step `boxes`: factors of width and height from labels, and what library, reference and tools do with them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import dummy_manifest
from native_abi import Detector
from yoloq.cli import main
from yoloq_quantize import quantize
from yoloq_quantize.dataset import Dataset, Sample, list_images, load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import evaluate, run_model
from yoloq_quantize.flow.plan import Job
from yoloq_quantize.flow.steps import inputs_of
from yoloq_quantize.metrics import Detections, measure_accuracy
from yoloq_quantize.recover.boxes import fit_boxes
from yoloq_quantize.reference import scale_boxes

SIDE = 400
FASTENERS = Path(__file__).parent.parent / "datasets" / "fasteners"
MODEL = Path(__file__).parent.parent / "models" / "fasteners-yolo26n-e2e.onnx"


def world(factors: tuple[float, float], count: int = 20, noise: float = 0.0) -> tuple[list[Detections], Dataset]:
    """Pictures of ten objects each; the detector's boxes have the labels' centres, their sides divided by `factors`."""
    generator, found, samples = np.random.default_rng(7), [], []
    for index in range(count):
        centres = generator.uniform(80, SIDE - 80, (10, 2))
        sides = generator.uniform(20, 80, (10, 2))
        classes = generator.integers(0, 2, 10)
        labels = np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype(np.float32)
        drawn = sides / factors * np.exp(generator.normal(0, noise, sides.shape))
        boxes = np.concatenate([centres - drawn / 2, centres + drawn / 2], 1).astype(np.float32)
        areas, nothing = sides.prod(1), np.zeros(10, bool)
        key = f"{index:03}"
        samples.append(Sample(Path(key), key, SIDE, SIDE, labels, classes, areas, nothing, True))
        found.append(Detections(boxes, generator.uniform(0.3, 1, 10).astype(np.float32), classes))
    return found, Dataset(Path("world"), "", ("a", "b"), tuple(samples))


def test_factors_are_found_and_gain() -> None:
    found, truth = world((0.9, 1.12), noise=0.05)
    fit = fit_boxes(found, truth)
    assert fit.scale == fit.measured == pytest.approx((0.9, 1.12), abs=0.02)
    assert fit.pairs > 150
    assert fit.gain > 5


def test_boxes_of_the_right_size_stay() -> None:
    """Factors that gain nothing on the other half of the pictures are chance."""
    found, truth = world((1.0, 1.0), noise=0.0)
    assert fit_boxes(found, truth).scale == (1.0, 1.0)
    scales = [fit_boxes(*world((1.0, 1.0), count=8 + i, noise=0.1)) for i in range(8)]
    assert any(fit.scale == (1.0, 1.0) != fit.measured for fit in scales)
    assert all(fit.scale == (1.0, 1.0) or fit.gain > 0 for fit in scales)


def test_what_is_not_counted() -> None:
    """Regions to ignore, other classes, detections that nobody would see."""
    found, truth = world((0.9, 0.9))
    crowd = [replace(sample, crowd=np.arange(10) < 5) for sample in truth.samples]
    assert fit_boxes(found, replace(truth, samples=tuple(crowd))).pairs == 100
    assert fit_boxes([replace(f, class_ids=f.class_ids ^ (np.arange(10) < 3)) for f in found], truth).pairs == 140
    with pytest.raises(QuantizeError, match=r"finds 0; it needs 50, on two pictures or more: label more"):
        fit_boxes([replace(f, scores=f.scores * 0.2) for f in found], truth)


def test_too_little_and_absurd_labels_are_refused() -> None:
    found, truth = world((0.9, 0.9), count=4)
    with pytest.raises(QuantizeError, match="labelled on 4 calibration pictures the model finds 40; it needs 50"):
        fit_boxes(found, truth)
    with pytest.raises(QuantizeError, match=r"labels are 0\.\d\d times as wide and 1\.00 times as high .*look at the"):
        fit_boxes(*world((0.6, 1.0)))


def test_sides_on_the_edge_of_the_picture_stay() -> None:
    boxes = np.float32([[10, 20, 30, 60], [0, 20, 30, 100], [0, 0, 50, 100], [1, 40, 49, 60]])
    scaled = scale_boxes(boxes, (0.5, 1.5), (50, 100))
    assert scaled.tolist() == [[15, 10, 25, 70], [0, 0, 22.5, 100], [0, 0, 50, 100], [13, 35, 37, 65]]
    assert scale_boxes(boxes, (2.0, 1.0), (50, 100))[3].tolist() == [0, 40, 50, 60]  # cut off at the edge
    assert scale_boxes(boxes, (1.0, 1.0), (50, 100)).tobytes() == boxes.tobytes()


@pytest.mark.parametrize("scale", [(0.7, 0.9), (1.6, 1.3), (1.0, 1.0)])
def test_the_library_scales_as_the_format_says(
    make_dummy_package: Callable[..., Path], scale: tuple[float, float]
) -> None:
    """Every box of a picture's part, by the formula of docs/package-format.md; what is found and its scores stay."""
    head = dummy_manifest("x", ["a", "b", "c"], 320, {}, nms=True)["head"]
    pixels = np.random.default_rng(1).integers(0, 256, (240, 300, 3), np.uint8)
    plain, given = (
        Detector(make_dummy_package(nms=True, head={**head, **more})).infer(pixels, roi=(40, 30, 200, 180)).detections
        for more in ({}, {"box_scale": list(scale)})
    )
    assert len(given) > 20
    assert given["score"].tobytes() == plain["score"].tobytes()
    for low, high, begin, length, factor in (("x1", "x2", 40, 200, scale[0]), ("y1", "y2", 30, 180, scale[1])):
        near, far = plain[low].astype(float) - begin, plain[high].astype(float) - begin
        middle, half = (near + far) / 2, (far - near) / 2 * factor
        wanted = np.where(near > 0, np.clip(middle - half, 0, None), near)
        ends = np.where(far < length, np.clip(middle + half, None, length), far)
        assert (near == 0).any() and (far == length).any()
        np.testing.assert_allclose(given[low], wanted + begin, atol=1e-3)
        np.testing.assert_allclose(given[high], ends + begin, atol=1e-3)
        if factor == 1:
            assert given[low].tobytes() == plain[low].tobytes()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen calibration pictures with their labels."""
    folder = tmp_path_factory.mktemp("boxes")
    for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
        (folder / kind / "few").mkdir(parents=True)
        for picture in list_images(FASTENERS / "images" / "calib")[:16]:
            name = picture.with_suffix(suffix).name
            shutil.copy(FASTENERS / kind / "calib" / name, folder / kind / "few")
    yaml = (FASTENERS / "data.yaml").read_text(encoding="utf-8")
    (folder / "data.yaml").write_text(yaml.replace("images/calib", "images/few"), encoding="utf-8")
    return folder / "images" / "few"


@pytest.fixture(scope="module")
def package(pictures: Path) -> Path:
    out = pictures.parent / "boxes.yoloq"
    quantize(MODEL, pictures, out, precision="float32", steps_on=["boxes"], backend_options={"precision": "f32"})
    return out


def test_the_demo_model_gains_by_its_labels(package: Path) -> None:
    """Its boxes are too large; on pictures that the factors never saw points of mAP50-95 are won, and none of mAP50
    is lost. Library and reference do the same."""
    scale = json.loads((package / "manifest.json").read_text())["head"]["box_scale"]
    assert 0.94 < scale[0] < 0.98 and 0.93 < scale[1] < 0.97
    data = load_dataset(FASTENERS / "data.yaml", "val")
    data = replace(data, samples=data.samples[:40])
    plain, ours, theirs = (
        run_model(model, data, **how).detections
        for model, how in ((MODEL, {}), (package, {}), (MODEL, {"box_scale": tuple(scale)}))
    )
    before, after, reference = (measure_accuracy(data, found) for found in (plain, ours, theirs))
    assert after.map50_95 > before.map50_95 + 1
    assert after.map50 > before.map50 - 0.2
    assert abs(after.map50_95 - reference.map50_95) < 0.1


def test_evaluation_tells_that_boxes_are_too_large(
    pictures: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(pictures.parent.parent / "data.yaml"), "--split", "train"]
    told = []
    for model in (MODEL, package):
        assert main(["evaluate", str(model), *data]) == 0
        told.append(
            re.findall(r"labels are ([\d.]+) times as wide and ([\d.]+) times as high .*", capsys.readouterr().out)
        )
    ((width, height),) = told[0]
    assert 0.94 < float(width) < 0.98 and 0.93 < float(height) < 0.97
    assert told[1] == []  # of the package that has been told
    unlabelled = evaluate(package, pictures, reference=package)
    assert unlabelled.size_hint is None


@pytest.mark.parametrize("on", [[], ["boxes"]])
def test_a_recipe_that_measures_a_loss_says_so_too(pictures: Path, tmp_path: Path, on: list[str]) -> None:
    """Unless the step mends it."""
    result = quantize(MODEL, pictures, tmp_path / "p.yoloq", recipe="fast", steps_on=["mixed", *on], max_drop=50)
    assert any("times as wide" in text and "--fit-boxes" in text for text in result.warnings) is not bool(on)


def test_the_float_model_of_a_pipeline_has_its_boxes_scaled_too(tmp_path: Path) -> None:
    """What a gate compares with is the same detector in float32: else boxes would count as a change by quantisation."""
    job = Job("x", MODEL, "cpu", {"calib": tmp_path, "steps_on": ["rounding"], "color": "BGR"}, None, ())
    (tmp_path / "a.png").write_bytes(b"picture")
    plain = inputs_of("reference", job, {})
    given = inputs_of("reference", replace(job, options={**job.options, "steps_on": ["rounding", "boxes"]}), {})
    more = {key for key in given if given[key] != plain.get(key)}
    assert more == {"quantize.calib", "quantize.steps_on"}
    assert plain["quantize.color"] == given["quantize.color"]


def test_a_reference_beside_a_package_scales_as_it_does(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for picture in list_images(FASTENERS / "images" / "val")[:2]:
        shutil.copy(picture, few)
    agreement = evaluate(package, few, reference=MODEL).agreement
    assert agreement.candidate_confirmed > 99
    with pytest.raises(QuantizeError, match="says itself what is done to boxes; leave box_scale out"):
        run_model(package, load_dataset(FASTENERS / "data.yaml", "val"), box_scale=(0.9, 0.9))


def test_the_step_is_told_and_refuses_pictures_without_labels(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--calib", str(pictures), "--out", str(tmp_path / "p.yoloq"), "--recipe", "fast", "--fit-boxes"]
    assert main(["quantize", str(MODEL), *given]) == 0
    assert re.search(r"boxes scaled by 0\.9\d\d x 0\.9\d\d, from \d+ labelled objects", capsys.readouterr().out)
    detail = json.loads((tmp_path / "p.yoloq" / "manifest.json").read_text())["quantization"]["steps"][0]
    assert detail["step"] == "boxes"
    assert detail["scale"] == detail["measured"] and detail["pairs"] >= 50 and detail["gain"] > 1
    bare = tmp_path / "bare"
    shutil.copytree(pictures, bare)
    for precision in ("int8", "float32"):
        with pytest.raises(QuantizeError, match="step 'boxes' needs labels of the calibration pictures, in labels/"):
            quantize(MODEL, bare, tmp_path / "q.yoloq", steps_on=["boxes"], precision=precision)
        with pytest.raises(QuantizeError, match="no calibration pictures"):
            quantize(MODEL, None, tmp_path / "q.yoloq", steps_on=["boxes"], precision=precision)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "p.yoloq"]
