# SPDX-License-Identifier: Apache-2.0
"""Pipelines that really run: what is done again and what is not, gates, interrupted runs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flow_case import World, make_world, plan_text
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow import inputs
from yoloq_quantize.flow.cli import register
from yoloq_quantize.flow.plan import Gate, read_plan
from yoloq_quantize.flow.run import Options, Report, run
from yoloq_quantize.flow.steps import judge

RUNNER = """
import signal, sys
from yoloq.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
sys.exit(main())
"""
ALL = ["reference", "quantize", "evaluate", "gate", "compile", "package", "push"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the pipeline ran once."""
    world = make_world(tmp_path_factory.mktemp("flow") / "made")
    world.write(plan_text("[{folder: dest}]"))
    assert not run(read_plan(world.plan), Options()).failed
    return world


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy of it, results included."""
    shutil.copytree(made.folder, tmp_path / "w", symlinks=True)
    return World(tmp_path / "w")


def clean(world: World) -> World:
    shutil.rmtree(world.folder / ".pipeline.work")
    shutil.rmtree(world.dest)
    return world


def go(world: World, **options: object) -> Report:
    for remembered in (inputs.file_digest, inputs.model_digest, inputs.data_digest):
        remembered.cache_clear()  # files are read once in a process, but a test changes them
    return run(read_plan(world.plan), Options(**options))


def ran(report: Report) -> list[str]:
    return [step.name for job in report.jobs for step in job.steps if step.status == "done" and step.name != "gate"]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ what runs again


def test_the_first_run_does_everything(world: World) -> None:
    report = go(clean(world))
    assert [step.name for step in report.jobs[0].steps] == ALL
    assert ran(report) == [name for name in ALL if name != "gate"]
    assert {step.detail for step in report.jobs[0].steps if step.name in ALL[:3]} == {"first run"}
    manifest = json.loads((world.dest / "tiny.yoloq" / "manifest.json").read_text())
    assert manifest["accuracy"]["package"]["map50"] == report.jobs[0].figures["map50"] > 10
    assert manifest["accuracy"]["float"]["map50"] > 10
    assert manifest["accuracy"]["pictures"] == 4


def test_the_pushed_package_loads(made: World) -> None:
    import yoloq

    with yoloq.Detector(made.dest / "tiny.yoloq") as detector:
        assert list(detector.class_names) == ["bolt", "nut", "washer"]


def test_a_second_run_does_nothing(world: World) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.name != "lock"}
    report = go(world)
    assert ran(report) == []
    assert not report.changed
    assert {path: path.stat().st_mtime_ns for path in world.folder.rglob("*") if path.name != "lock"} == before


def test_two_worlds_give_the_same_bytes(made: World, world: World) -> None:
    go(clean(world))
    assert tree(world.dest / "tiny.yoloq") == tree(made.dest / "tiny.yoloq")


def test_a_changed_calibration_picture_reruns_from_there(world: World) -> None:
    shutil.copyfile(world.folder / "images" / "val" / "000.png", world.folder / "calib" / "000.png")
    report = go(world)
    steps = {step.name: step for step in report.jobs[0].steps}
    assert steps["reference"].status == "cached"
    assert ran(report) == ["quantize", "evaluate", "compile", "package", "push"]
    assert steps["quantize"].detail == "changed: quantize.calib"


def test_a_changed_label_measures_again(world: World) -> None:
    label = world.folder / "labels" / "val" / "000.txt"
    label.write_text("0 0.5 0.5 0.2 0.2\n")
    assert ran(go(world)) == ["reference", "evaluate", "package", "push"]


def test_a_changed_limit_measures_nothing(world: World) -> None:
    world.write(plan_text("[{folder: dest}]", gate="{data: data.yaml, max_drop: 99}"))
    assert ran(go(world)) == []


def test_going_back_costs_nothing(world: World) -> None:
    picture = world.folder / "calib" / "000.png"
    old = picture.read_bytes()
    shutil.copyfile(world.folder / "images" / "val" / "000.png", picture)
    assert "quantize" in ran(go(world))
    picture.write_bytes(old)
    assert ran(go(world)) == ["push"]


def test_a_damaged_result_is_made_anew(world: World) -> None:
    (found,) = (world.folder / ".pipeline.work" / "tiny" / "quantize").glob("*/package.yoloq/model.onnx")
    found.write_bytes(found.read_bytes()[:-1])
    report = go(world)
    assert ran(report) == ["quantize"]
    assert "damaged" in report.jobs[0].steps[1].detail


def test_from_and_force(world: World) -> None:
    assert ran(go(world, first="compile")) == ["compile", "package"]
    assert ran(go(world, force=True)) == ["reference", "quantize", "evaluate", "compile", "package"]


def test_a_dry_run_changes_nothing(world: World) -> None:
    clean(world)
    before = tree(world.folder)
    report = go(world, dry_run=True)
    assert {step.status for step in report.jobs[0].steps} == {"to do"}
    assert tree(world.folder) == before


# ------------------------------------------------------------------------------------------------ gate


def test_a_closed_gate_stops_the_package(world: World) -> None:
    before = os.readlink(world.dest / "tiny.yoloq")
    world.write(plan_text("[{folder: dest}]", gate="{data: data.yaml, min: {map50: 99.5}}"))
    shutil.copyfile(world.folder / "images" / "val" / "000.png", world.folder / "calib" / "000.png")
    report = go(world)
    assert report.failed
    assert [step.name for step in report.jobs[0].steps][-1] == "gate"
    assert "below the least allowed, 99.5" in report.jobs[0].error
    assert os.readlink(world.dest / "tiny.yoloq") == before


def test_agreement_needs_no_labels(world: World) -> None:
    world.write(plan_text(gate="{data: images/val, min_agreement: 5}"))
    report = go(world)
    assert report.jobs[0].error is None
    assert 5 < report.jobs[0].figures["agreement"] <= 100
    assert "map50" not in report.jobs[0].figures


@pytest.mark.parametrize(
    ("got", "wrong"),
    [
        ({"map50": 60.0, "map50_95": 40.0}, []),
        ({"map50": 59.5, "map50_95": 39.8}, []),
        ({"map50": 59.4, "map50_95": 40.0}, ["mAP50 59.40 is 0.60 below FP32's 60.00, at most 0.5 is allowed"]),
        ({"map50": 60.0, "map50_95": 39.7}, ["mAP50-95 39.70 is 0.30 below FP32's 40.00, at most 0.2 is allowed"]),
        ({"map50": 10.0, "map50_95": 40.0}, ["50.00 below", "below the least allowed, 30"]),
    ],
)
def test_limits(got: dict[str, float], wrong: list[str]) -> None:
    gate = Gate(Path("d.yaml"), "val", None, {"map50": 0.5, "map50_95": 0.2}, {"map50": 30}, None)
    _, found = judge(gate, got, {"map50": 60.0, "map50_95": 40.0})
    assert len(found) == len(wrong)
    assert all(expected in said for expected, said in zip(wrong, found, strict=True))


def test_agreement_limit_and_missing_labels() -> None:
    gate = Gate(Path("d"), "", None, {}, {}, 95.0)
    assert judge(gate, {"agreement": 94.9}, {})[1] == ["agreement with FP32 94.90 % is below 95 %"]
    assert judge(gate, {"agreement": 95.0}, {})[1] == []
    with pytest.raises(QuantizeError, match="no picture has labels"):
        judge(Gate(Path("d.yaml"), "val", None, {"map50": 1}, {}, None), {"pictures": 3}, {})


def test_one_failing_model_does_not_stop_the_others(world: World) -> None:
    good = plan_text("[{folder: dest}]", name="good")
    bad = plan_text(gate="{data: data.yaml, min: 100}", name="bad").removeprefix("models:\n")
    world.write("models:\n" + bad + good.removeprefix("models:\n"))
    report = go(world)
    assert [job.error is None for job in report.jobs] == [False, True]
    assert (world.dest / "good.yoloq" / "manifest.json").is_file()


# ------------------------------------------------------------------------------------------------ interrupted


def start(world: World, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUNNER, "pipeline", str(world.plan), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("after", "number"),
    [
        ("tiny", signal.SIGTERM),
        ("reference", signal.SIGINT),
        ("reference", signal.SIGKILL),
        ("quantize", signal.SIGTERM),
        ("evaluate", signal.SIGKILL),
        ("package", signal.SIGTERM),
    ],
)
def test_a_stopped_run_is_taken_up_again(world: World, made: World, after: str, number: signal.Signals) -> None:
    clean(world)
    process = start(world)
    seen = []
    for line in process.stdout:
        seen.append(line.split()[0])
        if seen[-1] == after:
            process.send_signal(number)
            break
    process.communicate()
    assert process.returncode != 0 or after == "package"  # there the end may be faster than the signal
    if number != signal.SIGKILL:
        assert list(world.folder.rglob(".part-*")) == []
    for package in world.dest.glob("*.yoloq"):  # a reader finds all of it or nothing
        assert tree(package) == tree(made.dest / "tiny.yoloq")
    report = go(world)
    assert not report.failed
    finished = [step for step in seen if step in ("reference", "quantize", "evaluate", "compile", "package")]
    assert set(finished).isdisjoint(ran(report))
    assert list(world.folder.rglob(".part-*")) == []
    assert tree(world.dest / "tiny.yoloq") == tree(made.dest / "tiny.yoloq")


def test_two_at_once_are_refused(world: World) -> None:
    from yoloq_quantize.flow.cache import Cache

    with (
        Cache(world.folder / ".pipeline.work").locked(),
        pytest.raises(QuantizeError, match="another pipeline is at work"),
    ):
        go(world)


# ------------------------------------------------------------------------------------------------ command line


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    args = parser.parse_args([str(word) for word in words])
    return args.run(args)


def test_command_line(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("pipeline", world.plan, "--json", tmp_path / "r.json") == 0
    assert "nothing to do: everything is up to date" in capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["changed"], report["failed"]) == (False, False)
    assert report["jobs"][0]["quantized"]["int8_convolutions"] > 0
    assert command("pipeline", world.plan, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == report
    world.write(plan_text(gate="{data: data.yaml, min: 100}"))
    assert command("pipeline", world.plan) == 1
    out = capsys.readouterr()
    assert out.err.startswith("yoloq: error: tiny: gate: mAP50 ")
    assert out.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["rollback", "p", "--force"], ["p", "q"], ["p", "--to", "1"], ["p", "--from", "gate"], []]
)
def test_bad_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command("pipeline", *words)
    assert caught.value.code == 2
