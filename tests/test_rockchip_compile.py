# SPDX-License-Identifier: Apache-2.0
"""The vendor's compiler and simulator, really run: a tiny detector for the chips; what goes wrong, in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import test_sophgo_lowering as small
from backend_contract import Case, Module, Session, Tensor, refused
from sophgo_tiny import float_graph, pictures, quantised
from vendor_case import both_packages, manifest, simulator_errors
from yoloq_quantize import quantize
from yoloq_quantize.compile.rockchip import RknnToolkit, compile_rockchip, explain, read_layers, read_outputs, simulate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import evaluate
from yoloq_quantize.scheme import load_target

TARGET = load_target("rk3588")
MOST_ERROR = 0.05  # of the simulator against ONNX Runtime: RMS by standard deviation; it rounds otherwise


pytestmark = pytest.mark.usefixtures("vendors_compilers")


@pytest.fixture(scope="module")
def packages(vendors_compilers: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return both_packages(tmp_path_factory.mktemp("rockchip") / "world", "rk3588")


def errors(
    proto: onnx.ModelProto, picture: np.ndarray, folder: Path, wanted: onnx.ModelProto | None = None
) -> list[float]:
    return simulator_errors(proto, TARGET, picture, folder, wanted)


def test_the_package_says_what_the_compiler_made(packages: dict[str, Path]) -> None:
    made, host = manifest(packages["chip"]), manifest(packages["cpu"])
    assert made["target"] | {"compiler": ""} == {
        "chip": "rk3588", "backend": "rockchip", "sdk": "rknn-toolkit2", "sdk_version": "2.5.0", "compiler": "",
    }  # fmt: skip
    assert made["target"]["compiler"].endswith("rknn-toolkit2 2.5.0")
    assert made["outputs"] == host["outputs"] and made["head"] == host["head"] and made["input"] == host["input"]
    assert made["quantization"]["int8_operators"] == 8  # five convolutions, three ways to float
    assert made["quantization"]["f16_operators"] == 6  # the last convolutions
    assert made["quantization"]["cpu_operators"] == 0 and made["quantization"]["expected_cycles"] > 1000
    assert sorted(made["files"]) == ["graph.onnx", "labels.txt", "model.rknn"]
    assert (packages["chip"] / "graph.onnx").read_bytes() == (packages["cpu"] / "model.onnx").read_bytes()
    assert not packages["chip"].with_name("chip.yoloq.log").exists()


def test_the_module_reads_what_the_compiler_writes(packages: dict[str, Path], build_dir: Path, tmp_path: Path) -> None:
    """A real .rknn is whole to the module, which leaves it to the runtime (here a double, which knows none); cut, it is
    refused before."""
    import rockchip

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(rockchip.VARIABLE, str(build_dir / "testing" / "rockchip"))
        module = Module(build_dir / "lib" / "libyoloq_rockchip.so")
        module.call("probe")
    heads = tuple(Tensor(name, shape, role) for name, role, _, shape in rockchip.outputs(1))
    image = Tensor("images_u8", (1, 64, 64, 3), "input", "uint8")
    whole = Case(packages["chip"] / "model.rknn", image, heads)
    assert "rknn_init refuses" in refused(3, Session, module, whole)
    cut = tmp_path / "model.rknn"
    cut.write_bytes(whole.artifact.read_bytes()[:-1])
    assert "cut short" in refused(3, Session, module, Case(cut, image, heads))
    four = Case(whole.artifact, image, heads, {"cores": "2"})
    assert "rknn_init refuses" in refused(3, Session, module, four)  # the file says rk3588, which has a core 2


def test_evaluate_runs_the_simulator(packages: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "yoloq", "evaluate", packages["chip"], "--data", packages["data"]]
    command += ["--engine", "simulator", "--reference", packages["cpu"], "--json", tmp_path / "found.json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["engine"] == "the simulator of the chip's compiler"
    host = evaluate(packages["cpu"], packages["data"])
    assert abs(found["accuracy"]["map50"] - host.accuracy.map50) < 5
    assert found["agreement"]["candidate_confirmed"] > 80
    assert not packages["chip"].with_name("chip.yoloq.log").exists()


def test_what_cannot_be_simulated_is_said(packages: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="the backend cpu has no simulator of its own here"):
        evaluate(packages["cpu"], packages["data"], engine="simulator")
    bare = tmp_path / "bare.yoloq"
    bare.mkdir()
    (bare / "manifest.json").write_bytes((packages["chip"] / "manifest.json").read_bytes())
    with pytest.raises(QuantizeError, match=r"has no graph\.onnx to simulate"):
        evaluate(bare, packages["data"], engine="simulator")


def test_without_int8_it_is_all_f16_and_still_takes_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    world, out = packages["cpu"].parent, tmp_path / "f16.yoloq"
    quantize(world / "tiny.onnx", None, out, "rk3568", precision="float32", data=world / "data.yaml", measure=False)
    made = manifest(out)
    assert (made["precision"], made["target"]["chip"], made["input"]["dtype"]) == ("float16", "rk3568", "uint8")
    assert made["quantization"]["int8_operators"] <= 2  # the bytes on their way to F16
    assert made["quantization"]["f16_operators"] >= 11


@pytest.mark.parametrize("activation", ["SiLU", "HardSwish"])
def test_activations_sums_and_joins_compute_the_quantised_graph(activation: str, tmp_path: Path) -> None:
    proto = small.quantised(small.float_graph(activation), TARGET)
    picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    found = errors(proto, picture, tmp_path)
    print(activation, found)
    assert max(found) < MOST_ERROR


def test_the_compiler_ignores_the_scale_before_an_activation(tmp_path: Path) -> None:
    """So the target stores nothing there, and the lowering may put a pair of any scale: the same bits come out."""
    stored = replace(TARGET, place=replace(TARGET.place, fused_ungrouped=()))
    picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    found = []
    for target in (TARGET, stored):
        proto = small.quantised(small.float_graph("SiLU"), target)
        simulator = simulate(proto.SerializeToString(), target, tmp_path / "log")
        try:
            found += simulator.run(["box_0"], {"images_u8": picture})
        finally:
            simulator.close()
    assert found[0].tobytes() == found[1].tobytes() and found[0].std() > 0.1


def test_equal_graphs_give_equal_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    graph = (packages["chip"] / "graph.onnx").read_bytes()
    made = compile_rockchip(graph, TARGET, tmp_path / "elsewhere" / "log", lambda items, _: items)
    other = (packages["chip"] / "model.rknn").read_bytes()
    assert len(made.artifact) == len(other)
    if subprocess.run(["setarch", "-R", "true"], check=False).returncode == 0:
        assert made.artifact == other
    else:
        warnings.warn("a container forbids fixed addresses: bytes are not compared (docs/rockchip.md)", stacklevel=1)


def test_the_simulator_computes_the_quantised_graph(tmp_path: Path) -> None:
    found = errors(ir.to_proto(quantised(float_graph(), "rk3588")), pictures(9)[8], tmp_path)
    print(found)
    assert max(found) < MOST_ERROR


@pytest.mark.parametrize("mistake", ["weights", "activations", "picture"])
def test_a_mistake_in_the_numbers_is_seen(mistake: str, tmp_path: Path) -> None:
    right = ir.to_proto(quantised(float_graph(), "rk3588"))
    wrong = onnx.ModelProto.FromString(right.SerializeToString())
    names = {
        "weights": ("Conv_4/weight_scale", 1.25),
        "activations": ("body_2_relu/scale", 0.2),
        "picture": ("scale", 1.25),
    }
    name, factor = names[mistake]
    stored = next(constant for constant in wrong.graph.initializer if constant.name == name)
    array = onnx.numpy_helper.to_array(stored)
    stored.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array * factor, array.dtype), name))
    found = errors(wrong, pictures(9)[8], tmp_path, right)
    print(mistake, found)
    assert max(found) > MOST_ERROR


@pytest.mark.parametrize("chip", ["rk3576", "rk3566"])
def test_other_chips(chip: str, tmp_path: Path) -> None:
    model = ir.to_proto(quantised(float_graph(), chip)).SerializeToString()
    made = compile_rockchip(model, load_target(chip), tmp_path / "log", lambda items, _: items)
    assert [output.name for output in made.outputs] == ["box_0", "score_0", "box_1", "score_1", "box_2", "score_2"]
    assert f'"target_platform":["{chip}"]'.encode() in made.artifact
    assert made.summary["int8_operators"] == 8


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_what_the_compiler_cannot_do_is_one_line_and_its_words_are_kept(tmp_path: Path) -> None:
    model = float_graph()
    last = model.graph.outputs[0].producer()
    odd = ir.node("NoSuchThing", [last.inputs[0]], name="odd")
    odd.outputs[0].shape, odd.outputs[0].dtype = last.inputs[0].shape, ir.DataType.FLOAT
    model.graph.insert_before(last, [odd])
    last.replace_input_with(0, odd.outputs[0])
    log = tmp_path / "made.yoloq.log"
    with pytest.raises(
        QuantizeError, match=r"^Rockchip's compiler failed: .*; its words are in .*made\.yoloq\.log$"
    ) as said:
        compile_rockchip(ir.to_proto(model).SerializeToString(), TARGET, log, lambda items, _: items)
    assert "\n" not in str(said.value) and "NoSuchThing" in str(said.value)
    assert "rknn-toolkit2 version" in log.read_text()


@pytest.mark.parametrize(
    ("said", "code", "meaning"),
    [
        ("ValueError: The Conv('c') not supported 'float16' dtype at rv1103!\n", 1,
         "Conv 'c' cannot run in F16 on rv1103, nor in INT8 here; take another model or chip"),
        ("std::bad_alloc\n", -6, "it ran out of memory; compile on a machine with more"),
        ("[Errno 28] No space left on device\n", 1, "the disk is full; TMPDIR names the folder that it works in"),
        ("AttributeError: the stand-in for PyTorch has no tril\n", 1,
         "the model needs a part of it that yoloq does not install: the stand-in for PyTorch has no tril"),
        ("\x1b[1;33mW\x1b[0m\nValueError: Traceback (most\nIndexError: list index\n", 1, "list index"),
        ("build gave -1\n", 1, "build gave -1"),
        ("", -9, "it was ended by signal 9, for want of memory"),
        ("hello\n", 3, "exit code 3, and it does not say why"),
    ],
)  # fmt: skip
def test_sayings_are_translated(said: str, code: int, meaning: str) -> None:
    assert explain(said, code) == meaning


def fake_compiler(folder: Path, script: str) -> RknnToolkit:
    """A program in the place of the vendor's Python; it is called with rknn_worker.py and the job."""
    python = folder / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\njob = json.load(open('job.json'))\n{script}")
    python.chmod(0o755)
    return RknnToolkit(python, folder / "log")


def a_job():
    from yoloq_quantize.compile.rockchip import Job

    return Job(b"graph", "rk3588", 255.0)


def test_rules_that_fail_are_left_out(tmp_path: Path) -> None:
    script = (
        "left = job['config']['disable_rules']\n"
        "wanted = ['one', 'two']\n"
        "if left != wanted:\n"
        "    print(f\"add disable_rules=['{wanted[len(left)]}'] in rknn.config()\", file=sys.stderr)\n"
        "    sys.exit(1)\n"
        "open('model.rknn', 'w').write('made')\nprint('ready')\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    worker, left_out = fake_compiler(tmp_path, script).start(a_job(), work, simulate=False)
    worker.close()
    assert left_out == ("one", "two") and (work / "model.rknn").read_bytes() == b"made"


def test_a_rule_that_fails_for_ever_is_no_endless_loop(tmp_path: Path) -> None:
    script = "print(\"add disable_rules=['one']\", file=sys.stderr)\nsys.exit(1)\n"
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(QuantizeError, match="exit code 1, and it does not say why"):
        fake_compiler(tmp_path, script).start(a_job(), work, simulate=False)


def test_a_simulator_that_ends_is_told(tmp_path: Path) -> None:
    script = "print('ready', flush=True)\nprint('MemoryError', file=sys.stderr)\nsys.exit(1)\n"
    work = tmp_path / "work"
    work.mkdir()
    worker, _ = fake_compiler(tmp_path, script).start(a_job(), work, simulate=True)
    with pytest.raises(QuantizeError, match="it ran out of memory"):
        worker.run(np.zeros((1, 8, 8, 3), np.uint8))
    worker.close()


def test_files_that_are_not_understood_are_refused() -> None:
    with pytest.raises(QuantizeError, match="cannot read"):
        read_outputs(b"RKNN" + bytes(100), ["a"], "rk3588")
    with pytest.raises(QuantizeError, match="cannot read"):
        read_outputs(b"", ["a"], "rk3588")
    with pytest.raises(QuantizeError, match="cannot read"):
        read_layers("no table\n")
