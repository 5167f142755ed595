# SPDX-License-Identifier: Apache-2.0
"""ATC's double compiles for Ascend: what it is told, what it refuses, several batch sizes, build kits, errors in one
line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from ascend import atc
from ascend.interpreter import Mode
from ascend.om import Executor, unpack
from exact import exact_session
from flow_case import World, make_world
from yoloq.cli import main
from yoloq_quantize import quantize
from yoloq_quantize.compile.ascend import Atc, compile_ascend, prepare
from yoloq_quantize.compile.ascend_errors import explain
from yoloq_quantize.compile.compiled import Order
from yoloq_quantize.doctor import checks
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.compilers import compile_package
from yoloq_quantize.flow.plan import read_plan
from yoloq_quantize.scheme import load_target

TARGET = load_target("ascend310p")
Capture = pytest.CaptureFixture[str]


def silent(items: list, _: str) -> list:
    return items


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("ascend") / "world")


@pytest.fixture(scope="module")
def host(world: World) -> Path:
    """The detector quantised for Ascend, as the CPU runs it."""
    out = world.folder / "host.yoloq"
    data = world.folder / "data.yaml"
    quantize(
        world.folder / "tiny.onnx", world.folder / "calib", out, "ascend310p", recipe="fast", data=data,
        measure=False, compiled=False,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def graph(host: Path) -> bytes:
    return (host / "model.onnx").read_bytes()


@pytest.fixture
def cann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with CANN, whose ATC is the double."""
    home = atc.install(tmp_path / "cann")
    monkeypatch.setenv("PATH", atc.path_with(home))
    return home


@pytest.fixture
def no_cann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    assert Atc.find() is None, "this machine has CANN: these tests are of one without"


def manifest(package: Path) -> dict:
    return json.loads((package / "manifest.json").read_text())


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)


# ---------------------------------------------------------------------------------------------- packages


def test_the_package_says_what_was_compiled(host: Path, cann: Path, tmp_path: Path) -> None:
    out = tmp_path / "chip.yoloq"
    assert not compile_package(host, "ascend310p", out, tmp_path / "log", silent, order=Order("Ascend310P1", (1, 4)))
    made, before = manifest(out), manifest(host)
    assert made["target"] == {
        "chip": "ascend310p", "backend": "ascend", "sdk": "CANN", "sdk_version": atc.VERSION,
        "compiler": f"{before['target']['compiler']}, ATC of CANN {atc.VERSION} for Ascend310P1",
    }  # fmt: skip
    assert made["backend_options"] == {"soc": "Ascend310P1"}
    assert made["artifacts"] == [{"file": "model.om", "batch": 1}, {"file": "model.b4.om", "batch": 4}]
    assert sorted(made["files"]) == ["labels.txt", "model.b4.om", "model.om"]
    assert (made["outputs"], made["head"], made["input"]) == (before["outputs"], before["head"], before["input"])
    assert made["quantization"]["int8_layers"] == 5 and made["quantization"]["kept_fp16"] == []
    assert made["quantization"]["fp16_layers"] == 6
    assert not (tmp_path / "log").exists()


def test_what_is_compiled_computes_the_quantised_graph(host: Path, graph: bytes, cann: Path, tmp_path: Path) -> None:
    out = tmp_path / "chip.yoloq"
    compile_package(host, "ascend310p", out, tmp_path / "log", silent, order=Order(batches=(1, 4)))
    session = exact_session(graph)
    one, four = (Executor.load((out / f"model{name}.om").read_bytes(), Mode()) for name in ("", ".b4"))
    pictures = [picture(seed) for seed in range(4)]
    together = heads(four, np.concatenate(pictures))
    for index, each in enumerate(pictures):
        wanted = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"images_u8": each}), strict=True))
        for name, array in heads(one, each).items():
            assert np.abs(array - wanted[name]).max() <= 0.02 * wanted[name].std() + 0.02, name
            np.testing.assert_allclose(together[name][index : index + 1], array, rtol=1e-4, atol=1e-4)


def heads(executor: Executor, pixels: np.ndarray) -> dict[str, np.ndarray]:
    data, found, start = executor.run(pixels.tobytes()), {}, 0
    for output in executor.header["outputs"]:
        node, index, name = output["name"].split(":")
        assert node and index == "0"
        array = np.frombuffer(data, np.float32, int(np.prod(output["dims"])), start).reshape(output["dims"])
        found[name], start = array, start + array.nbytes
    return found


def test_without_int8_everything_is_fp16_and_bytes_still_go_in(world: World, cann: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "f16.yoloq", world.folder
    quantize(
        folder / "tiny.onnx", None, out, "ascend310b", precision="float32", data=folder / "data.yaml", measure=False
    )
    made = manifest(out)
    assert (made["precision"], made["input"]["dtype"]) == ("float16", "uint8")
    assert made["backend_options"] == {"soc": "Ascend310B4"} and made["quantization"]["int8_layers"] == 0
    executor = Executor.load((out / "model.om").read_bytes(), Mode(half=True))
    assert executor.aipp.fields["var_reci_chn_0"] == 1 / 256
    plain = exact_session(folder / "f.yoloq" / "model.onnx")
    wanted = dict(zip([o.name for o in plain.get_outputs()], plain.run(None, {"images_u8": picture()}), strict=True))
    for name, array in heads(executor, picture()).items():
        np.testing.assert_allclose(array, wanted[name], atol=0.02)


def test_the_same_input_gives_the_same_bytes(host: Path, cann: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        compile_package(host, "ascend310p", tmp_path / f"{name}.yoloq", tmp_path / "log", silent)
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / f"{n}.yoloq").iterdir()} for n in ("a", "b"))
    assert one == other


def test_several_sizes_need_not_begin_with_one(host: Path, cann: Path, tmp_path: Path) -> None:
    compile_package(host, "ascend910b", tmp_path / "c.yoloq", tmp_path / "log", silent, order=Order(batches=(2, 8)))
    assert manifest(tmp_path / "c.yoloq")["artifacts"] == [
        {"file": "model.om", "batch": 2}, {"file": "model.b8.om", "batch": 8},
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- what ATC is told


def test_the_command_and_its_files(graph: bytes) -> None:
    job = prepare(graph, TARGET, Order("Ascend310P3", (1, 4)))
    assert sorted(job.files) == ["aipp.cfg", "model.b1.onnx", "model.b4.onnx", "op_precision.ini"]
    assert job.commands[4] == (
        "--model=model.b4.onnx", "--framework=5", "--output=model.b4", "--soc_version=Ascend310P3",
        "--input_format=NCHW", "--input_shape=images_u8:4,3,64,64", "--insert_op_conf=aipp.cfg",
        "--precision_mode=force_fp16", "--output_type=FP32", "--log=error", "--op_precision_mode=op_precision.ini",
    )  # fmt: skip
    assert job.files["op_precision.ini"] == b"[ByOpType]\nSoftmax=high_precision\n"
    assert not any("dynamic" in word for word in job.commands[4]), "quantised models may have no gears"
    model = onnx.load_from_string(job.files["model.b4.onnx"])
    assert max(entry.version for entry in model.opset_import) <= 16


def test_a_decoded_head_keeps_its_boxes_in_float32(world: World, cann: Path, tmp_path: Path) -> None:
    folder, out = world.folder, tmp_path / "dense.yoloq"
    quantize(
        folder / "tiny.onnx", folder / "calib", out, "ascend310p", recipe="fast", data=folder / "data.yaml",
        measure=False, head="dense-cxcywh",
    )  # fmt: skip
    _, files = unpack((out / "model.om").read_bytes())
    kept = json.loads(files["options.json"])["keep_dtype"]
    kinds = {node.name: node.op_type for node in onnx.load_from_string(files["model.onnx"]).graph.node}
    assert "Mul" in {kinds[name] for name in kept} and "Conv" not in {kinds[name] for name in kept}


@pytest.mark.parametrize(
    ("soc", "right"), [("Ascend310P3", True), ("Ascend310P9-x", True), ("Ascend310P", False), ("310P3", False),
                       ("Ascend310B4", False), ("Ascend310P3;x", False)]
)  # fmt: skip
def test_the_chip_must_be_of_the_family(graph: bytes, soc: str, right: bool) -> None:
    if right:
        assert f"--soc_version={soc}" in prepare(graph, TARGET, Order(soc)).commands[1]
        return
    with pytest.raises(QuantizeError, match=r"none of its chips; give .*npu-smi info.*Ascend310P3"):
        prepare(graph, TARGET, Order(soc))


def test_orders_are_checked_before_any_work(world: World, tmp_path: Path) -> None:
    folder = world.folder
    with pytest.raises(QuantizeError, match="ascending numbers"):
        Order(batches=(4, 1))
    with pytest.raises(QuantizeError, match="none of its chips"):
        quantize(folder / "tiny.onnx", folder / "calib", tmp_path / "x.yoloq", "ascend310b", order=Order("Ascend310P3"))
    for target in ("cpu", "bm1688"):
        with pytest.raises(QuantizeError, match=f"target {target} has no --soc"):
            quantize(folder / "tiny.onnx", folder / "calib", tmp_path / "x.yoloq", target, order=Order(batches=(1, 4)))


# ---------------------------------------------------------------------------------------------- what goes wrong


def test_an_error_of_atc_is_one_line_and_its_words_are_kept(graph: bytes, cann: Path, tmp_path: Path) -> None:
    """The double knows this release's chips only."""
    log = tmp_path / "made.yoloq.log"
    wanted = r"^Ascend's ATC failed: it does not know the chip Ascend310P9; .*its words are in .*made\.yoloq\.log$"
    with pytest.raises(QuantizeError, match=wanted) as said:
        compile_ascend(graph, TARGET, log, silent, Order("Ascend310P9"))
    assert "\n" not in str(said.value)
    assert "--soc_version=Ascend310P9" in log.read_text() and "E10001" in log.read_text()


def test_success_without_an_om_is_an_error(graph: bytes, cann: Path, tmp_path: Path) -> None:
    fake(cann, 'echo "ATC run success, welcome to the next use."')
    with pytest.raises(QuantizeError, match=r"wrote 0 \.om files"):
        compile_ascend(graph, TARGET, tmp_path / "log", silent)


def test_an_om_named_after_the_system_is_found(graph: bytes, cann: Path, tmp_path: Path) -> None:
    fake(cann, 'echo made > model.b1_linux_aarch64.om; echo no > model.b10.om; echo "ATC run success, bye"')
    assert compile_ascend(graph, TARGET, tmp_path / "log", silent).artifact == b"made\n"


def test_an_end_without_the_word_of_success_is_an_error(graph: bytes, cann: Path, tmp_path: Path) -> None:
    fake(cann, "touch model.b1.om")
    with pytest.raises(QuantizeError, match="exit code 0, and it does not say why"):
        compile_ascend(graph, TARGET, tmp_path / "log", silent)


def fake(cann: Path, script: str) -> None:
    (cann / "bin" / "atc").write_text(f"#!/bin/sh\n{script}\n")


def test_cann_that_was_not_sourced_is_found_and_sourced(
    graph: bytes, no_cann: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = atc.install(tmp_path / "there")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(home))
    found = Atc.find()
    assert (found.set_env, found.version()) == (home / "set_env.sh", atc.VERSION)
    made = compile_ascend(graph, TARGET, tmp_path / "log", silent)
    assert made.artifact.startswith(b"YQDBL_OM") and made.sdk_version == atc.VERSION


def test_without_cann_the_api_says_what_to_do(graph: bytes, no_cann: None, tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match=r"not on this machine: install CANN .*build kit"):
        compile_ascend(graph, TARGET, tmp_path / "log", silent)


@pytest.mark.parametrize(
    ("said", "code", "meaning"),
    [
        ("E16002: No ONNX parser is registered for optype ai.onnx::22::Gelu.\n", 1, "no operator Gelu of opset 22"),
        (
            "E19010: No parser is registered for Op [/model.0/act, optype [ai.onnx::11::HardSwish]].\n", 1,
            "no operator HardSwish of opset 11, which is node /model.0/act",
        ),
        (
            "E10001: Value [Ascend310P] for parameter [--soc_version] is invalid. Reason: no.\n", 1,
            "it does not know the chip Ascend310P; --soc wants the Name",
        ),
        (
            "E10001: Value force_int8 for parameter --precision_mode is invalid. Reason: It must be one of x.", 1,
            "it refuses 'force_int8' for --precision_mode: It must be one of x.",
        ),
        ("ERROR: unknown command line flag 'calibration_data'\n", 1, "it has no option --calibration_data"),
        (
            "E10016: Opname Conv_9 specified in --keep_dtype is not found in the model. Confirm", 1,
            "it does not find the node Conv_9",
        ),
        ("E10002: Value x for parameter --input_shape is invalid. Reason: bad. The", 1, "the input's shape: bad."),
        ("E13000: Failed to open file /a/b.onnx, --model.\n", 1, "it cannot read or write /a/b.onnx"),
        ("E14001: Argument of op Conv_3 [Conv2D] is invalid.\n", 1, "it cannot compile the operator Conv_3"),
        ("E19999: Inner Error!\n E19999  more\n", 1, "E19999: Inner Error!"),
        ("TypeError: cannot pickle 'FrameLocalsProxy' object\n", 1, "its Python is too new"),
        ("AttributeError: `np.float_` was removed in the NumPy 2.0 release.\n", 1, "NumPy 2"),
        ("ModuleNotFoundError: No module named 'decorator'\n", 1, "its Python lacks decorator"),
        ("atc.bin: error while loading shared libraries: libge.so: cannot\n", 127, "libge.so is not found; source"),
        ("No space left on device\n", 1, "the disk is full"),
        ("", -9, "it was ended by signal 9, for want of memory"),
        ("hello\n", 3, "exit code 3, and it does not say why"),
    ],
)  # fmt: skip
def test_sayings_are_translated(said: str, code: int, meaning: str) -> None:
    found = explain(f"ATC start working now, please wait for a moment.\n{said}", code)
    assert meaning in found and "\n" not in found


# ---------------------------------------------------------------------------------------------- build kits


def test_a_kit_makes_the_package_that_a_machine_with_cann_would_have_made(
    host: Path, no_cann: None, tmp_path: Path
) -> None:
    out, kit, order = tmp_path / "p $x'.yoloq", tmp_path / "p.kit", Order("Ascend310P1", (1, 4))
    assert compile_package(host, "ascend310p", out, tmp_path / "log", silent, order=order, kit=kit)
    assert not out.exists() and os.access(kit / "build.sh", os.X_OK)
    moved = Path(shutil.move(kit, tmp_path / "elsewhere dir"))
    home = atc.install(tmp_path / "cann")
    done = run_kit(moved, home, tmp_path)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", atc.path_with(home))
        compile_package(host, "ascend310p", tmp_path / "direct.yoloq", tmp_path / "log", silent, order=order)
    one, other = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (out, tmp_path / "direct.yoloq"))
    assert one == other


def run_kit(kit: Path, home: Path | None, out: Path) -> subprocess.CompletedProcess[str]:
    """On a machine that has nothing of ours; CANN is there, but was not sourced."""
    clean = {"PATH": "/usr/bin:/bin", **({"ASCEND_HOME_PATH": str(home)} if home else {})}
    return subprocess.run([kit / "build.sh", out], capture_output=True, text=True, env=clean, check=False)


def test_a_kit_says_what_is_missing_and_what_failed(host: Path, no_cann: None, tmp_path: Path) -> None:
    kit, out = tmp_path / "p.kit", tmp_path / "p.yoloq"
    compile_package(host, "ascend310p", out, tmp_path / "log", silent, order=Order("Ascend310P9"), kit=kit)
    done = run_kit(kit, None, tmp_path)
    assert done.returncode == 1 and "there is no atc: install CANN" in done.stderr
    done = run_kit(kit, atc.install(tmp_path / "cann"), tmp_path)
    assert done.returncode == 1
    assert (
        "ATC failed: it does not know the chip Ascend310P9" in done.stderr and "E10001" in (kit / "atc.log").read_text()
    )
    assert not out.exists() and not list(tmp_path.glob(".p.yoloq*"))


def test_a_kit_replaces_no_package(host: Path, no_cann: None, tmp_path: Path) -> None:
    kit, out = tmp_path / "p.kit", tmp_path / "p.yoloq"
    compile_package(host, "ascend310p", out, tmp_path / "log", silent, kit=kit)
    out.mkdir()
    done = run_kit(kit, atc.install(tmp_path / "cann"), tmp_path)
    assert done.returncode == 1 and "exists already" in done.stderr and not list(out.iterdir())


def test_a_folder_that_is_no_kit_is_never_replaced(world: World, no_cann: None, tmp_path: Path) -> None:
    """And it is seen before any work: this model would not even be read."""
    folder = tmp_path / "p.kit"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for force, reason in ((False, "exists already"), (True, "is no build kit")):
        with pytest.raises(QuantizeError, match=reason):
            quantize(tmp_path / "none.onnx", world.folder / "calib", tmp_path / "p.yoloq", "ascend310p", force=force)
    assert (folder / "mine.txt").read_text() == "mine"


def test_a_kit_runs_on_an_old_python() -> None:
    """CANN's Python may be 3.7: what lies in a kit has no syntax of a newer one."""
    import ast

    folder = Path(sys.modules[explain.__module__].__file__).parent
    for name in ("ascend_finish.py", "ascend_errors.py"):
        tree = ast.parse((folder / name).read_text(), feature_version=(3, 7))
        used = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        used |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
        assert used <= {*sys.stdlib_module_names, "ascend_errors", "__future__"}
        assert "removeprefix" not in (folder / name).read_text()


def test_amct_gets_the_float_network_and_what_to_leave_out(
    host: Path, graph: bytes, no_cann: None, tmp_path: Path
) -> None:
    kit = tmp_path / "p.kit"
    compile_package(host, "ascend310p", tmp_path / "p.yoloq", tmp_path / "log", silent, kit=kit)
    text = (kit / "amct" / "quant.cfg").read_text()
    model = onnx.load(kit / "amct" / "float.onnx")
    layers = [node.name for node in model.graph.node if node.op_type == "Conv"]
    skipped = [line.split('"')[1] for line in text.splitlines() if line.startswith("skip_layers")]
    assert len(layers) == 11 and len(skipped) == 6 and set(skipped) < set(layers)
    x = picture().transpose(0, 3, 1, 2).astype(np.float32) / 256
    found = exact_session(model).run(["box_0"], {"images_u8": x})[0]
    wanted = exact_session(graph).run(["box_0"], {"images_u8": picture()})[0]
    assert np.abs(found - wanted).max() < 0.1 * wanted.std() + 0.1
    assert "var_reci_chn_0 : 0.00390625" in (kit / "amct" / "aipp.cfg").read_text()
    assert {path.name for path in (kit / "other_inputs").iterdir()} == {"bgr.cfg", "nv12.cfg", "nv12_full_range.cfg"}


# ---------------------------------------------------------------------------------------------- commands and pipelines


def test_the_commands(host: Path, world: World, no_cann: None, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "q.yoloq"
    words = [
        "compile",
        str(host),
        "--target",
        "ascend310p",
        "--out",
        str(out),
        "--soc",
        "Ascend310P3",
        "--batch",
        "4,1",
    ]
    assert main(words) == 0
    assert f"{tmp_path / 'q.kit'}: a build kit" in capsys.readouterr().out
    assert main(words) == 1 and "exists already" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", atc.path_with(atc.install(tmp_path / "cann")))
        assert main(words) == 0
        assert "compiled for ascend310p" in capsys.readouterr().out
    assert [each["batch"] for each in manifest(out)["artifacts"]] == [1, 4]
    assert main(["compile", str(out), "--target", "ascend310p", "--out", str(tmp_path / "r.yoloq")]) == 1
    assert "holds no model.onnx" in capsys.readouterr().err
    assert main(["compile", str(out), "--target", "cpu", "--out", str(tmp_path / "r.yoloq")]) == 1
    assert "there is nothing to compile" in capsys.readouterr().err and not (tmp_path / "r.yoloq").exists()
    folder = world.folder
    words = ["quantize", str(folder / "tiny.onnx"), "--calib", str(folder / "calib"), "--target", "ascend310p"]
    words += [
        "--recipe",
        "fast",
        "--data",
        str(folder / "data.yaml"),
        "--no-measure",
        "--out",
        str(tmp_path / "s.yoloq"),
    ]
    assert main([*words, "--json", str(tmp_path / "s.json")]) == 0
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["kit"] is True and Path(summary["package"]) == tmp_path / "s.kit"
    assert main([*words, "--not-compiled"]) == 0 and manifest(tmp_path / "s.yoloq")["target"]["chip"] == "cpu"


def test_a_pipeline_says_which_chip_and_batches(world: World, no_cann: None) -> None:
    lines = ["models:", "  - model: tiny.onnx", "    targets: [ascend310p]", "    quantize: {calib: calib}"]
    text = "\n".join([*lines, "    compile: {soc: Ascend310P1, batch: [1, 4]}", ""])
    (job,) = read_plan(world.write(text)).jobs
    assert job.order == Order("Ascend310P1", (1, 4))
    for old, new, reason in (
        ("Ascend310P1", "Ascend310B1", "none of its chips"),
        ("[1, 4]", "[4, 1]", "ascending"),
        ("targets: [ascend310p]", "targets: [cpu]", "has no --soc"),
    ):
        with pytest.raises(QuantizeError, match=rf"pipeline\.yaml:\d+: .*{reason}"):
            read_plan(world.write(text.replace(old, new)))


def test_doctor_says_whether_atc_is_there(cann: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def line() -> str:
        return next(text for subject, _, text in checks() if subject == "ascend compiler")

    assert line() == f"ATC of CANN {atc.VERSION}, {cann / 'bin' / 'atc'}"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "a build kit is written" in line()


def test_a_target_without_choices_of_operators_writes_no_file(graph: bytes) -> None:
    plain = replace(TARGET, compiler={**TARGET.compiler, "op_precision": {}})
    job = prepare(graph, plain, Order())
    assert "op_precision.ini" not in job.files and not any("op_precision" in word for word in job.commands[1])
