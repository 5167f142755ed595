# SPDX-License-Identifier: Apache-2.0
"""The interpreter itself, by numbers worked out by hand and by plain loops: what proves the lowering must not be wrong
in the same way."""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ascend import serve
from ascend.floats import halved
from ascend.interpreter import Interpreter, Mode, Unsupported
from ascend.om import Executor, pack
from ascend.windows import correlate


def layer(
    weight: np.ndarray,
    bias: np.ndarray | None,
    scale: np.ndarray,
    quant: dict[str, object],
    shape: tuple[int, ...],
    **attributes: object,
) -> bytes:
    """x -> AscendQuant -> Conv -> AscendDequant -> y."""
    arrays = {"w": weight, "s": scale, **({} if bias is None else {"b": bias})}
    nodes = [
        helper.make_node("AscendQuant", ["x"], ["q"], name="q", dst_type="INT8", **quant),
        helper.make_node("Conv", ["q", "w", *(["b"] if bias is not None else [])], ["a"], name="c", **attributes),
        helper.make_node("AscendDequant", ["a", "s"], ["y"], name="d", dtype=0),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "one", [given], [answer], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)]).SerializeToString()


def packed(*scales: float) -> np.ndarray:
    return np.array(scales, np.float32).view(np.uint32).astype(np.uint64)


ONE = np.array([[[[2]]]], np.int8)


def run(model: bytes, *x: float, mode: Mode | None = None) -> list[float]:
    given = np.array(x, np.float32).reshape(1, 1, 1, -1)
    return Interpreter(model, mode).run({"x": given})["y"].reshape(-1).tolist()


def test_numbers_by_hand() -> None:
    """scale 4, offset -10: x = 0.5 is 2 - 10 = -8; (-8 + 10) * 2 = 4; + 3 = 7; * 0.125 = 0.875."""
    quant = {"scale": 4.0, "offset": -10.0}
    model = layer(ONE, np.array([3], np.int32), packed(0.125), quant, (1, 1, 1, 1))
    assert run(model, 0.5) == [0.875]
    found = Interpreter(model).run({"x": np.full((1, 1, 1, 1), 0.5, np.float32)}, also=["q", "a"])
    assert (found["q"].item(), found["a"].item()) == (-8, 7)
    assert (found["q"].dtype, found["a"].dtype) == (np.int8, np.int32)


def test_ties_go_to_even_before_the_offset_and_the_range_is_kept() -> None:
    model = layer(ONE, None, packed(0.5), {"scale": 1.0, "offset": 1.0}, (1, 1, 1, 5))
    assert run(model, 0.5, 1.5, 2.5, 1000, -1000) == [0, 2, 2, 126, -129]


def test_outside_the_picture_is_zero_and_not_the_smallest_integer() -> None:
    """3x3 of ones around one pixel: with offset -128, a pixel that is not there must add nothing."""
    weight = np.ones((1, 1, 3, 3), np.int8)
    model = layer(weight, None, packed(1.0), {"scale": 1.0, "offset": -128.0}, (1, 1, 1, 1), pads=[1] * 4)
    assert run(model, 7) == [7]


def test_a_scale_of_19_bits_and_of_a_channel() -> None:
    weight = np.array([1, 1], np.int8).reshape(2, 1, 1, 1)
    exact = 1 + 2**-11  # 11 bits behind the point: the last one is lost
    model = layer(weight, None, packed(exact, 2.0), {"scale": 1.0, "offset": 0.0}, (1, 1, 1, 1))
    assert run(model, 4) == [4 * exact, 8]
    assert run(model, 4, mode=Mode(scale_bits=19)) == [4, 8]


def test_fp16_multiplies_adds_and_rounds_in_fp16() -> None:
    """2049 is no FP16 number; 1.001 as a factor is 1.0009765625."""
    model = layer(np.array([[[[1]]]], np.int8), None, packed(1.0), {"scale": 1.001, "offset": 0.0}, (1, 1, 1, 1))
    assert run(model, 100.4) == [101] and run(model, 100.4, mode=Mode(half=True)) == [float(
        np.rint(np.float16(np.float16(100.4) * np.float16(1.001)))
    )]  # fmt: skip
    plain = layer(ONE, None, packed(1024.5), {"scale": 1.0, "offset": 0.0}, (1, 1, 1, 1))
    assert run(plain, 1) == [2049] and run(plain, 1, mode=Mode(half=True)) == [2048]


def test_fp16_is_numpys() -> None:
    """Every FP16 number, its neighbours and the ties between; sums and products of any two."""
    whole = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (whole[:-1].astype(np.float64) + whole[1:]) / 2
    with np.errstate(all="ignore"):
        given = np.concatenate(
            [whole, np.float32(middle), np.nextafter(whole, np.float32(9)), np.float32([65519, 1e30])]
        )
        wanted = given.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(halved(given), wanted)
        one, other = np.random.default_rng(0).permutation(whole), np.random.default_rng(1).permutation(whole)
        for ours, theirs in ((one * other, np.multiply), (one + other, np.add)):
            exact = theirs(one.astype(np.float16), other.astype(np.float16)).astype(np.float32)
            np.testing.assert_array_equal(halved(ours), exact)


def test_sums_of_int8_are_exact() -> None:
    """4096 products of the largest size, which float32 alone would not add up exactly."""
    rng = np.random.default_rng(0)
    x = rng.choice([-128, 127], (1, 4096, 1, 2)).astype(np.float32)
    w = rng.choice([-127, 127, 126], (3, 4096, 1, 1)).astype(np.float32)
    wanted = np.einsum("ichw,oc->iohw", x.astype(np.int64), w[:, :, 0, 0].astype(np.int64))
    assert np.abs(wanted).max() > 0
    np.testing.assert_array_equal(correlate(x, w, {}).astype(np.int64), wanted)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 0, 2, 1], "strides": [2, 1]},
        {"dilations": [2, 2], "pads": [2] * 4},
        {"group": 2},
        {"group": 4},
        {"auto_pad": b"SAME_UPPER", "strides": [2, 2]},
    ],
)
def test_convolutions_as_plain_loops_make_them(attributes: dict) -> None:
    rng = np.random.default_rng(1)
    groups = attributes.get("group", 1)
    x = rng.integers(-9, 9, (2, 4, 6, 7)).astype(np.float32)
    w = rng.integers(-9, 9, (4 if groups > 1 else 5, 4 // groups, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(correlate(x, w, attributes, outside=3), loops(x, w, attributes, 3))


def loops(x: np.ndarray, w: np.ndarray, attributes: dict, outside: float) -> np.ndarray:
    groups, strides = attributes.get("group", 1), attributes.get("strides", [1, 1])
    dilations, pads = attributes.get("dilations", [1, 1]), attributes.get("pads", [0, 0, 0, 0])
    if "auto_pad" in attributes:  # 6x7, kernel 3, stride 2: 3x4, so that 1 and 2 rows and columns are missing
        pads = [0, 1, 1, 1]
    padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=outside)
    rows = (padded.shape[2] - 2 * dilations[0] - 1) // strides[0] + 1
    columns = (padded.shape[3] - 2 * dilations[1] - 1) // strides[1] + 1
    result = np.zeros((len(x), len(w), rows, columns))
    each = len(w) // groups
    for out in range(len(w)):
        some = padded[:, out // each * w.shape[1] : (out // each + 1) * w.shape[1]]
        for i in range(rows):
            for j in range(columns):
                top, left = i * strides[0], j * strides[1]
                part = some[:, :, top : top + 2 * dilations[0] + 1 : dilations[0],
                            left : left + 2 * dilations[1] + 1 : dilations[1]]  # fmt: skip
                result[:, out, i, j] = (part * w[out]).sum(axis=(1, 2, 3))
    return result


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weight": np.float32(ONE)}, "not integers"),
        ({"bias": np.float32([1])}, "not integers"),
        ({"scale": np.float32([1])}, "not int32 and uint64"),
        ({"scale": packed(1.0) | np.uint64(1 << 40)}, "offset_w"),
        ({"scale": packed(1.0, 2.0)}, "2 scales for 1 channels"),
        ({"quant": {"scale": 1.0, "offset": 0.5}}, "no int8"),
        ({"quant": {"scale": 1.0, "offset": 0.0, "sqrt_mode": 1}}, "sqrt_mode"),
        ({"bias": np.array([2**31 - 1], np.int32)}, "32 bits"),
    ],
)
def test_what_no_document_describes_is_refused(change: dict, reason: str) -> None:
    parts = {"weight": ONE, "bias": None, "scale": packed(1.0), "quant": {"scale": 1.0, "offset": 0.0}}
    with pytest.raises(Unsupported, match=reason):
        run(layer(**{**parts, **change}, shape=(1, 1, 1, 1)), 100)


# ---------------------------------------------------------------------------------------------- as a server


def served(*messages: bytes) -> list[int | bytes]:
    given, out = io.BytesIO(), io.BytesIO()
    for message in messages:
        given.write(len(message).to_bytes(8, "little") + message)
    given.seek(0)
    serve.serve(given, out)
    out.seek(0)
    found: list[int | bytes] = []
    while head := out.read(8):
        number = int.from_bytes(head, "little")
        if number == serve.ERROR:
            found.append(out.read(int.from_bytes(out.read(8), "little")))
        else:
            found += [number, *([out.read(number)] if number else [])]
    return found


def small_om() -> bytes:
    model = layer(ONE, None, packed(0.5), {"scale": 1.0, "offset": 0.0}, (1, 1, 1, 2))
    tensor = {"dtype": 0, "dims": [1, 1, 1, 2], "size": 8, "format": 0}
    header = {"kind": "graph", "inputs": [{"name": "x", **tensor}], "outputs": [{"name": "d:0:y", **tensor}]}
    return pack(header, {"model.onnx": model, "options.json": b'{"keep_dtype": []}'})


def test_a_model_is_served_request_by_request() -> None:
    one, two = (np.array(values, np.float32).tobytes() for values in ([3, 4], [5, 6]))
    assert served(small_om(), one, two) == [0, 8, one, 8, two]
    assert Executor.load(small_om(), Mode()).run(one) == one


def test_what_cannot_be_served_is_said_and_the_next_request_works() -> None:
    (said,) = served(b"YQDBL_OMnonsense")
    assert isinstance(said, bytes) and b"\n" not in said
    good = np.array([3, 4], np.float32).tobytes()
    ready, bad, size, answer = served(small_om(), b"123", good)
    assert (ready, size, answer) == (0, 8, good) and b"ValueError" in bad


def test_a_graph_is_read_as_onnx() -> None:
    """The models of these tests are what ONNX would parse: only the three operators are the vendor's own."""
    model = onnx.load_from_string(layer(ONE, None, packed(1.0), {"scale": 1.0, "offset": 0.0}, (1, 1, 1, 1)))
    assert [node.op_type for node in model.graph.node] == ["AscendQuant", "Conv", "AscendDequant"]
