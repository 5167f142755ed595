# SPDX-License-Identifier: Apache-2.0
"""The native decoder against the NumPy one: every head structure, element type and layout, and the edges."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from head_factory import ANCHOR_LAYOUTS, LAYOUTS, STRUCTURES, Structure, make_head
from native_decode import NativeDecoder
from reference_decode import Dense, Head, Output, Tensor, decode_dense, decode_rows, in_order

DTYPES = ("float32", "float16", "int8", "uint8")
THRESHOLDS = (0.001, 0.25, 0.9999, 1.0)
BY_NAME = {structure.name: structure for structure in STRUCTURES}


@pytest.fixture(scope="module")
def library(testing_library: str) -> ctypes.CDLL:
    """The testing library, loaded."""
    return ctypes.CDLL(testing_library)


def mismatch(found: np.ndarray, dense: Dense, threshold: float) -> str:
    """Why candidates differ from the dense reference; "" if they do not."""
    keys = found["position"].astype(np.int64), found["class_id"]
    if found.tobytes() != in_order(found).tobytes():
        return "not in order"
    if len(set(zip(*keys, strict=True))) != len(found):
        return "a candidate comes twice"
    mask = np.zeros(dense.scores.shape, bool)
    mask[keys] = True
    if (mask & (dense.scores < threshold - 1e-6)).any() or (~mask & (dense.scores > threshold + 1e-6)).any():
        return "another set of candidates"
    if not np.allclose(found["score"], dense.scores[keys], rtol=0, atol=1e-6):
        return "other scores"
    boxes = np.stack([found[name] for name in ("x1", "y1", "x2", "y2")], axis=1)
    return "" if np.allclose(boxes, dense.boxes[keys[0]], rtol=1e-5, atol=1e-3) else "other boxes"


def check(
    library: ctypes.CDLL, head: Head, arrays: list[np.ndarray], thresholds: tuple[float, ...] = THRESHOLDS
) -> int:
    """Compares both pictures of a batch with the reference; returns the number of candidates above 0.25."""
    decoder = NativeDecoder(library, head, 200000)
    assert [decoder.tensor_bytes(i) for i in range(len(arrays))] == [array.nbytes for array in arrays]
    count = 0
    for picture in range(2):
        dense = decode_dense(head, arrays, picture)
        for threshold in thresholds:
            found = decoder.run(arrays, picture, threshold)
            assert mismatch(found, dense, threshold) == ""
            count += len(found) if threshold == 0.25 else 0
    return count


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS + ANCHOR_LAYOUTS)
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.name)
def test_equals_reference(library: ctypes.CDLL, structure: Structure, layout: str, dtype: str) -> None:
    head, arrays = make_head(structure, dtype=dtype, layout=layout, classes=7)
    if layout in ANCHOR_LAYOUTS and structure.box != "anchor":
        with pytest.raises(ValueError, match="rank 5, which goes with box anchor only"):
            NativeDecoder(library, head)
    else:
        assert check(library, head, arrays) > 10


@pytest.mark.parametrize("classes", [1, 2, 16, 80])
@pytest.mark.parametrize("structure", ["yolo26", "v8_combined", "v5", "yolox", "dense_cxcywh"])
def test_class_counts(library: ctypes.CDLL, structure: str, classes: int) -> None:
    for layout in LAYOUTS:
        head, arrays = make_head(BY_NAME[structure], layout=layout, classes=classes, size=(320, 256), seed=classes)
        assert check(library, head, arrays, (0.25,)) > 10


@pytest.mark.parametrize("box_dtype", DTYPES)
@pytest.mark.parametrize("structure", ["yolo26", "v8", "yolox", "dense_xyxy_separate"])
def test_boxes_have_their_own_type(library: ctypes.CDLL, structure: str, box_dtype: str) -> None:
    for dtype in DTYPES:
        head, arrays = make_head(BY_NAME[structure], dtype=dtype, box_dtype=box_dtype, layout="nhwc")
        assert check(library, head, arrays) > 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("structure", ["v8", "v5", "yolox", "dense_cxcywh_objectness"])
def test_layouts_give_the_same_bytes(library: ctypes.CDLL, structure: str, dtype: str) -> None:
    layouts = LAYOUTS + (ANCHOR_LAYOUTS if structure == "v5" else ())
    results = []
    for layout in layouts:
        head, arrays = make_head(BY_NAME[structure], dtype=dtype, layout=layout, size=(640, 640))
        for picture in range(2):
            swapped = [np.ascontiguousarray(array[::-1]) for array in arrays]
            decoder = NativeDecoder(library, head)
            results.append((picture, decoder.run(arrays, picture, 0.1).tobytes()))
            results.append((picture, decoder.run(swapped, 1 - picture, 0.1).tobytes()))
    assert len(set(results)) == 2
    assert min(len(data) for _, data in results) > 10 * 28


def test_levels_need_no_order_and_extra_outputs_are_left_alone(library: ctypes.CDLL) -> None:
    head, arrays = make_head(BY_NAME["v8"])
    expected = NativeDecoder(library, head).run(arrays)
    order = [5, 2, 0, 3, 1, 4]
    head.outputs = [Output(order.index(output.tensor) + 1, output.role, output.level) for output in head.outputs][::-1]
    head.tensors = [Tensor("extra", "uint8", (1, 1), 1)] + [head.tensors[i] for i in order]
    arrays = [np.zeros((1, 1), np.uint8)] + [arrays[i] for i in order]
    assert NativeDecoder(library, head).run(arrays).tobytes() == expected.tobytes()


# ------------------------------------------------------------------------------------- the comparison is able to fail


def swap_xy(head: Head, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays with the first two box channels swapped (channel-first layouts)."""
    swapped = [array.copy() for array in arrays]
    for output in head.outputs:
        if output.role in ("box", "combined"):
            first = swapped[output.tensor]
            step = head.box_channels // 4
            first[:, :step], first[:, step : 2 * step] = first[:, step : 2 * step].copy(), first[:, :step].copy()
    return swapped


@pytest.mark.parametrize("structure", ["yolo26", "v8", "v5", "yolox"])
def test_wrong_references_are_told_apart(library: ctypes.CDLL, structure: str) -> None:
    head, arrays = make_head(BY_NAME[structure], dtype="int8")
    found = NativeDecoder(library, head).run(arrays)
    assert mismatch(found, decode_dense(head, arrays, 0), 0.25) == ""

    def off_by_one(tensor: Tensor) -> Tensor:
        return replace(tensor, zero_point=tensor.zero_point + 1)

    def inverted(tensor: Tensor) -> Tensor:
        return replace(tensor, scale=1 / tensor.scale)

    wrong = {
        "strides off by one": decode_dense(replace(head, strides=[9, 16, 32]), arrays, 0),
        "x and y swapped": decode_dense(head, swap_xy(head, arrays), 0),
        "zero point": decode_dense(replace(head, tensors=[off_by_one(tensor) for tensor in head.tensors]), arrays, 0),
        "the other picture": decode_dense(head, arrays, 1),
    }
    with np.errstate(over="ignore", invalid="ignore"):
        tensors = [inverted(tensor) for tensor in head.tensors]
        wrong["scale inverted"] = decode_dense(replace(head, tensors=tensors), arrays, 0)
    if head.box == "ltrb":
        wrong["cell centre 0"] = decode_dense(head, arrays, 0, center=0.0)
    if head.objectness:
        scores = decode_dense(head, arrays, 0).scores
        wrong["objectness squared"] = Dense(decode_dense(head, arrays, 0).boxes, scores**1.001)
    right = decode_dense(head, arrays, 0)
    wrong["positions shifted"] = Dense(np.roll(right.boxes, 1, axis=0), np.roll(right.scores, 1, axis=0))
    wrong["classes shifted"] = Dense(right.boxes, np.roll(right.scores, 1, axis=1))
    assert [name for name, dense in wrong.items() if mismatch(found, dense, 0.25) == ""] == []


def test_wrong_candidates_are_told_apart(library: ctypes.CDLL) -> None:
    head, arrays = make_head(BY_NAME["yolo26"])
    found = NativeDecoder(library, head).run(arrays)
    dense = decode_dense(head, arrays, 0)
    assert mismatch(found[1:], dense, 0.25) == "another set of candidates"
    assert mismatch(found[::-1], dense, 0.25) == "not in order"
    assert mismatch(np.repeat(found, 2), dense, 0.25) == "a candidate comes twice"
    for name, step, reason in (("score", 1e-5, "other scores"), ("x2", 0.01, "other boxes")):
        moved = found.copy()
        moved[name] += step
        assert mismatch(moved, dense, 0.25) == reason


# ------------------------------------------------------------------------------------------------ edges of the scores


def score_head(scores: np.ndarray, form: str, scale: float = 0.0, zero_point: int = 0) -> tuple[Head, list[np.ndarray]]:
    """A dense head of one class with these stored scores, and boxes of 1 px."""
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32)[:, None], (1, len(scores)))[None]
    head = Head("xyxy", 1, 64, 64, form)
    head.outputs = [Output(0, "box"), Output(1, "score")]
    head.tensors = [Tensor("box", "float32", boxes.shape, 1)]
    head.tensors += [Tensor("score", str(scores.dtype), (1, 1, len(scores)), 1, scale, zero_point)]
    return head, [np.ascontiguousarray(boxes), scores.reshape(1, 1, -1)]


def every_value(dtype: str) -> np.ndarray:
    """All stored values of a small type; for float32 those around the logits and probabilities of the thresholds."""
    if dtype == "float16":
        return np.arange(65536, dtype=np.uint16).view(np.float16)
    if dtype != "float32":
        return np.arange(256, dtype=np.uint8).view(dtype)
    with np.errstate(divide="ignore"):
        logits = [np.log(p) - np.log1p(-p) for p in THRESHOLDS] + [14.0, 16.0, 16.5, 17.0]
    centers = np.array([*logits, *THRESHOLDS, 88.0, -88.0, 0.0, np.inf, -np.inf, np.nan], np.float32)
    near = centers.view(np.int32)[:, None] + np.arange(-300, 301, dtype=np.int32)
    return np.concatenate([near.ravel().view(np.float32), np.linspace(-120, 120, 4001, dtype=np.float32)])


@pytest.mark.parametrize("form", ["logit", "probability"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_quick_test_rejects_nothing_that_passes(library: ctypes.CDLL, dtype: str, form: str) -> None:
    quantization = {"logit": (0.0625, 5), "probability": (1 / 200, 7)}[form] if "int" in dtype else (0.0, 0)
    head, arrays = score_head(every_value(dtype), form, *quantization)
    decoder = NativeDecoder(library, head, 100000)
    everything = decoder.run(arrays, 0, 1e-37)
    with np.errstate(over="ignore", invalid="ignore"):
        dense = decode_dense(head, arrays, 0).scores[:, 0]
    if form == "probability":
        dense = np.where(np.isfinite(dense), np.minimum(dense, 1), np.nan)
    assert np.allclose(everything["score"], dense[everything["position"]], rtol=1e-6, atol=1e-37)
    assert not set(np.flatnonzero(dense > 1e-36)) - set(everything["position"].tolist())
    candidates = np.unique(everything["score"])
    limits = np.concatenate([np.float32(THRESHOLDS), candidates[:: max(1, len(candidates) // 200)]])
    for limit in limits:
        expected = everything[everything["score"] >= limit]
        assert decoder.run(arrays, 0, limit).tobytes() == expected.tobytes()


def test_quick_test_with_objectness(library: ctypes.CDLL) -> None:
    head, arrays = make_head(BY_NAME["yolox_combined"], dtype="int8", size=(320, 320))
    decoder = NativeDecoder(library, head, 100000)
    everything = decoder.run(arrays, 0, 1e-37)
    for limit in np.unique(everything["score"])[::50]:
        expected = everything[everything["score"] >= limit]
        assert decoder.run(arrays, 0, limit).tobytes() == expected.tobytes()


def test_scores_that_no_integer_can_reach(library: ctypes.CDLL) -> None:
    head, arrays = score_head(np.full(300, 127, np.int8), "logit", 0.001, 0)
    assert len(NativeDecoder(library, head).run(arrays, 0, 0.5)) == 300
    assert len(NativeDecoder(library, head).run(arrays, 0, 0.75)) == 0


def test_integers_without_a_scale_are_real(library: ctypes.CDLL) -> None:
    head, arrays = score_head(np.array([-3, 0, 2], np.int8), "logit", 0.0, 5)
    found = NativeDecoder(library, head).run(arrays, 0, 0.4)
    assert found["position"].tolist() == [2, 1]
    assert found["score"].tolist() == pytest.approx([0.880797, 0.5])


@pytest.mark.parametrize("structure", ["yolo26", "v8", "v5", "yolox_combined", "dense_cxcywh"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_not_a_number_is_dropped(library: ctypes.CDLL, structure: str, dtype: str) -> None:
    head, arrays = make_head(BY_NAME[structure], dtype=dtype)
    rng = np.random.default_rng(1)
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        for array in arrays:
            array[rng.random(array.shape) < 0.01] = bad
    with np.errstate(invalid="ignore", over="ignore"):
        dense = decode_dense(head, arrays, 0)
    if head.score == "probability":
        dense.scores[~np.isfinite(dense.scores)] = np.nan
    finite = np.isfinite(dense.boxes.astype(np.float32)).all(axis=1)
    assert 0 < (~finite).sum() < len(finite)
    dense.scores[~finite] = np.nan
    for threshold in THRESHOLDS:
        found = NativeDecoder(library, head).run(arrays, 0, threshold)
        assert mismatch(found, dense, threshold) == ""


def test_everything_not_a_number(library: ctypes.CDLL) -> None:
    for structure in STRUCTURES:
        head, arrays = make_head(structure)
        for array in arrays:
            array[:] = np.nan
        assert len(NativeDecoder(library, head).run(arrays, 1, 0.001)) == 0


def test_infinite_logits_are_certain(library: ctypes.CDLL) -> None:
    for dtype in (np.float32, np.float16):
        head, arrays = score_head(np.array([np.inf, -np.inf, 0], dtype), "logit")
        found = NativeDecoder(library, head).run(arrays, 0, 1.0)
        assert found["position"].tolist() == [0]
        assert found["score"].tolist() == [1.0]


def test_huge_bins_do_not_overflow(library: ctypes.CDLL) -> None:
    head, arrays = make_head(BY_NAME["v8"])
    for output in head.outputs:
        if output.role == "box":
            arrays[output.tensor] *= 1000
    assert np.abs(arrays[0]).max() > 3000
    assert check(library, head, arrays, (0.25,)) > 10


# --------------------------------------------------------------------------------------------------- order, overflow


@pytest.mark.parametrize("structure", ["yolo26", "v5"])
def test_ties_go_by_class_then_position(library: ctypes.CDLL, structure: str) -> None:
    for layout in LAYOUTS:
        head, arrays = make_head(BY_NAME[structure], dtype="int8", layout=layout)
        for array in arrays:
            array[:] = 60
        found = NativeDecoder(library, head).run(arrays)
        positions = len(decode_dense(head, arrays, 0).boxes)
        assert found["class_id"].tolist() == np.repeat(np.arange(5), positions).tolist()
        assert found["position"].tolist() == np.tile(np.arange(positions), 5).tolist()


@pytest.mark.parametrize("structure", ["yolo26", "v5", "yolox", "dense_cxcywh"])
@pytest.mark.parametrize("limit", [1, 10, 300, 5000])
def test_overflow_keeps_the_best(library: ctypes.CDLL, structure: str, limit: int) -> None:
    for dtype in DTYPES:
        for layout in ("nchw", "nhwc"):
            head, arrays = make_head(BY_NAME[structure], dtype=dtype, layout=layout, classes=40, size=(320, 320))
            everything = NativeDecoder(library, head, 200000).run(arrays, 0, 0.001)
            assert len(everything) > 10000
            found = NativeDecoder(library, head, limit).run(arrays, 0, 0.001)
            assert found.tobytes() == everything[:limit].tobytes()


def test_runs_do_not_depend_on_earlier_ones(library: ctypes.CDLL) -> None:
    head, arrays = make_head(BY_NAME["yolo26"], classes=40, size=(320, 320))
    decoder = NativeDecoder(library, head, 100)
    first = decoder.run(arrays, 0, 0.25)
    decoder.run(arrays, 1, 0.001)
    assert decoder.run(arrays, 0, 0.25).tobytes() == first.tobytes()


# ------------------------------------------------------------------------------------------------------- end to end


def end2end_head(rows: np.ndarray, classes: int = 5, score: str = "probability") -> Head:
    """A head over rows [batch, rows, 6]."""
    head = Head("xyxy", classes, 640, 640, score)
    head.outputs = [Output(0, "end2end")]
    head.tensors = [Tensor("output0", str(rows.dtype), rows.shape, -1)]
    return head


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("bad", [-1.0, -0.5, 5.0, 1.5, 1e9, np.nan, np.inf, -np.inf])
def test_end2end(library: ctypes.CDLL, dtype: str, bad: float) -> None:
    rng = np.random.default_rng(2)
    rows = np.concatenate(
        [rng.uniform(0, 640, (2, 300, 4)), rng.random((2, 300, 1)), rng.integers(0, 5, (2, 300, 1))], 2
    )
    rows[:, 5::7, 5] = bad
    rows[:, 6::11, 4] = np.nan
    for column in range(4):
        rows[:, 20 + column, column] = (np.nan, np.inf, -np.inf)[column % 3]
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(rows, dtype)
    head = end2end_head(rows)
    for picture in range(2):
        for threshold in THRESHOLDS:
            expected = decode_rows(head, rows, picture, threshold)
            assert NativeDecoder(library, head).run([rows], picture, threshold).tobytes() == expected.tobytes()
    assert len(decode_rows(head, rows, 0, 0.25)) not in (
        0,
        len(decode_rows(head, rows[:, :, [0, 1, 2, 3, 4, 4]], 0, 0.25)),
    )


def test_end2end_counts_and_classes(library: ctypes.CDLL) -> None:
    rows = np.zeros((1, 4, 6), np.float32)
    rows[0, :, 4] = (0.5, 0.9, 0.25, 0.2499)
    rows[0, :, 5] = (4, 0, -0.0, 1)
    found = NativeDecoder(library, end2end_head(rows)).run([rows], 0, 0.25)
    assert found["class_id"].tolist() == [0, 4, 0]
    assert found["position"].tolist() == [1, 0, 2]


# ------------------------------------------------------------------------------------------------------- validation


def yolo26() -> Head:
    """A sound head to spoil: separate box and score tensors at three levels, 160 x 96 px, 5 classes."""
    return make_head(BY_NAME["yolo26"])[0]


def v5(layout: str = "nchw") -> Head:
    """A sound anchor head."""
    return make_head(BY_NAME["v5"], layout=layout)[0]


def retensor(head: Head, index: int = 0, **changes: object) -> Head:
    """The head with fields of one tensor changed."""
    tensors = [replace(tensor, **changes) if i == index else tensor for i, tensor in enumerate(head.tensors)]
    return replace(head, tensors=tensors)


def reoutput(head: Head, index: int = 0, **changes: object) -> Head:
    """The head with fields of one output changed."""
    outputs = [replace(output, **changes) if i == index else output for i, output in enumerate(head.outputs)]
    return replace(head, outputs=outputs)


def dense(shape: tuple[int, ...] = (1, 9, 80), axis: int = 1, **changes: object) -> Head:
    """A dense head of 5 classes."""
    head = Head("cxcywh", 5, 64, 64, outputs=[Output(0, "combined")], tensors=[Tensor("out", "float32", shape, axis)])
    return replace(head, **changes)


def rows(shape: tuple[int, ...] = (1, 300, 6), axis: int = -1, **changes: object) -> Head:
    """An end-to-end head."""
    head = end2end_head(np.zeros((1, 300, 6), np.float32))
    return replace(head, tensors=[Tensor("rows", "float32", shape, axis)], **changes)


def separate_dense(score_shape: tuple[int, ...]) -> Head:
    """A dense head with boxes for 80 cells and scores of a shape."""
    tensors = [Tensor("box", "float32", (1, 4, 80), 1), Tensor("score", "float32", score_shape, 1)]
    return dense(outputs=[Output(0, "box"), Output(1, "score")], tensors=tensors)


REFUSED = {
    "no class": (replace(yolo26(), classes=0), "1 or more classes, found 0"),
    "no size": (replace(yolo26(), width=0), "input size 0 x 96 is no size"),
    "no bins": (replace(yolo26(), reg_max=0), "reg_max must be 1 or more, found 0"),
    "bins elsewhere": (dense(reg_max=16), "reg_max above 1 goes with box ltrb only"),
    "dense with strides": (dense(strides=[8]), "box cxcywh and xyxy have no strides"),
    "no strides": (replace(yolo26(), strides=[]), "need strides, found none"),
    "stride 0": (replace(yolo26(), strides=[8, 0, 32]), "stride 0 does not divide the input size 160 x 96"),
    "stride below 0": (replace(yolo26(), strides=[8, -16, 32]), "stride -16 does not divide"),
    "stride 12": (replace(yolo26(), strides=[12, 16, 32]), "stride 12 does not divide the input size 160 x 96"),
    "anchors elsewhere": (replace(yolo26(), anchors=[[(1.0, 1.0)]]), "anchors go with box anchor only"),
    "few anchor lists": (replace(v5(), anchors=v5().anchors[:2]), "each of the 3 strides, found 2 lists"),
    "empty anchors": (replace(v5(), anchors=[*v5().anchors[:2], []]), "level 2 has no anchors"),
    "anchor of no size": (
        replace(v5(), anchors=[*v5().anchors[:2], [(0.0, 4.0)]]),
        "anchor of level 2 has no positive",
    ),
    "one anchor too few": (
        replace(v5(), anchors=[v5().anchors[0][:2], *v5().anchors[1:]]),
        r"'combined_0' \[2, 30, 12, 20\] with channel_axis 1 has 30 channels, expected 20 for combined",
    ),
    "rank 5 anchors": (
        replace(v5("n_anchors_hw_channels"), anchors=[v5().anchors[0][:2], *v5().anchors[1:]]),
        "has 3 anchors, expected 2",
    ),
    "anchors of separate tensors": (
        replace(v5(), outputs=[Output(0, "box"), *v5().outputs[1:]]),
        "level 0 lacks its combined output",
    ),
    "no such tensor": (reoutput(yolo26(), tensor=6), "uses output 6, but there are only 6"),
    "tensor twice": (reoutput(yolo26(), 1, tensor=0), "'box_0' is used twice"),
    "no such level": (reoutput(yolo26(), level=3), "'box_0' is for level 3, but the head has only 3"),
    "dense level 1": (dense(outputs=[Output(0, "combined", 1)]), "'out' is for level 1, but the head has only 1"),
    "role twice": (reoutput(yolo26(), 1, role="box"), "'score_0' is a second box output at level 0"),
    "no output": (replace(yolo26(), outputs=[]), "level 0 lacks its box output"),
    "no score": (replace(yolo26(), outputs=yolo26().outputs[:-1]), "level 2 lacks its score output"),
    "no box": (replace(yolo26(), outputs=yolo26().outputs[1:]), "level 0 lacks its box output"),
    "no objectness": (replace(yolo26(), objectness=True), "level 0 lacks its objectness output"),
    "needless objectness": (
        replace(make_head(BY_NAME["yolox"])[0], objectness=False),
        "level 0 has no place for the objectness output",
    ),
    "box and combined": (reoutput(yolo26(), 1, role="combined"), "level 0 has no place for the box output"),
    "rank 2": (retensor(yolo26(), shape=(2, 4)), r"'box_0' \[2, 4\] with channel_axis 1 is no layout of a head"),
    "rank 6": (retensor(yolo26(), shape=(2, 1, 1, 4, 12, 20)), "is no layout of a head"),
    "no shape": (retensor(yolo26(), shape=()), "'box_0' has no shape"),
    "axis 2 of rank 4": (retensor(yolo26(), channel_axis=2), "channel_axis 2 is no layout of a head"),
    "axis 0": (retensor(yolo26(), channel_axis=0), "channel_axis 0 is no layout of a head"),
    "axis 9": (retensor(yolo26(), channel_axis=9), "channel_axis 9 is no layout of a head"),
    "axis -9": (retensor(yolo26(), channel_axis=-9), "channel_axis -9 is no layout of a head"),
    "rank 5": (retensor(yolo26(), shape=(2, 1, 4, 12, 20), channel_axis=2), "rank 5, which goes with box anchor only"),
    "box channels": (retensor(yolo26(), shape=(2, 5, 12, 20)), "has 5 channels, expected 4 for box with 5 classes"),
    "bins": (replace(yolo26(), reg_max=16), "has 4 channels, expected 64 for box"),
    "classes": (replace(yolo26(), classes=6), "'score_0' .* has 5 channels, expected 6 for score with 6 classes"),
    "combined classes": (dense(classes=80), "'out' .* has 9 channels, expected 84 for combined with 80 classes"),
    "combined objectness": (dense(objectness=True), "has 9 channels, expected 10 for combined"),
    "rows and columns": (retensor(yolo26(), shape=(2, 4, 20, 12)), "does not have the 12 x 20 cells of stride 8"),
    "cells": (retensor(yolo26(), shape=(2, 4, 239)), "does not have the 12 x 20 cells of stride 8"),
    "another size": (replace(yolo26(), width=320), "does not have the 12 x 40 cells of stride 8"),
    "dense cells": (separate_dense((1, 5, 81)), r"'score' \[1, 5, 81\] .* has 81 cells, but the boxes have 80"),
    "dense classes": (separate_dense((1, 6, 80)), "has 6 channels, expected 5 for score"),
    "batch": (retensor(yolo26(), 3, shape=(1, 5, 6, 10)), "'score_1' .* has another batch than .* has 2"),
    "dimension 0": (retensor(yolo26(), shape=(2, 4, 0, 20)), r"\[2, 4, 0, 20\] with channel_axis 1 has an impossible"),
    "dimension below 0": (retensor(yolo26(), shape=(2, 4, -1, 20)), "has an impossible size"),
    "too many elements": (dense((1, 9, 2**60)), "has an impossible size"),
    "product overflows": (dense((2**31, 2**31, 9)), "has an impossible size"),
    "float scale": (retensor(yolo26(), scale=0.5), "'box_0' is float and takes no scale"),
    "float zero point": (retensor(yolo26(), zero_point=1), "'box_0' has zero point 1, outside its type"),
    "scale below 0": (retensor(yolo26(), dtype="int8", scale=-0.5), "'box_0' needs a positive, finite scale"),
    "int8 zero point": (retensor(yolo26(), dtype="int8", scale=1, zero_point=128), "zero point 128, outside its type"),
    "uint8 zero point": (retensor(yolo26(), dtype="uint8", scale=1, zero_point=-1), "zero point -1, outside its type"),
    "rows of 7": (rows((1, 300, 7)), r"'rows' \[1, 300, 7\] .* expected \[n, rows, 6\] with channel_axis -1"),
    "rows of rank 4": (rows((1, 1, 300, 6)), r"expected \[n, rows, 6\] with channel_axis -1"),
    "rows along axis 1": (rows(axis=1), r"expected \[n, rows, 6\] with channel_axis -1"),
    "rows of centres": (rows(box="cxcywh"), "an end2end output needs box xyxy"),
    "rows and NMS": (rows(nms=True), "takes neither nms nor objectness"),
    "rows and objectness": (rows(objectness=True), "takes neither nms nor objectness"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(library: ctypes.CDLL, case: str) -> None:
    head, reason = REFUSED[case]
    with pytest.raises(ValueError, match=reason) as caught:
        NativeDecoder(library, head)
    assert "\n" not in str(caught.value)


def test_heads_that_the_refused_ones_spoil_are_sound(library: ctypes.CDLL) -> None:
    sound = [yolo26(), v5(), v5("n_anchors_hw_channels"), dense(), rows(), separate_dense((1, 5, 80))]
    for head in [*sound, retensor(yolo26(), scale=1.0), dense((1, 80, 9), -1), rows(axis=2)]:
        NativeDecoder(library, head)
