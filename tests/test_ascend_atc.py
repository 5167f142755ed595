# SPDX-License-Identifier: Apache-2.0
"""The double of ATC is strict: it takes what the vendor's documents name, and refuses what blogs made up and what its
operators do not take, with the vendor's codes."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from ascend import atc
from ascend.om import unpack
from test_ascend_lowering import lowered, quantised
from yoloq_quantize.compile.ascend_aipp import aipp

GOOD = {
    "model": "m.onnx",
    "framework": "5",
    "output": "m",
    "soc_version": "Ascend310P3",
    "input_shape": "images_u8:1,3,16,16",
    "insert_op_conf": "aipp.cfg",
    "precision_mode": "force_fp16",
    "output_type": "FP32",
}


@pytest.fixture(scope="module")
def deploy() -> bytes:
    return lowered(quantised())[1]


@pytest.fixture
def folder(tmp_path: Path, deploy: bytes) -> Path:
    (tmp_path / "m.onnx").write_bytes(deploy)
    (tmp_path / "aipp.cfg").write_text(aipp(16, 16, 1.0))
    return tmp_path


def run(folder: Path, **changes: str | None) -> tuple[int, str]:
    """changes: of GOOD's options; None leaves one out. In this process, which is quicker; elsewhere it is a program."""
    options = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = double().main([f"--{key}={value}" for key, value in options.items()])
        except SystemExit as end:
            code = end.code
    return code, said.getvalue()


@functools.cache
def double() -> ModuleType:
    spec = importlib.util.spec_from_file_location("atc_double", atc.PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_right_is_compiled(folder: Path) -> None:
    code, said = run(folder)
    assert code == 0 and "ATC start working now" in said and "ATC run success" in said, said
    header, files = unpack((folder / "m.om").read_bytes())
    assert header["inputs"] == [
        {"name": "images_u8", "dtype": 4, "dims": [1, 16, 16, 3], "size": 768, "format": 1, "aipp": 3}
    ]
    (output,) = header["outputs"]
    assert output == {"name": "Conv_12:0:box_0", "dtype": 0, "dims": [1, 4, 16, 16], "size": 4096, "format": 0}
    assert sorted(files) == ["aipp.cfg", "model.onnx", "options.json"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"precision_mode": "force_int8"}, "E10001: Value force_int8 for parameter --precision_mode"),
        ({"soc_version": "Ascend310P"}, "E10001: Value Ascend310P for parameter --soc_version"),
        ({"calibration_data": "x"}, "unknown command line flag 'calibration_data'"),
        ({"output_type": "INT4"}, "E10001"),
        ({"framework": None}, "E10007: --framework is required"),
        ({"framework": "5", "model": "m.pth"}, "E10001: Value m.pth for parameter --model"),
        ({"model": "none.onnx"}, "E13000"),
        ({"output": None}, "E10004"),
        ({"output": "nowhere/m"}, "E13002"),
        ({"input_shape": "images_u8"}, "E10002"),
        ({"input_shape": "images:1,3,16,16"}, "E10016: Opname images "),
        ({"input_shape": "images_u8:4,3,16,16"}, "E10001"),
        ({"dynamic_batch_size": "1,4"}, "E10055"),
        ({"precision_mode": "force_fp32"}, "E10001: Value force_fp32"),
        ({"precision_mode_v2": "fp16"}, "E10001"),
        ({"precision_mode": None, "precision_mode_v2": "origin"}, "E10001: Value origin"),
        ({"insert_op_conf": "none.cfg"}, "E13000"),
        ({"input_format": "NHWC"}, "E10001"),
        ({"keep_dtype": "keep.txt"}, "E10016: Opname Conv_99 "),
        ({"op_precision_mode": "precision.ini"}, "E10001: Value precision.ini"),
        ({"log": "loud"}, "E10010"),
    ],
)
def test_what_is_wrong_is_refused(folder: Path, changes: dict, code: str) -> None:
    (folder / "keep.txt").write_text("Conv_99\n")
    (folder / "precision.ini").write_text("[ByOpType]\nSoftmax=best\n")
    failed, said = run(folder, **changes)
    assert failed == 1 and code in said and not (folder / "m.om").exists(), said


def test_what_the_documents_name_is_taken(folder: Path) -> None:
    (folder / "keep.txt").write_text("Conv_12\nOpType::Sigmoid\n")
    (folder / "precision.ini").write_text(
        "[ByOpType]\nSigmoid=high_precision\n[ByNodeName]\nConv_12=high_performance\n"
    )
    code, said = run(
        folder, precision_mode=None, precision_mode_v2="mixed_float16", keep_dtype="keep.txt", log="null",
        op_precision_mode="precision.ini", output_type="FP16", enable_small_channel="1", buffer_optimize="l2_optimize",
    )  # fmt: skip
    assert code == 0, said
    assert unpack((folder / "m.om").read_bytes())[0]["outputs"][0]["size"] == 2048


def change(deploy: bytes, edit: Callable[[onnx.GraphProto, dict[str, onnx.NodeProto]], None]) -> bytes:
    model = onnx.load_from_string(deploy)
    edit(model.graph, {node.name: node for node in model.graph.node})
    return model.SerializeToString()


def constant(graph: onnx.GraphProto, name: str, array: np.ndarray) -> None:
    next(tensor for tensor in graph.initializer if tensor.name == name).CopyFrom(numpy_helper.from_array(array, name))


def attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def read_raw(graph: onnx.GraphProto, nodes: dict[str, onnx.NodeProto]) -> None:
    for node in graph.node:
        node.input[:] = [nodes["Conv_0"].output[0] if name == nodes["Conv_0.dequant"].output[0] else name
                         for name in node.input]  # fmt: skip


NETWORKS = {
    "QuantizeLinear": (
        lambda g, n: setattr(n["Conv_4.quant"], "op_type", "QuantizeLinear"), "ai.onnx::14::QuantizeLinear"
    ),
    "a vendor's domain": (lambda g, n: setattr(n["Conv_12"], "domain", "com.x"), "E19010"),
    "offset": (lambda g, n: attribute(n["Conv_0.quant"], "offset", 200.0), "out of range"),
    "offset as an integer": (lambda g, n: attribute(n["Conv_0.quant"], "offset", 3), "must be floats"),
    "scale": (lambda g, n: attribute(n["Conv_0.quant"], "scale", 0.0), "out of range"),
    "dst_type": (lambda g, n: attribute(n["Conv_0.quant"], "dst_type", "UINT8"), "not INT8"),
    "float weights": (lambda g, n: constant(g, "Conv_4.weight", np.zeros((4, 4, 3, 3), np.float32)), "int8 constants"),
    "float bias": (lambda g, n: constant(g, "Conv_4.bias", np.zeros(4, np.float32)), "int32 constant"),
    "float scales": (lambda g, n: constant(g, "Conv_4.dequant.param", np.ones(4, np.float32)), "uint64"),
    "too few scales": (lambda g, n: constant(g, "Conv_4.dequant.param", np.ones(3, np.uint64)), "one for each channel"),
    "offset_w": (lambda g, n: constant(g, "Conv_4.dequant.param", np.full(4, 1 << 41, np.uint64)), "offset_w"),
    "int32 read by Sigmoid": (read_raw, "no AscendDequant"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_that_is_not_as_documented_is_refused(folder: Path, deploy: bytes, kind: str) -> None:
    edit, reason = NETWORKS[kind]
    (folder / "m.onnx").write_bytes(change(deploy, edit))
    code, said = run(folder)
    assert code == 1 and reason in said, said


@pytest.mark.parametrize(("opset", "right"), [(7, False), (13, False), (14, True), (18, True), (19, False)])
def test_opsets_8_to_18_are_taken_and_hard_swish_from_14_on(folder: Path, opset: int, right: bool) -> None:
    model = onnx.load_from_string(lowered(quantised("HardSwish"))[1])
    model.opset_import[0].version = opset
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    code, said = run(folder)
    assert (code == 0) is right, said
    assert right or f"ai.onnx::{opset}::" in said


def test_a_damaged_model_is_refused(folder: Path) -> None:
    (folder / "m.onnx").write_bytes(b"\xff" * 100)
    assert "E13005" in run(folder)[1]


def test_a_model_of_floats_may_have_any_precision(folder: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,16,16] x) => (float[1,3,16,16] y) { y = Relu(x) }'
    model = ir.from_onnx_text(text)
    next(iter(model.graph)).name = "relu"
    (folder / "m.onnx").write_bytes(ir.to_proto(model).SerializeToString())
    code, said = run(folder, precision_mode="force_fp32", input_shape="x:1,3,16,16", insert_op_conf=None)
    assert code == 0, said
    given = unpack((folder / "m.om").read_bytes())[0]["inputs"][0]
    assert (given["dtype"], given["format"], given["aipp"]) == (0, 0, 0)


def test_numbers_are_the_runtimes(folder: Path) -> None:
    """aclDataType, which ONNX numbers otherwise."""
    assert (TensorProto.UINT8, TensorProto.FLOAT) == (2, 1)
    run(folder)
    header = unpack((folder / "m.om").read_bytes())[0]
    assert (header["inputs"][0]["dtype"], header["outputs"][0]["dtype"]) == (4, 0)
