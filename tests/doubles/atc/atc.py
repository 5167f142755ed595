# SPDX-License-Identifier: Apache-2.0
"""A double of Ascend's ATC, for tests only: takes the options and values that the vendor's documents name, refuses the
rest with the vendor's codes, and writes an .om that the double of the runtime executes (tests/ascend/om.py)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import onnx
from network import AtcError, Network, check_network

from ascend.aipp import FORMATS, Aipp, AippError
from ascend.om import pack

SOCS = [
    "Ascend310",
    "Ascend310P1",
    "Ascend310P3",
    "Ascend310P5",
    "Ascend310P7",
    "Ascend310B1",
    "Ascend310B2",
    "Ascend310B3",
    "Ascend310B4",
    "Ascend910A",
    "Ascend910B1",
    "Ascend910B2",
    "Ascend910B2C",
    "Ascend910B3",
    "Ascend910B4",
    "Ascend910B4-1",
]
PRECISIONS = [
    "force_fp16",
    "force_fp32",
    "cube_fp16in_fp32out",
    "allow_mix_precision",
    "allow_mix_precision_fp16",
    "allow_mix_precision_bf16",
    "allow_fp32_to_fp16",
    "allow_fp32_to_bf16",
    "must_keep_origin_dtype",
]
PRECISIONS_2 = ("fp16", "origin", "cube_fp16in_fp32out", "mixed_float16", "mixed_bfloat16", "mixed_hif8", "cube_hif8")
IMPLEMENTATIONS = ("high_performance", "high_precision", "high_precision_for_all", "high_performance_for_all")
CHOICES = ("high_performance", "high_precision", "enable_float_32_execution", "norm_class")
UNQUANTISED = ("force_fp32", "must_keep_origin_dtype", "origin")  # what quantised models may not be combined with

SIZES = {0: 4, 1: 2, 2: 1, 4: 1}

TEXT: Callable[[str], bool] = bool
# Every option that is taken, and which values.
OPTIONS: dict[str, tuple[str, ...] | Callable[[str], bool]] = {
    "mode": ("0",),
    "model": TEXT,
    "framework": ("0", "1", "3", "5"),
    "output": TEXT,
    "soc_version": SOCS,
    "input_format": ("NCHW", "NHWC", "ND"),
    "input_shape": TEXT,
    "insert_op_conf": TEXT,
    "precision_mode": PRECISIONS,
    "precision_mode_v2": PRECISIONS_2,
    "output_type": ("FP32", "FP16", "UINT8", "INT8"),
    "op_select_implmode": IMPLEMENTATIONS,
    "optypelist_for_implmode": TEXT,
    "op_precision_mode": TEXT,
    "keep_dtype": TEXT,
    "enable_small_channel": ("0", "1"),
    "buffer_optimize": ("l1_optimize", "l2_optimize", "off_optimize"),
    "dynamic_batch_size": TEXT,
    "log": ("debug", "info", "warning", "error", "null"),
}


def main(arguments: list[str]) -> int:
    print("ATC start working now, please wait for a moment.")
    try:
        options = parse(arguments)
        compile_model(options)
    except AtcError as error:
        print("ATC run failed, Please check the detail log, Try 'atc --help' for more information")
        print(f"{error.code}: {error}")
        return 1
    print("ATC run success, welcome to the next use.")
    return 0


def parse(arguments: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or name not in OPTIONS:
            print(f"ERROR: unknown command line flag '{name}'", file=sys.stderr)
            raise SystemExit(1)
        known = OPTIONS[name]
        if name == "log" and value not in known:
            raise AtcError("E10010", f"Value {value} for parameter --log is invalid.")
        if not (known(value) if callable(known) else value in known):
            reason = f"The value must be selected from the following: {{{','.join(() if callable(known) else known)}}}."
            raise AtcError("E10001", f"Value {value} for parameter --{name} is invalid. Reason: {reason}")
        options[name] = value
    if "framework" not in options:
        support = "0(Caffe) or 1(MindSpore) or 3(TensorFlow) or 5(Onnx)"
        raise AtcError("E10007", f"--framework is required. The value must be {support}.")
    for name in ("model", "output", "soc_version"):
        if name not in options:
            raise AtcError("E10004", f"Value for --{name} is empty.")
    if "precision_mode" in options and "precision_mode_v2" in options:
        reason = "precision_mode_v2 cannot be set together with precision_mode"
        raise AtcError("E10001", f"Value {options['precision_mode']} for parameter --precision_mode is invalid. "
                                 f"Reason: {reason}")  # fmt: skip
    if options["framework"] != "5" or not options["model"].endswith(".onnx"):
        raise AtcError("E10001", f"Value {options['model']} for parameter --model is invalid. Reason: The file is not "
                                 "an ONNX model, which is all that the double compiles")  # fmt: skip
    return options


def read(name: str, parameter: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        real = Path(name).absolute()
        raise AtcError("E13000", f"Failed to open file {real}, --{parameter}. Reason: {error.strerror}.") from error


def compile_model(options: dict[str, str]) -> None:
    try:
        model = onnx.load_from_string(read(options["model"], "model"))
    except AtcError:
        raise
    except Exception as error:
        raise AtcError("E13005", f"Failed to parse file {Path(options['model']).absolute()}.") from error
    network = check_network(model)
    given = shape_of(options, network)
    if network.quantised and "dynamic_batch_size" in options:
        raise AtcError("E10055", "The model is quantised and cannot have --dynamic_batch_size.")
    for name in ("precision_mode", "precision_mode_v2"):
        if network.quantised and options.get(name) in UNQUANTISED:
            reason = "The model is quantised"
            raise AtcError("E10001", f"Value {options[name]} for parameter --{name} is invalid. Reason: {reason}")
    aipp, text = aipp_of(options, given)
    keep = kept(options, network)
    check_choices(options)
    files = {"model.onnx": model.SerializeToString(), "options.json": json.dumps({"keep_dtype": keep}).encode()}
    header = {
        "kind": "graph",
        "soc": options["soc_version"],
        "batch": given[0],
        "inputs": [_input(network, given, aipp)],
        "outputs": _outputs(network, options),
    }
    output = Path(f"{options['output']}.om")
    if not output.absolute().parent.is_dir():
        raise AtcError("E13002", f"Path {output.absolute().parent} does not exist.")
    output.write_bytes(pack(header, {**files, **({"aipp.cfg": text} if text else {})}))


def shape_of(options: dict[str, str], network: Network) -> list[int]:
    """--input_shape must be the model's."""
    value, sample = options.get("input_shape"), "input_name1:n1,c1,h1,w1"
    if value is None:
        return network.shape
    name, colon, sides = value.rpartition(":")
    if not colon or not all(side.isdigit() for side in sides.split(",")):
        raise AtcError("E10002", f"Value {value} for parameter --input_shape is invalid. Reason: it is no list of "
                                 f"numbers behind a name. The value must be formatted as {sample}.")  # fmt: skip
    if name != network.input:
        raise AtcError("E10016", f"Opname {name} specified in --input_shape is not found in the model.")
    if [int(side) for side in sides.split(",")] != network.shape:
        raise AtcError("E10001", f"Value {value} for parameter --input_shape is invalid. Reason: The model's is "
                                 f"{network.shape}")  # fmt: skip
    return network.shape


def aipp_of(options: dict[str, str], given: list[int]) -> tuple[Aipp | None, bytes]:
    if "insert_op_conf" not in options:
        return None, b""
    text = read(options["insert_op_conf"], "insert_op_conf")
    try:
        aipp = Aipp.parse(text.decode())
    except (AippError, UnicodeDecodeError) as error:
        raise AtcError("E10001", f"Value {options['insert_op_conf']} for parameter --insert_op_conf is invalid. "
                                 f"Reason: {error}") from error  # fmt: skip
    if options.get("input_format", "NCHW") != "NCHW" or [aipp.channels, aipp.height, aipp.width] != given[1:]:
        raise AtcError("E10001", f"Value {options['insert_op_conf']} for parameter --insert_op_conf is invalid. "
                                 f"Reason: it makes {aipp.channels}x{aipp.height}x{aipp.width}, the model takes "
                                 f"{given}")  # fmt: skip
    return aipp, text


def kept(options: dict[str, str], network: Network) -> list[str]:
    if "keep_dtype" not in options:
        return []
    names = read(options["keep_dtype"], "keep_dtype").decode().split("\n")
    found = []
    for name in filter(None, names):
        if name.startswith("OpType::"):
            found += [node for node, kind in network.kinds.items() if kind == name.removeprefix("OpType::")]
        elif name not in network.kinds:
            raise AtcError("E10016", f"Opname {name} specified in --keep_dtype is not found in the model. Confirm "
                                     "whether this node name exists.")  # fmt: skip
        else:
            found.append(name)
    return found


def check_choices(options: dict[str, str]) -> None:
    if "op_precision_mode" not in options:
        return
    lines = read(options["op_precision_mode"], "op_precision_mode").decode().split("\n")
    for line in filter(None, lines):
        name, equals, choice = line.partition("=")
        if line not in ("[ByOpType]", "[ByNodeName]") and (not name or not equals or choice not in CHOICES):
            raise AtcError("E10001", f"Value {options['op_precision_mode']} for parameter --op_precision_mode is "
                                     f"invalid. Reason: {line}")  # fmt: skip


def _input(network: Network, given: list[int], aipp: Aipp | None) -> dict:
    if aipp is None:
        dtype, dims, shape_format, kind = 0, given, 0, 0
    else:
        dtype, dims, shape_format, kind = 4, aipp.dims(given[0]), 1, FORMATS[aipp.format]
    return {"name": network.input, **_tensor(dtype, dims), "format": shape_format, "aipp": kind}


def _outputs(network: Network, options: dict[str, str]) -> list[dict]:
    """As the runtime tells them: the node, its output's number, the tensor."""
    cast = {"FP16": 1, "INT8": 2, "UINT8": 4}.get(options.get("output_type", "FP32"), 0)
    return [
        {"name": f"{network.makers[name]}:{name}", **_tensor(cast, dims), "format": 0}
        for name, dims in network.outputs.items()
    ]


def _tensor(dtype: int, dims: list[int]) -> dict:
    size = SIZES[dtype]
    for side in dims:
        size *= side
    return {"dtype": dtype, "dims": dims, "size": size}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
