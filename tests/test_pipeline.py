# SPDX-License-Identifier: Apache-2.0
"""Whole quantisations of a small real model by every recipe: what is done, said, measured and left behind."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import yoloq_quantize
from flow_case import World, make_world
from yoloq_quantize.dataset import load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import run_model
from yoloq_quantize.metrics import measure_accuracy
from yoloq_quantize.subject import Subject


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("recipes") / "world")


def quantize(world: World, out: Path, **options: object) -> tuple[dict, yoloq_quantize.QuantizeResult]:
    given = {"data": world.folder / "data.yaml", "backend_options": {"precision": "f32"}, **options}
    result = yoloq_quantize.quantize(world.folder / "tiny.onnx", world.folder / "calib", out, **given)
    return json.loads((out / "manifest.json").read_text()), result


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ("fast", ["prescale", "calibrate"]),
        ("default", ["equalize", "prescale", "calibrate", "rounding", "biases", "spend", "mixed"]),
        ("best", ["equalize", "prescale", "calibrate", "rounding", "biases", "reconstruct", "spend", "mixed"]),
    ],
)
def test_a_recipe_is_done_twice_to_the_same_bytes(world: World, tmp_path: Path, recipe: str, steps: list[str]) -> None:
    manifest, result = quantize(world, tmp_path / "one.yoloq", recipe=recipe, name="same")
    quantize(world, tmp_path / "two.yoloq", recipe=recipe, name="same")
    assert tree(tmp_path / "one.yoloq") == tree(tmp_path / "two.yoloq")
    assert [step["step"] for step in manifest["quantization"]["steps"]] == steps == [s.step for s in result.steps]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yoloq", "two.yoloq"], "nothing else is left"
    assert any("calibration pictures" in warning for warning in result.warnings), "six are few"


def test_the_artefact_holds_what_the_steps_say(world: World, tmp_path: Path) -> None:
    """Corrected biases and searched ranges are in the graph, as many as the manifest says."""
    models, details = {}, {}
    for name, on in (("plain", []), ("biases", ["biases"]), ("ranges", ["ranges"])):
        manifest, _ = quantize(world, tmp_path / name, recipe="fast", steps_on=on)
        model = onnx.load(tmp_path / name / "model.onnx")
        models[name] = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        details[name] = manifest["quantization"]["steps"][-1]
    scales = {name: array for name, array in models["plain"].items() if name.endswith("/scale")}
    moved = [name for name, array in scales.items() if not np.array_equal(array, models["ranges"][name])]
    assert len(moved) == details["ranges"]["changed"]
    assert all(np.array_equal(array, models["biases"][name]) for name, array in scales.items())
    assert details["biases"]["corrected"] > 0
    kept = {array.tobytes() for array in models["plain"].values()}
    added = [name for name, array in models["biases"].items() if array.tobytes() not in kept]
    assert len(added) == details["biases"]["corrected"]


def test_the_manifest_holds_what_evaluation_measures(world: World, tmp_path: Path) -> None:
    manifest, result = quantize(world, tmp_path / "p.yoloq")
    dataset = load_dataset(world.folder / "data.yaml", "val")
    measured = measure_accuracy(dataset, run_model(tmp_path / "p.yoloq", dataset).detections)
    kept = manifest["accuracy"]
    assert kept == result.accuracy
    assert kept["pictures"] == len(dataset.samples)
    assert kept["package"] == {"map50": round(measured.map50, 3), "map50_95": round(measured.map50_95, 3)}
    assert kept["float"]["map50_95"] > 60, "the labels are the float model's own detections"
    assert quantize(world, tmp_path / "q.yoloq", measure=False)[0]["accuracy"] == {}


def test_a_data_file_for_names_only_measures_nothing(world: World, tmp_path: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("names: [one, '', three]\n")
    manifest, _ = quantize(world, tmp_path / "p.yoloq", recipe="fast", measure=False)
    assert manifest["accuracy"] == {}


def test_a_limit_that_cannot_be_kept_is_a_warning(world: World, tmp_path: Path) -> None:
    manifest, result = quantize(world, tmp_path / "p.yoloq", max_drop=0)
    (mixed,) = [step for step in manifest["quantization"]["steps"] if step["step"] == "mixed"]
    assert (mixed["loss"] > 0) == any("cannot keep the loss under 0.00" in text for text in result.warnings)


def test_time_for_float_layers_is_spent(world: World, tmp_path: Path) -> None:
    """As much as there is, whatever the recipe would leave in INT8."""
    _, plain = quantize(world, tmp_path / "plain", recipe="fast", measure=False)
    manifest, result = quantize(world, tmp_path / "float", recipe="fast", measure=False, float_time=50)
    spent = manifest["quantization"]["steps"][-1]
    assert (spent["step"], spent["error"]) == ("spend", 1)
    assert plain.int8_convolutions == len(spent["float"])
    assert result.int8_convolutions == 0


def test_a_chip_has_its_own_time_for_float_layers(world: World, tmp_path: Path) -> None:
    """For the recipes that spend; the recipe's own floor of INT8 does not hold then."""
    text = (importlib.resources.files("yoloq_quantize") / "targets" / "cpu.toml").read_text()
    (tmp_path / "rich.toml").write_text(text.replace("[target]", "[target]\nfloat_time = 50", 1))
    rich = str(tmp_path / "rich.toml")
    left = {
        (target, recipe): quantize(world, tmp_path / f"{recipe}{index}", recipe=recipe, target=target, measure=False)[1]
        for index, target in enumerate(("cpu", rich))
        for recipe in ("fast", "default")
    }
    counts = {key: result.int8_convolutions for key, result in left.items()}
    assert counts[rich, "default"] == 0 < counts["cpu", "default"]
    assert counts[rich, "fast"] == counts["cpu", "fast"] > 0


def test_pictures_without_objects_give_a_package_but_no_promise(world: World, tmp_path: Path) -> None:
    model = onnx.load(world.folder / "tiny.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("score") and tensor.name.endswith("_b"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tensor.dims, -30, np.float32), tensor.name))
    onnx.save(model, tmp_path / "silent.onnx")
    with pytest.raises(QuantizeError, match=r"finds nothing on the calibration pictures.*--recipe fast"):
        yoloq_quantize.quantize(tmp_path / "silent.onnx", world.folder / "calib", tmp_path / "p.yoloq", max_drop=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["silent.onnx"]
    result = yoloq_quantize.quantize(tmp_path / "silent.onnx", world.folder / "calib", tmp_path / "p.yoloq")
    assert any("the loss is not measured: the float model finds nothing" in text for text in result.warnings)
    assert result.steps[-1].detail["judged_by"] == "nothing"


def test_a_target_with_one_scale_per_tensor_is_not_prescaled(world: World, tmp_path: Path) -> None:
    targets = importlib.resources.files("yoloq_quantize") / "targets" / "cpu.toml"
    plain = tmp_path / "plain.toml"
    plain.write_text(re.sub(r"(?m)^prescale = true.*$", "", targets.read_text(encoding="utf-8")))
    manifest, _ = quantize(world, tmp_path / "p.yoloq", recipe="fast", target=plain)
    assert [step["step"] for step in manifest["quantization"]["steps"]] == ["calibrate"]
    assert "per tensor" in manifest["quantization"]["activations"]
    with pytest.raises(QuantizeError, match="has one scale per activation; leave out the step prescale"):
        quantize(world, tmp_path / "q.yoloq", recipe="fast", target=plain, steps_on=["prescale"])


def test_one_picture_is_enough_to_go_on(world: World, tmp_path: Path) -> None:
    (tmp_path / "calib").mkdir()
    shutil.copy(world.folder / "calib" / "000.png", tmp_path / "calib")
    result = yoloq_quantize.quantize(world.folder / "tiny.onnx", tmp_path / "calib", tmp_path / "p.yoloq")
    assert result.pictures == 1
    assert any("1 calibration picture" in text for text in result.warnings)


def test_learning_without_torch_is_refused_before_the_work(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(QuantizeError, match="step 'reconstruct' needs PyTorch: install yoloq\\[train\\]"):
        quantize(world, tmp_path / "p.yoloq", recipe="best")
    assert not list(tmp_path.iterdir())


def test_a_swap_is_judged_against_the_model_that_came_in(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swap that ruins the model must show in the loss that `mixed` measures, and the checkpoint must go."""
    import yoloq_quantize.swap

    def ruin(subject: Subject, *, train_pictures: object, checkpoint: Path) -> Subject:
        checkpoint.write_bytes(b"so far")
        graph = subject.graph.clone()
        for node in graph.graph:
            if node.op_type == "Conv" and node.outputs[0].is_graph_output():
                bias = node.inputs[2]
                bias.const_value = yoloq_quantize.pipeline.ir.tensor(-bias.const_value.numpy(), name=bias.name)
        return Subject(graph, subject.head, subject.target, subject.pictures)

    monkeypatch.setattr(yoloq_quantize.swap, "swap_activations", ruin)
    _, result = quantize(world, tmp_path / "p.yoloq", steps_on=["swap"])
    assert result.steps[0].step == "swap"
    assert result.steps[-1].detail["loss"] > 5
    assert [path.name for path in tmp_path.iterdir()] == ["p.yoloq"]
