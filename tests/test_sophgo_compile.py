# SPDX-License-Identifier: Apache-2.0
"""The vendor's compiler, really run: a tiny detector for a chip; what its tools say, in one line; no Python 3.10."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import sophgo
import test_sophgo_lowering as small
from exact import exact_session
from sophgo_tiny import float_graph, pictures, quantised
from vendor_case import both_packages, error, manifest
from yoloq_quantize import quantize
from yoloq_quantize.compile.environment import environment, find_python
from yoloq_quantize.compile.sophgo import TpuMlir, compile_sophgo, explain, read_outputs, without_time
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.compilers import compile_package
from yoloq_quantize.scheme import Target, load_target

TARGET = load_target("bm1688")
Raw = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


@pytest.fixture(scope="module", autouse=True)
def compiler(vendors_compilers: None) -> Iterator[None]:
    """Its wheel is the one that the simulator is from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLOQ_WHEELS", str(sophgo.wheel().parent))
        yield


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return both_packages(tmp_path_factory.mktemp("sophgo") / "world", "bm1688")


def test_the_package_says_what_the_compiler_made(packages: dict[str, Path]) -> None:
    made, host = manifest(packages["chip"]), manifest(packages["cpu"])
    assert made["target"] | {"compiler": ""} == {
        "chip": "bm1688", "backend": "sophgo", "sdk": "tpu-mlir", "sdk_version": "1.30.2", "compiler": "",
    }  # fmt: skip
    assert made["target"]["compiler"].endswith("tpu-mlir 1.30.2")
    assert (host["target"]["chip"], host["artifacts"][0]["file"]) == ("cpu", "model.onnx")
    assert made["input"] == host["input"] | {"dtype": "uint8", "layout": "NHWC"}
    assert {part["tensor"] for part in made["head"]["outputs"]} == {output["name"] for output in made["outputs"]}
    for output, before in zip(made["outputs"], host["outputs"], strict=True):
        assert output["name"] == f"{before['name']}_Conv_f32"
        assert {**output, "name": ""} == {**before, "name": ""}
    assert made["quantization"]["f16_operators"] == 6  # the last convolutions
    assert sorted(made["files"]) == ["labels.txt", "model.bmodel"]
    assert not packages["chip"].with_name("chip.yoloq.log").exists()


def test_without_int8_it_is_all_f16_and_still_takes_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    world = packages["cpu"].parent
    out = tmp_path / "f16.yoloq"
    quantize(world / "tiny.onnx", None, out, "bm1688", precision="float32", data=world / "data.yaml", measure=False)
    made = manifest(out)
    assert (made["precision"], made["input"]["dtype"]) == ("float16", "uint8")
    assert made["quantization"]["int8_operators"] == 2  # the bytes, and their way to NCHW
    found = detections(out, packages["data"].parent / "images" / "val", tmp_path / "found", sophgo.runtime())
    assert sum(len(picture["detections"]) for picture in found) > 10


def detections(package: Path, folder: Path, out: Path, runtime: Path) -> list[dict]:
    command = [sys.executable, "-m", "yoloq", "detect", package, *sorted(folder.glob("*.png"))]
    command += ["--json", out, "--score", "0.1"]
    done = subprocess.run(command, env=sophgo.environment(runtime), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())["images"]


def test_the_library_runs_it_as_the_cpu_runs_its_graph(packages: dict[str, Path], tmp_path: Path) -> None:
    runtime = sophgo.runtime()
    on_chip, on_cpu = (
        detections(packages[name], packages["data"].parent / "images" / "val", tmp_path / name, runtime)
        for name in ("chip", "cpu")
    )
    scores = [[[found["score"] for found in picture["detections"]] for picture in run] for run in (on_chip, on_cpu)]
    assert sum(map(len, scores[0])) > 10
    for chip, cpu in zip(*scores, strict=True):
        assert abs(len(chip) - len(cpu)) <= 2
        size = min(len(chip), len(cpu))
        np.testing.assert_allclose(chip[:size], cpu[:size], atol=0.03)


def on_both(proto: onnx.ModelProto, picture: np.ndarray, folder: Path, target: Target = TARGET) -> Raw:
    """Raw tensors of one picture: on the vendor's simulator by its own runner, and of the QDQ graph by ONNX Runtime."""
    made = compile_sophgo(proto.SerializeToString(), target, folder / "log", lambda items, _: items)
    assert made.warnings == ()  # the chip has the scales of the graph
    (folder / "m.bmodel").write_bytes(made.artifact)
    np.savez(folder / "in.npz", images_u8=picture)
    arguments = ["--input", "in.npz", "--model", "m.bmodel", "--output", "out.npz"]
    TpuMlir.ready(folder / "log").tool("model_runner", arguments, folder)
    with np.load(folder / "out.npz") as found:
        chip = {output.source: found[output.name] for output in made.outputs}
    session = exact_session(proto)
    names = [output.source for output in made.outputs]
    return chip, dict(zip(names, session.run(names, {"images_u8": picture}), strict=True))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    return on_both(ir.to_proto(quantised(float_graph())), pictures(9)[8], tmp_path_factory.mktemp("raw"))


@pytest.mark.parametrize(("activation", "most"), [("SiLU", 0.02), ("HardSwish", 0.02), ("LeakyRelu", 0.03)])
def test_activations_sums_and_joins_compute_the_quantised_graph(activation: str, most: float, tmp_path: Path) -> None:
    """The compiler runs LeakyRelu in F16, so that the last one is not rounded to 8 bits as it is in the graph."""
    graph = small.float_graph(activation)
    picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    chip, wanted = on_both(small.quantised(graph), picture, tmp_path)
    assert error(chip["box_0"], wanted["box_0"]) < most


def test_sums_are_as_fine_as_in_the_graph(tmp_path: Path) -> None:
    """In INT8 the chip scales both sides by 8 bits each: one in five of its integers is another than the graph's."""
    coarse = replace(TARGET, place=replace(TARGET.place, integer=(*TARGET.place.integer, "Add")))
    picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    errors = []
    for name, target in (("fine", TARGET), ("coarse", coarse)):
        (tmp_path / name).mkdir()
        chip, wanted = on_both(small.quantised(small.sum_graph(), target), picture, tmp_path / name, target)
        errors.append(error(chip["box_0"], wanted["box_0"]))
    assert errors[0] < 0.002 < 0.005 < errors[1]


def test_the_simulator_computes_the_quantised_graph(raw: Raw) -> None:
    """Float requantisation against the chip's multiplier and shift: a few integers differ by one."""
    chip, wanted = raw
    assert set(chip) == set(wanted) == {f"{role}_{level}" for role in ("box", "score") for level in range(3)}
    for name, tensor in chip.items():
        assert error(tensor, wanted[name]) < 0.02, name


def test_the_committed_model_computes_the_same(raw: Raw, tmp_path: Path) -> None:
    """tests/data/sophgo/tiny.bmodel is what tests/sophgo_tiny.py makes today: the outputs are the same bytes."""
    (tmp_path / "tiny.bmodel").write_bytes(sophgo.TINY.read_bytes())
    assert len(sophgo.TINY.read_bytes()) < 300_000
    np.savez(tmp_path / "in.npz", images_u8=pictures(9)[8])
    arguments = ["--input", "in.npz", "--model", "tiny.bmodel", "--output", "out.npz"]
    TpuMlir.ready(tmp_path / "log").tool("model_runner", arguments, tmp_path)
    with np.load(tmp_path / "out.npz") as found:
        for name, tensor in raw[0].items():
            assert found[f"{name}_Conv_f32"].reshape(-1)[: tensor.size].tobytes() == tensor.tobytes(), name


def test_the_same_input_gives_the_same_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    compile_package(packages["cpu"], "bm1688", tmp_path / "again.yoloq", tmp_path / "log", lambda items, _: items)
    assert (tmp_path / "again.yoloq" / "model.bmodel").read_bytes() == (packages["chip"] / "model.bmodel").read_bytes()


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_what_the_compiler_cannot_do_is_one_line_and_its_words_are_kept(tmp_path: Path) -> None:
    model = float_graph()
    last = model.graph.outputs[0].producer()
    celu = ir.node("Celu", [last.inputs[0]], name="odd")
    model.graph.insert_before(last, [celu])
    last.replace_input_with(0, celu.outputs[0])
    log = tmp_path / "made.yoloq.log"
    wanted = r"^Sophgo's model_transform failed: .*Celu.*its words are in .*made\.yoloq\.log$"
    with pytest.raises(QuantizeError, match=wanted) as said:
        compile_sophgo(ir.to_proto(model).SerializeToString(), TARGET, log, lambda items, _: items)
    assert "\n" not in str(said.value)
    assert "model_transform.py" in log.read_text()


@pytest.mark.parametrize(
    ("said", "code", "meaning"),
    [
        ("KeyError: 'Foo'\n", 1, "it does not know the operator or tensor Foo"),
        ("x.mlir:1: error: failed to legalize operation 'top.Foo'\n", 1, "the chip cannot do its operator top.Foo"),
        ("what():  std::bad_alloc\n", -6, "it ran out of memory; compile on a machine with more"),
        ("[Errno 28] No space left on device\n", 1, "the disk is full; TMPDIR names the folder that it works in"),
        ("RuntimeError: two\n  words\n", 1, "two"),
        ("", -9, "it was ended by signal 9, for want of memory"),
        ("hello\n", 3, "exit code 3, and it does not say why"),
    ],
)
def test_sayings_are_translated(said: str, code: int, meaning: str) -> None:
    assert explain(said, code) == meaning


def test_without_its_python_the_reason_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYENV_ROOT", "XDG_DATA_HOME", "YOLOQ_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QuantizeError, match=r"needs Python 3\.10, .*`pyenv install 3\.10`"):
        TpuMlir.ready(tmp_path / "log")


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyenv puts a python3.10 on PATH that fails where 3.10 is not the chosen version."""
    shim = tmp_path / "python3.10"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    before = find_python("3.10")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert before is not None
    assert find_python("3.10") not in (None, shim)


def test_an_installation_that_fails_leaves_nothing_but_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOQ_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wanted = tmp_path / "wanted.txt"
    wanted.write_text(f"no-such-thing==1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(QuantizeError, match=r"could not be installed: .*no-such-thing.*\.log$"):
        environment("thing", "3.10", wanted)
    assert {path.suffix for path in tmp_path.iterdir()} == {".txt", ".log", ".lock"}


def test_an_output_that_is_not_understood_is_refused() -> None:
    good = "input: images_u8, [1, 64, 64, 3], uint8, scale: 1, zero_point: 0\n"
    line = "output: a_Conv, [1, 4], int8, scale: 0.5, zero_point: 3\n"
    found = read_outputs(good + line, ["a"])[0]
    assert (found.name, found.shape, found.dtype, found.scale, found.zero_point) == ("a_Conv", (1, 4), "int8", 0.5, 3)
    with pytest.raises(QuantizeError, match="does not take bytes"):
        read_outputs(good.replace("scale: 1,", "scale: 2,") + line, ["a"])
    with pytest.raises(QuantizeError, match="1 outputs of 2"):
        read_outputs(good + line, ["a", "b"])
    with pytest.raises(QuantizeError, match="'a_Conv' of int8 for 'b'"):
        read_outputs(good + line, ["b"])


def test_the_time_of_making_goes_and_nothing_else() -> None:
    time, data = b"Sun Nov 22 14:43:08 2026", b"Mon Nov 23 00:00:00 2026 in the data stays"
    made = bytes(8) + (30).to_bytes(4, "little") + bytes(52) + time.ljust(30) + data
    assert without_time(made) == made.replace(time, b"Thu Jan  1 00:00:00 1970")
