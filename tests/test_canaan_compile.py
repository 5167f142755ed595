# SPDX-License-Identifier: Apache-2.0
"""The vendor's compiler and simulator, really run: a tiny detector for the K230; what goes wrong, in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import test_sophgo_lowering as small
from exact import exact_session
from sophgo_tiny import float_graph
from vendor_case import both_packages, error, manifest
from yoloq_quantize.compile.canaan import Nncase, compile_canaan, explain, simulate
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import evaluate
from yoloq_quantize.scheme import load_target

TARGET = load_target("k230")
MOST_ERROR = 0.04  # of the simulator against ONNX Runtime: RMS by standard deviation; it rounds otherwise


pytestmark = pytest.mark.usefixtures("vendors_compilers")


@pytest.fixture(scope="module")
def packages(vendors_compilers: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return both_packages(tmp_path_factory.mktemp("canaan") / "world", "k230")


def compiled(proto: onnx.ModelProto, folder: Path) -> bytes:
    return compile_canaan(proto.SerializeToString(), TARGET, folder / "log", lambda items, _: items).artifact


def error_on_simulator(proto: onnx.ModelProto, picture: np.ndarray, folder: Path, wanted: onnx.ModelProto) -> float:
    """Of the raw tensor of `proto`, against `wanted` in ONNX Runtime."""
    simulator = simulate(compiled(proto, folder), ["box_0"], TARGET, folder / "log")
    try:
        found = simulator.run(["box_0"], {"images_u8": picture})[0]
    finally:
        simulator.close()
    return error(found, exact_session(wanted).run(None, {"images_u8": picture})[0])


def test_the_package_says_what_the_compiler_made(packages: dict[str, Path]) -> None:
    made, host = manifest(packages["chip"]), manifest(packages["cpu"])
    assert made["target"] | {"compiler": ""} == {
        "chip": "k230", "backend": "canaan", "sdk": "nncase", "sdk_version": "2.11.0", "compiler": "",
    }  # fmt: skip
    assert made["target"]["compiler"].endswith("nncase 2.11.0")
    assert made["outputs"] == host["outputs"] and made["head"] == host["head"] and made["input"] == host["input"]
    assert (made["quantization"]["int8_operators"], made["quantization"]["f16_operators"]) == (5, 6)
    assert sorted(made["files"]) == ["labels.txt", "model.kmodel"]
    assert not packages["chip"].with_name("chip.yoloq.log").exists()


def test_equal_inputs_give_equal_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    again = compiled(onnx.load(packages["cpu"] / "model.onnx"), tmp_path)
    assert again == (packages["chip"] / "model.kmodel").read_bytes()


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


def test_the_library_says_that_it_has_no_module_for_the_board(packages: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "yoloq", "info", str(packages["chip"])]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    words = r'backend "canaan" cannot be used: there is no .*libyoloq_canaan\.so: .* else quantize for another target'
    with pytest.raises(Exception, match=words):
        evaluate(packages["chip"], packages["data"])


@pytest.mark.parametrize(("mistake", "tensor", "factor"), [
    ("none", "second_act/scale", 1.0),
    ("weights", "Conv_4/weight_scale", 1.25),
    ("activations", "second_act/scale", 0.2),
])  # fmt: skip
def test_the_simulator_computes_the_quantised_graph_and_a_mistake_is_seen(
    mistake: str, tensor: str, factor: float, tmp_path: Path
) -> None:
    """SiLU, Split, Add and Concat between the convolutions."""
    right = small.quantised(small.float_graph(), TARGET)
    wrong = onnx.ModelProto.FromString(right.SerializeToString())
    stored = next(constant for constant in wrong.graph.initializer if constant.name == tensor)
    array = onnx.numpy_helper.to_array(stored)
    stored.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array * factor, array.dtype), tensor))
    picture = np.random.default_rng(5).integers(0, 256, (1, small.SIDE, small.SIDE, 3), dtype=np.uint8)
    found = error_on_simulator(wrong, picture, tmp_path, right)
    assert found < MOST_ERROR if mistake == "none" else found > MOST_ERROR, found


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
        QuantizeError, match=r"^Canaan's compiler failed: .*; its words are in .*made\.yoloq\.log$"
    ) as said:
        compile_canaan(ir.to_proto(model).SerializeToString(), TARGET, log, lambda items, _: items)
    assert "\n" not in str(said.value) and "NoSuchThing" in str(said.value)
    assert "NoSuchThing" in log.read_text()


@pytest.mark.parametrize(
    ("said", "code", "meaning"),
    [
        ("warn: x\nUnhandled exception. System.AggregateException: One or more errors occurred. (Bad thing.)\n", -6,
         "Bad thing."),
        ("Unhandled exception. System.NotSupportedException: Not Supported Onnx op: Foo\n", -6,
         "it does not know the operator Foo"),
        ("Unhandled exception. System.ArgumentException: Odd shape\n   at Nncase.X()\n", -6, "Odd shape"),
        ("System.AggregateException: One or more errors occurred. (Unable to cast object of type 'Nncase.IR.Call' to "
         "type 'Nncase.IR.TensorConst'.)\n", -6,
         "it made a tensor that yoloq gave no range for; make the package with --precision float32, and report the "
         "model"),
        ("sh: 1: nncase.simulator.k230.sc: not found\nRuntimeError: Input/output error\n", 1,
         "its simulator is not installed whole (nncase.simulator.k230.sc: not found); remove its environment"),
        ("[Errno 28] No space left on device\n", 1, "the disk is full; TMPDIR names the folder that it works in"),
        ("RuntimeError: Invalid argument\n", 1, "Invalid argument"),
        ("", -9, "it was ended by signal 9, for want of memory"),
        ("hello\n", 3, "exit code 3, and it does not say why"),
    ],
)  # fmt: skip
def test_sayings_are_translated(said: str, code: int, meaning: str) -> None:
    assert explain(said, code) == meaning


def test_without_dotnet_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoloq_quantize.compile.canaan.environment", lambda *_: tmp_path / "bare")
    with pytest.raises(QuantizeError, match=r"needs the \.NET runtime, which is not in .*bare.*; remove .*bare"):
        Nncase.ready(tmp_path / "log")


def fake_compiler(folder: Path, script: str) -> Nncase:
    """A program in the place of the environment's Python; it is called with nncase_worker.py and the job."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!{sys.executable}\nimport sys\n{script}")
    python.chmod(0o755)
    return Nncase(folder, folder / "log")


def test_a_simulator_that_ends_is_told(tmp_path: Path) -> None:
    script = "print('ready', flush=True)\nprint('std::bad_alloc', file=sys.stderr)\nsys.exit(1)\n"
    worker = fake_compiler(tmp_path, script).start({}, tmp_path)
    with pytest.raises(QuantizeError, match="it ran out of memory"):
        worker.run(np.zeros((1, 8, 8, 3), np.uint8))
    worker.close()


def gone(process: int, seconds: float = 20) -> bool:
    """Whether it has ended; one that was killed may take a moment."""
    state, deadline = Path("/proc", str(process), "stat"), time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if state.read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_an_interrupted_simulator_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator is a program that the vendor's library starts: it must not live on."""
    script = (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "print('ready', flush=True)\nchild.wait()\n"
    )
    worker = fake_compiler(tmp_path, script).start({}, tmp_path)
    monkeypatch.setattr(worker._process.stdout, "readline", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        worker.run(np.zeros((1, 8, 8, 3), np.uint8))
    worker.close()
    assert gone(int((tmp_path / "child").read_text()))


def test_a_damaged_artefact_is_refused(packages: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match=r"no \.kmodel"):
        simulate(b"", ["a"], TARGET, tmp_path / "log")
    whole = (packages["chip"] / "model.kmodel").read_bytes()
    with pytest.raises(QuantizeError, match="Canaan's compiler failed"):
        simulate(whole[: len(whole) // 2], ["a"], TARGET, tmp_path / "log")
    short = simulate(whole, ["a"], TARGET, tmp_path / "log")
    try:
        with pytest.raises(QuantizeError, match="has 6 outputs in place of 1"):
            short.run(["a"], {"images_u8": np.zeros((1, 64, 64, 3), np.uint8)})
    finally:
        short.close()
