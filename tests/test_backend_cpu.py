# SPDX-License-Identifier: Apache-2.0
"""The cpu backend: the contract, its numbers against ONNX Runtime, its options and its refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from backend_contract import (
    EBACKEND,
    EINVAL,
    EPACKAGE,
    ArtifactContract,
    BackendError,
    Case,
    Module,
    Session,
    Tensor,
    ffi,
    pictures,
    refused,
    same,
)

INPUT = "images_u8"


@pytest.fixture(scope="module")
def module_path(build_dir: Path) -> Path:
    path = build_dir / "lib" / "libyoloq_cpu.so"
    assert path.exists(), f"{path} is missing: run python3 build.py build"
    return path


@pytest.fixture(scope="module")
def module(module_path: Path) -> Module:
    return Module(module_path)


def conv(name: str, source: str, rng: np.random.Generator, inputs: int, outputs: int, stride: int = 1) -> tuple:
    """A 3x3 convolution: its node and its weight."""
    weight = rng.normal(0, 1 / np.sqrt(9 * inputs), (outputs, inputs, 3, 3)).astype(np.float32)
    pads, strides = [1, 1, 1, 1], [stride, stride]
    node = helper.make_node("Conv", [source, f"{name}_w"], [name], pads=pads, strides=strides)
    return node, numpy_helper.from_array(weight, f"{name}_w")


def write_model(
    path: Path, *, batch: int = 1, side: int = 64, depth: int = 1, width: int = 8, seed: int = 0, softmax: bool = False
) -> Case:
    """A small network as packages hold them: uint8 NHWC in, a box and a score map of half the side out."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Transpose", [INPUT], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("DequantizeLinear", ["nchw", "scale", "zero"], ["real"]),
    ]
    weights = [numpy_helper.from_array(np.float32(1 / 255), "scale"), numpy_helper.from_array(np.uint8(0), "zero")]
    source, channels = "real", 3
    for layer in range(depth):
        node, weight = conv(f"conv_{layer}", source, rng, channels, width, 2 if layer == 0 else 1)
        nodes += [node, helper.make_node("Relu", [f"conv_{layer}"], [f"relu_{layer}"])]
        weights.append(weight)
        source, channels = f"relu_{layer}", width
    if softmax:
        nodes.append(helper.make_node("Softmax", [source], ["soft"], axis=1))
        source = "soft"
    outputs = []
    for name, classes in (("box", 4), ("score", 3)):
        node, weight = conv(name, source, rng, width, classes)
        nodes.append(node)
        weights.append(weight)
        outputs.append(Tensor(name, (batch, classes, side // 2, side // 2), name))
    case = Case(path, Tensor(INPUT, (batch, side, side, 3), "input", "uint8"), tuple(outputs))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, case.input.shape)],
        [helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape) for tensor in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_model(tmp_path_factory.mktemp("cpu") / "model.onnx")


@pytest.fixture(scope="module")
def slow_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Some 9 billion multiply-adds."""
    return write_model(tmp_path_factory.mktemp("slow") / "model.onnx", side=512, depth=5, width=64)


class TestContract(ArtifactContract):
    name, targets, unknown_option = "cpu", "cpu", "no_such_option"


def with_options(case: Case, **options: str) -> Case:
    return replace(case, options=options)


def reference(case: Case, pixels: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's float32 answer."""
    session = onnxruntime.InferenceSession(case.artifact, providers=["CPUExecutionProvider"])
    return session.run([tensor.name for tensor in case.outputs], {case.input.name: pixels})


@pytest.mark.parametrize("batch", [1, 3])
def test_agrees_with_onnx_runtime(module: Module, tmp_path: Path, batch: int) -> None:
    case = write_model(tmp_path / "model.onnx", batch=batch, depth=3)
    pixels = pictures(case, 1)
    with module.session(case) as session:
        found = session.run(pixels)
    for ours, theirs in zip(found, reference(case, pixels), strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_outputs_are_matched_by_name(module: Module, case: Case) -> None:
    swapped = replace(case, outputs=case.outputs[::-1])
    with module.session(case) as one, module.session(swapped) as other:
        assert same(one.run(pictures(case, 1)), other.run(pictures(case, 1))[::-1])


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("hint", [0, 1, 2])
def test_hints_and_slots_agree(module: Module, case: Case, slots: int, hint: int) -> None:
    with module.session(replace(case, slots=slots, hint=hint)) as session:
        found = session.run(pictures(case, 1), slots - 1)
    for ours, theirs in zip(found, reference(case, pictures(case, 1)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_sdk_version(module: Module) -> None:
    import openvino

    assert ffi.string(module.api.sdk_version()).decode() == f"OpenVINO {openvino.__version__.split('-')[0]}"


@pytest.mark.parametrize(
    "options",
    [{"threads": "0"}, {"threads": "two"}, {"threads": "99999"}, {"precision": "f16"}, {"profile": "yes"}],
)
def test_bad_options(module: Module, case: Case, options: dict[str, str]) -> None:
    assert next(iter(options)) in refused(EINVAL, Session, module, with_options(case, **options))


def test_bad_hint(module: Module, case: Case) -> None:
    refused(EINVAL, Session, module, replace(case, hint=3))


def test_threads(module: Module, case: Case) -> None:
    with module.session(with_options(case, threads="1")) as one, module.session(case) as other:
        for ours, theirs in zip(one.run(pictures(case, 1)), other.run(pictures(case, 1)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_profile(module: Module, case: Case) -> None:
    text = ffi.new("char[]", 4096)
    with module.session(with_options(case, profile="1")) as session:
        refused(EINVAL, module.call, "profile", session.handle, 0, text, len(text))
        session.run(pictures(case, 1))
        module.call("profile", session.handle, 0, text, len(text))
        lines = [line.split("\t") for line in ffi.string(text).decode().splitlines()]
        assert any("conv_0" in name or "relu_0" in name for name, _ in lines)
        assert all(int(microseconds) >= 0 for _, microseconds in lines)
        short = ffi.new("char[]", 40)
        module.call("profile", session.handle, 0, short, len(short))
        kept = ffi.string(short).decode()
        assert kept == "" or kept.endswith("\n")
    with module.session(case) as session:
        session.run(pictures(case, 1))
        assert "profile" in refused(EINVAL, module.call, "profile", session.handle, 0, text, len(text))


# ------------------------------------------------------------------------------------------------------------- refusals


def altered(case: Case, folder: Path, change: object) -> Case:
    model = onnx.load(case.artifact)
    change(model.graph)
    path = folder / "altered.onnx"
    onnx.save(model, path)
    return replace(case, artifact=path)


def test_dynamic_batch_is_refused(module: Module, case: Case, tmp_path: Path) -> None:
    def free_batch(graph: onnx.GraphProto) -> None:
        for value in [*graph.input, *graph.output]:
            value.type.tensor_type.shape.dim[0].dim_param = "n"

    text = refused(EPACKAGE, Session, module, altered(case, tmp_path, free_batch))
    assert INPUT in text and "fixed" in text


def test_second_input_is_refused(module: Module, case: Case, tmp_path: Path) -> None:
    def add_input(graph: onnx.GraphProto) -> None:
        graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, case.outputs[0].shape))
        graph.node.append(helper.make_node("Add", ["more", "box"], ["sum"]))
        graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, case.outputs[0].shape))

    assert "one input" in refused(EPACKAGE, Session, module, altered(case, tmp_path, add_input))


def test_float_input_is_refused(module: Module, case: Case, tmp_path: Path) -> None:
    def float_input(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
        graph.node[1].CopyFrom(helper.make_node("Mul", ["nchw", "scale"], ["real"]))

    text = refused(EPACKAGE, Session, module, altered(case, tmp_path, float_input))
    assert "float32" in text and "uint8" in text


def test_unknown_operator_is_refused(module: Module, case: Case, tmp_path: Path) -> None:
    def unknown(graph: onnx.GraphProto) -> None:
        graph.node[2].op_type = "NoSuchOperator"

    text = refused(EPACKAGE, Session, module, altered(case, tmp_path, unknown))
    assert "NoSuchOperator" in text and "Exception from" not in text


def test_names_the_outputs_there_are(module: Module, case: Case) -> None:
    text = refused(EPACKAGE, Session, module, case.with_output(1, name="scores"))
    assert "'scores'" in text and "box" in text and "score" in text


@pytest.mark.parametrize("changes", [{"name": "images"}, {"shape": (1, 64, 60, 3)}, {"shape": (1, 3, 64, 64)}])
def test_input_must_match(module: Module, case: Case, changes: dict) -> None:
    refused(EPACKAGE, Session, module, replace(case, input=replace(case.input, **changes)))


# ---------------------------------------------------------------------------------------------------------------- cache


def test_cache(module: Module, case: Case, tmp_path: Path) -> None:
    cache = tmp_path / "缓存"
    cache.mkdir()
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(case.artifact.read_bytes())
    cached = replace(case, artifact=artifact, cache_dir=cache)
    with module.session(cached) as session:
        first = session.run(pictures(case, 1))
    blobs = sorted(cache.iterdir())
    assert blobs
    with module.session(cached) as session:
        assert same(session.run(pictures(case, 1)), first)
    assert sorted(cache.iterdir()) == blobs

    # Another model under the same path must not get the old one's compiled form, not even with the old file's times.
    times = artifact.stat()
    write_model(artifact, seed=1)
    os.utime(artifact, ns=(times.st_atime_ns, times.st_mtime_ns))
    with module.session(cached) as session:
        second = session.run(pictures(case, 1))
    assert not same(second, first)
    np.testing.assert_allclose(second[0], reference(cached, pictures(case, 1))[0], atol=2e-5)


def test_damaged_cache(module: Module, case: Case, tmp_path: Path) -> None:
    cached = replace(case, cache_dir=tmp_path)
    with module.session(cached) as session:
        first = session.run(pictures(case, 1))
    for blob in tmp_path.iterdir():
        blob.write_bytes(blob.read_bytes()[:100])
    with module.session(cached) as session:
        assert same(session.run(pictures(case, 1)), first)


def test_missing_cache_folder(module: Module, case: Case, tmp_path: Path) -> None:
    assert "无" in refused(EINVAL, Session, module, replace(case, cache_dir=tmp_path / "无"))


# ------------------------------------------------------------------------------------------------------------ precision


def test_auto_precision_stays_close(module: Module, tmp_path: Path) -> None:
    case = write_model(tmp_path / "model.onnx", depth=3, width=32)
    expected = reference(case, pictures(case, 1))
    with module.session(with_options(case, precision="auto")) as session:
        for ours, theirs in zip(session.run(pictures(case, 1)), expected, strict=True):
            assert np.abs(ours - theirs).max() < 0.03 * np.abs(theirs).max()


def precision_without_bf16(module_path: Path, folder: Path, precision: str) -> None:
    """Body of the process below: prints the session's log, or the failure."""
    case = write_model(folder / "model.onnx", width=32, softmax=True)
    module = Module(module_path)
    pixels = pictures(case, 1)
    try:
        with module.session(with_options(case, precision=precision)) as session:
            found = session.run(pixels)
            print(session.log)
    except BackendError as error:
        print("refused", error.status, error.text)
        return
    with module.session(case) as session:
        print("as f32" if same(session.run(pixels), found) else "not as f32")


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_cpu_without_bf16(module_path: Path, tmp_path: Path, precision: str) -> None:
    """oneDNN held to AVX2 stands for an older CPU; it reads the limit when it loads, hence a process of its own."""
    script = (
        "import sys, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_backend_cpu as t\n"
        "t.precision_without_bf16(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])\n"
    )
    command = [sys.executable, "-c", script, str(module_path), str(tmp_path), precision]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout
    if precision == "auto":
        assert "f32" in out.splitlines()[0] and out.splitlines()[-1] == "as f32"
    else:
        assert out.startswith((f"refused {EBACKEND} ", f"refused {EINVAL} "))
