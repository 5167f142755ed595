# SPDX-License-Identifier: Apache-2.0
"""What a detection means, through the C ABI and the dummy backend, whose heads are a pure function of the input."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import dummy_manifest
from native_abi import (
    BGR24,
    BGRA32,
    EDEVICE,
    EINVAL,
    ENOTFOUND,
    EPACKAGE,
    ETIMEOUT,
    GRAY8,
    OK,
    RGB24,
    TIMEOUT_NONE,
    Detector,
    NativeError,
    ffi,
    load,
)

SIZE = 320
BOX = ["x1", "y1", "x2", "y2"]
MakePackage = Callable[..., Path]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def boxes(detections: np.ndarray) -> np.ndarray:
    """float32 [n, 4]: x1 y1 x2 y2 in pixels."""
    return np.stack([detections[name] for name in BOX], axis=1)


def moved(detections: np.ndarray, x: float, y: float) -> np.ndarray:
    """The same detections, `x` and `y` pixels further; float32 as the library adds."""
    shifted = detections.copy()
    for name, step in zip(BOX, (x, y, x, y), strict=True):
        shifted[name] = shifted[name] + np.float32(step)
    return shifted


def refused(call: Callable[[], object]) -> NativeError:
    with pytest.raises(NativeError) as caught:
        call()
    return caught.value


@pytest.fixture(scope="module")
def detector(dummy_package: Path) -> Detector:
    return Detector(dummy_package)


@pytest.fixture(scope="module")
def plain(make_dummy_package: MakePackage) -> Detector:
    """No NMS: every candidate above the threshold is a detection."""
    return Detector(make_dummy_package(name="plain", nms=False))


# --------------------------------------------------------------------------------------------- what and in which order


def test_order_is_score_then_class(make_dummy_package: MakePackage) -> None:
    """int8 scores tie often."""
    manifest = dummy_manifest("ties", ["a", "b", "c"], SIZE, {}, nms=False)
    for output in manifest["outputs"]:
        if output["name"].startswith("score"):
            output.update(dtype="int8", scale=0.1, zero_point=0)
    package = make_dummy_package(name="ties", nms=False, outputs=manifest["outputs"])
    with Detector(package) as ties:
        found = ties.infer(noise(SIZE, SIZE)).detections
    keys = list(zip(-found["score"], found["class_id"], strict=True))
    assert len(found) >= 200 and keys == sorted(keys)
    assert len(set(found["score"])) < 20, "there must be ties, or the order of classes is not tested"


def test_fields_are_sane(detector: Detector) -> None:
    found = detector.infer(noise(200, 300)).detections
    assert len(found) > 10
    assert ((found["score"] > 0.25) & (found["score"] < 1)).all()
    assert set(found["class_id"]) == {0, 1, 2}
    assert not found["angle"].any() and not found["reserved"].any()
    corners = boxes(found)
    assert (corners >= 0).all() and (corners[:, [0, 2]] <= 300).all() and (corners[:, [1, 3]] <= 200).all()
    assert (corners[:, 2:] > corners[:, :2]).all()


def test_score_threshold_cuts_the_list(plain: Detector) -> None:
    pixels = noise(SIZE, SIZE)
    everything = plain.infer(pixels, score_threshold=1e-6).detections
    default = plain.infer(pixels).detections
    threshold = float(np.median(default["score"]))
    for limit, found in ((0.25, default), (threshold, plain.infer(pixels, score_threshold=threshold).detections)):
        wanted = everything[everything["score"] >= np.float32(limit)][:300]
        assert len(wanted) > 50
        np.testing.assert_array_equal(found, wanted)
    assert plain.infer(pixels, score_threshold=1.0).found == 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = np.prod(np.maximum(0, high - low))
    return float(inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter))


def test_iou_threshold_suppresses(detector: Detector) -> None:
    pixels = noise(SIZE, SIZE)
    counts = []
    for limit in (0.2, 0.45, 0.7, 1.0):
        found = detector.infer(pixels, iou_threshold=limit).detections
        counts.append(len(found))
        for class_id in range(3):
            mine = boxes(found[found["class_id"] == class_id])
            # Clipping to the picture changes boxes after NMS: compare those that are wholly inside.
            mine = mine[(mine > 0).all(axis=1) & (mine < SIZE).all(axis=1)]
            worst = max((iou(a, b) for i, a in enumerate(mine) for b in mine[:i]), default=0)
            assert worst <= limit + 1e-5
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_options_set_the_defaults_of_calls(make_dummy_package: MakePackage) -> None:
    package, pixels = make_dummy_package(nms=True), noise(SIZE, SIZE)
    with Detector(package) as one, Detector(package, score_threshold=0.66, iou_threshold=0.3) as two:
        wanted = one.infer(pixels, score_threshold=0.66, iou_threshold=0.3)
        np.testing.assert_array_equal(two.infer(pixels).detections, wanted.detections)
        assert len(wanted.detections) < len(one.infer(pixels).detections)


@pytest.mark.parametrize("most", [1, 7, 100])
def test_max_detections_keeps_the_best(make_dummy_package: MakePackage, most: int) -> None:
    package, pixels = make_dummy_package(nms=True), noise(SIZE, SIZE)
    with Detector(package) as free, Detector(package, max_detections=most) as limited:
        outcome = limited.infer(pixels)
        assert outcome.found == most
        np.testing.assert_array_equal(outcome.detections, free.infer(pixels).detections[:most])


@pytest.mark.parametrize("capacity", [0, 1, 5])
def test_capacity_cuts_and_found_tells(detector: Detector, capacity: int) -> None:
    pixels = noise(SIZE, SIZE)
    everything = detector.infer(pixels)
    outcome = detector.infer(pixels, capacity=capacity)
    assert outcome.found == everything.found == len(everything.detections) > capacity
    np.testing.assert_array_equal(outcome.detections, everything.detections[:capacity])


# ------------------------------------------------------------------------------------------- formats, ROI, letterbox


def test_formats_of_one_picture_agree(detector: Detector) -> None:
    bgr = noise(240, 320)
    wanted = detector.infer(bgr).detections
    alpha = noise(240, 320, 9)[:, :, :1]
    for pixels, format in (
        (np.ascontiguousarray(bgr[:, :, ::-1]), RGB24),
        (np.concatenate([bgr, alpha], axis=2), BGRA32),
        (np.pad(bgr, ((0, 0), (0, 11), (0, 0)))[:, :320], BGR24),
        (bgr[::-1].copy()[::-1], BGR24),
    ):
        np.testing.assert_array_equal(detector.infer(pixels, format=format).detections, wanted)
    gray = bgr[:, :, 0].copy()
    np.testing.assert_array_equal(
        detector.infer(gray, format=GRAY8).detections, detector.infer(np.repeat(gray[:, :, None], 3, 2)).detections
    )
    assert not np.array_equal(detector.infer(bgr[:, :, ::-1].copy()).detections, wanted), "channel order matters"


@pytest.mark.parametrize("roi", [(40, 30, 320, 320), (0, 0, 100, 50), (201, 77, 399, 403), (599, 479, 1, 1)])
def test_roi_gives_what_the_part_gives(detector: Detector, roi: tuple[int, int, int, int]) -> None:
    whole = noise(480, 600)
    x, y, width, height = roi
    part = detector.infer(whole[y : y + height, x : x + width].copy()).detections
    found = detector.infer(whole, roi=roi).detections
    assert len(part) > 0
    np.testing.assert_array_equal(found, moved(part, x, y))


def test_twice_the_picture_gives_twice_the_boxes(detector: Detector) -> None:
    """Each pixel doubled: the letterbox halves it to the very same input."""
    small = noise(SIZE, SIZE)
    big = small.repeat(2, axis=0).repeat(2, axis=1)
    found, wanted = detector.infer(big).detections, detector.infer(small).detections
    np.testing.assert_array_equal(found["score"], wanted["score"])
    np.testing.assert_array_equal(boxes(found), boxes(wanted) * 2)


@pytest.mark.parametrize("align", ["center", "topleft"])
@pytest.mark.parametrize("shape", [(160, SIZE), (SIZE, 161)])
def test_padding_is_undone(make_dummy_package: MakePackage, align: str, shape: tuple[int, int]) -> None:
    """A wide or tall picture equals the square picture with the padding painted in, moved and clipped."""
    height, width = shape
    manifest = dummy_manifest("box", ["a"], SIZE, {}, nms=False)
    manifest["input"]["letterbox"]["align"] = align
    package = make_dummy_package(name="box", nms=False, input=manifest["input"])
    pixels = noise(height, width)
    left, top = ((SIZE - width) // 2, (SIZE - height) // 2) if align == "center" else (0, 0)
    square = np.full((SIZE, SIZE, 3), 114, np.uint8)
    square[top : top + height, left : left + width] = pixels
    with Detector(package) as each:
        found, painted = each.infer(pixels).detections, each.infer(square).detections
    wanted = moved(painted, -left, -top)
    for low, high, limit in (("x1", "x2", width), ("y1", "y2", height)):
        for name in (low, high):
            wanted[name] = np.clip(wanted[name], 0, limit)
        wanted = wanted[wanted[high] > wanted[low]]
    assert 20 < len(wanted) <= len(painted)
    np.testing.assert_array_equal(found[BOX[0:4]].tolist(), wanted[BOX[0:4]].tolist())
    np.testing.assert_array_equal(found["score"], wanted["score"])


def test_small_pictures_keep_their_size_without_upscale(make_dummy_package: MakePackage) -> None:
    manifest = dummy_manifest("small", ["a"], SIZE, {}, nms=False)
    manifest["input"]["letterbox"].update(upscale=False, align="topleft")
    package = make_dummy_package(name="small", nms=False, input=manifest["input"])
    pixels, square = noise(80, 100), np.full((SIZE, SIZE, 3), 114, np.uint8)
    square[:80, :100] = pixels
    with Detector(package) as each:
        found, painted = each.infer(pixels).detections, each.infer(square).detections
    inside = painted[(painted["x1"] < 100) & (painted["y1"] < 80)]
    assert 0 < len(inside) < len(painted)
    np.testing.assert_array_equal(found["score"], inside["score"])
    np.testing.assert_array_equal(found["x1"], inside["x1"])


# --------------------------------------------------------------------------------------------------------------- batch


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_batch_equals_single_calls(make_dummy_package: MakePackage, streams: int, batch: int) -> None:
    manifest = dummy_manifest("batch", ["a", "b"], SIZE, {}, nms=True)
    for output in manifest["outputs"]:
        output["shape"][0] = batch
    artifacts = [{"file": "model.bin", "batch": batch}]
    package = make_dummy_package(
        name="batch", classes=["a", "b"], outputs=manifest["outputs"], artifacts=artifacts, nms=True
    )
    pictures = [noise(100 + 37 * i, 400 - 23 * i, i) for i in range(10)]
    with Detector(package, streams=streams) as each:
        assert each.info().batch == batch
        outcome = each.infer_batch(pictures, capacity=50)
        assert outcome.status == OK and outcome.statuses == [OK] * 10
        singles = [each.infer(pixels, capacity=50) for pixels in pictures]
        assert outcome.found == sum(single.found for single in singles)
        for rows, single in zip(outcome.detections, singles, strict=True):
            assert rows.tobytes() == single.detections.tobytes() and 10 < len(rows) <= 50


def test_batch_uses_all_streams(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="slow", options={"dummy.delay_ms": "40"})
    with Detector(package, streams=4) as each:
        began = time.monotonic()
        assert each.infer_batch([noise(SIZE, SIZE)] * 12).status == OK
        assert 0.12 <= time.monotonic() - began < 0.40, "12 pictures of 40 ms on 4 streams"


def test_batch_tells_each_pictures_status(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="failing", options={"dummy.fail_every": "3"})
    with Detector(package) as each:
        outcome = each.infer_batch([noise(64, 64)] * 7)
        assert outcome.statuses == [0, 0, 4, 0, 0, 4, 0] and outcome.status == 4
        assert "picture 2" in NativeError(each.lib, 4).text
        assert [len(rows) > 0 for rows in outcome.detections] == [status == OK for status in outcome.statuses]


# --------------------------------------------------------------------------------------------- deadlines and the line


def test_deadline(make_dummy_package: MakePackage) -> None:
    package, pixels = make_dummy_package(name="slow", options={"dummy.delay_ms": "150"}), noise(64, 64)
    with Detector(package, timeout_ms=20) as hasty:
        began = time.monotonic()
        error = refused(lambda: hasty.infer(pixels))
        assert error.status == ETIMEOUT and "20 ms" in error.text
        assert 0.02 <= time.monotonic() - began < 0.14
        assert len(hasty.infer(pixels, timeout_ms=5000).detections) > 0
        assert len(hasty.infer(pixels, timeout_ms=TIMEOUT_NONE).detections) > 0
    with Detector(package, timeout_ms=TIMEOUT_NONE) as patient:
        assert len(patient.infer(pixels).detections) > 0
        assert refused(lambda: patient.infer(pixels, timeout_ms=20)).status == ETIMEOUT
        assert patient.info().timeout_ms == TIMEOUT_NONE


def test_queueing_counts(make_dummy_package: MakePackage) -> None:
    """One stream, 100 ms a picture: a call that comes 30 ms after another is not done within 120 ms."""
    package = make_dummy_package(name="slow", options={"dummy.delay_ms": "100"})
    with Detector(package) as each:
        first = threading.Thread(target=lambda: each.infer(noise(64, 64), timeout_ms=5000))
        first.start()
        time.sleep(0.03)
        began = time.monotonic()
        assert refused(lambda: each.infer(noise(64, 64), timeout_ms=120)).status == ETIMEOUT
        assert 0.115 <= time.monotonic() - began < 0.4
        first.join()


def test_first_come_first_served(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="slow", options={"dummy.delay_ms": "40"})
    ended: list[int] = []
    with Detector(package) as each:

        def work(number: int) -> None:
            each.infer(noise(64, 64))
            ended.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
            time.sleep(0.01)
        for thread in threads:
            thread.join()
    assert ended == list(range(12))


def test_queue_time_is_told(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="slow", options={"dummy.delay_ms": "60"})
    with Detector(package) as each:
        outcomes = []
        threads = [threading.Thread(target=lambda: outcomes.append(each.infer(noise(64, 64)))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    queues = sorted(outcome.queue_ms for outcome in outcomes)
    assert queues[0] < 30 and 45 < queues[1] < 110 and 105 < queues[2] < 200


# ----------------------------------------------------------------------------------------------- timings, stats, info


def test_timings_are_plausible(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="slow", options={"dummy.delay_ms": "25"})
    pixels = noise(1080, 1920)
    with Detector(package) as each:
        began = time.monotonic()
        outcome = each.infer(pixels)
        wall_ms = (time.monotonic() - began) * 1e3
        assert 25 <= outcome.engine_ms < 200
        assert outcome.preprocess_ms > 0 and outcome.decode_ms > 0 and outcome.queue_ms >= 0
        total = outcome.queue_ms + outcome.preprocess_ms + outcome.engine_ms + outcome.decode_ms
        assert total <= wall_ms
        stats = each.stats()
        for stage, value in (
            (stats.engine, outcome.engine_ms),
            (stats.preprocess, outcome.preprocess_ms),
            (stats.decode, outcome.decode_ms),
            (stats.total, total),
        ):
            assert stage.mean_ms == pytest.approx(value, rel=1e-3, abs=1e-3)
            assert stage.max_ms == pytest.approx(value, rel=1e-3)
            assert stage.p50_ms == pytest.approx(value, rel=0.041) and stage.p99_ms == pytest.approx(value, rel=0.041)


def test_stats_count(make_dummy_package: MakePackage) -> None:
    options = {"dummy.fail_every": "4", "dummy.temperature_c": "61", "dummy.memory_total": "1073741824"}
    with Detector(make_dummy_package(name="counted", options=options), streams=2) as each:
        stats = each.stats()
        assert (stats.pictures, stats.errors, stats.total.p50_ms, stats.total.max_ms) == (0, 0, 0, 0)
        found = 0
        for i in range(1, 9):
            if i % 4:
                found += each.infer(noise(64, 64, i), capacity=2).found
            else:
                refused(lambda: each.infer(noise(64, 64)))
        refused(lambda: each.infer(noise(64, 64), roi=(1, 1, 64, 64)))
        stats = each.stats()
        assert (stats.pictures, stats.errors, stats.timeouts, stats.device_lost) == (6, 3, 0, 0)
        assert stats.detections == found
        assert (stats.streams, stats.streams_busy, stats.streams_quarantined) == (2, 0, 0)
        assert 0 < stats.total.p50_ms <= stats.total.p99_ms <= stats.total.max_ms
        assert stats.device_temperature_c == 61 and stats.device_memory_total == 1073741824
        assert np.isnan(stats.device_power_w) and stats.device_memory_used == 2**64 - 1  # absent: never an estimate


def test_info(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="零件检测", classes=["螺栓", "nut"], nms=True)
    with Detector(package, streams=3, score_threshold=0.5, max_detections=9, timeout_ms=77) as each:
        info = each.info()
        text = {name: ffi.string(getattr(info, name)).decode() for name in ("name", "task", "precision", "chip")}
        assert text == {"name": "零件检测", "task": "detect", "precision": "int8", "chip": "cpu"}
        assert ffi.string(info.backend) == b"dummy" and ffi.string(info.device) == b"0"
        assert ffi.string(info.backend_version).startswith(b"dummy")
        assert (info.input_width, info.input_height, info.input_channels) == (SIZE, SIZE, 3)
        assert (info.class_count, info.streams, info.batch, info.needs_nms, info.format) == (2, 3, 1, 1, 1)
        assert (info.max_detections, info.timeout_ms, info.score_threshold) == (9, 77, 0.5)
        assert info.iou_threshold == pytest.approx(0.7)
        assert [each.class_name(i) for i in (0, 1)] == ["螺栓", "nut"]
        assert each.class_name(2) is None and each.class_name(-1) is None
        assert "0 to 1" in NativeError(each.lib, EINVAL).text


def test_long_names_are_cut_at_a_character(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="检" * 40)
    with Detector(package) as each:
        assert ffi.string(each.info().name).decode() == "检" * 21  # 63 bytes


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score_threshold": -0.1}, "score_threshold must be in (0, 1]"),
        ({"score_threshold": float("nan")}, "score_threshold must be in (0, 1]"),
        ({"iou_threshold": 1.01}, "iou_threshold must be in (0, 1]"),
        ({"max_detections": 10001}, "max_detections is 10001, at most 10000"),
        ({"streams": 65}, "streams is 65, at most 64"),
        ({"hint": 3}, "hint 3 is no yq_hint"),
        ({"device": "first"}, 'device "first" is no decimal index'),
        ({"device": "1"}, "there is no device '1'"),
        ({"cache_dir": "/no/such/folder"}, 'cache_dir "/no/such/folder" is no folder: create it first'),
        ({"backend": "Dummy"}, '"Dummy" is no backend name'),
    ],
)
def test_impossible_options(dummy_package: Path, options: dict, words: str) -> None:
    error = refused(lambda: Detector(dummy_package, **options))
    assert error.status == EINVAL and words in error.text


def test_missing_backend(dummy_package: Path, make_dummy_package: MakePackage) -> None:
    error = refused(lambda: Detector(dummy_package, backend="no_such"))
    assert error.status == ENOTFOUND and "libyoloq_no_such.so" in error.text and "install" in error.text
    target = {**dummy_manifest("x", ["a"], SIZE, {}, nms=True)["target"], "backend": "no_such"}
    error = refused(lambda: Detector(make_dummy_package(name="elsewhere", target=target), backend=None))
    assert error.status == ENOTFOUND and "libyoloq_no_such.so" in error.text


def test_missing_package(tmp_path: Path) -> None:
    error = refused(lambda: Detector(tmp_path / "没有.yoloq"))
    assert error.status == ENOTFOUND and "没有.yoloq" in error.text


def test_package_of_another_chip(make_dummy_package: MakePackage) -> None:
    target = {**dummy_manifest("x", ["a"], SIZE, {}, nms=True)["target"], "chip": "ascend310p"}
    package = make_dummy_package(name="ascend", target=target)
    error = refused(lambda: Detector(package, backend="cpu"))
    assert error.status == EPACKAGE and "ascend310p" in error.text and "quantize" in error.text
    Detector(package, backend="dummy").close()  # the dummy runs any package


def test_altered_package(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="altered")
    model = package / "model.bin"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    error = refused(lambda: Detector(package))
    assert error.status == EPACKAGE and "model.bin was altered" in error.text


def test_chinese_path(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="螺栓 检测")
    with Detector(package) as each:
        assert each.infer(noise(64, 64)).found > 0


def test_device_that_never_answers(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package(name="dead", options={"dummy.fail_create": "1"})
    error = refused(lambda: Detector(package))
    assert error.status == EDEVICE and "dummy.fail_create" in error.text
    Detector(package).close()


def test_last_error_belongs_to_the_thread(dummy_package: Path, tmp_path: Path) -> None:
    lib, other = load(), []
    refused(lambda: Detector(tmp_path / "mine.yoloq"))

    def work() -> None:
        other.append(ffi.string(lib.yq_last_error()))
        refused(lambda: Detector(tmp_path / "theirs.yoloq"))
        other.append(ffi.string(lib.yq_last_error()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    Detector(dummy_package).close()  # success leaves the text alone
    assert other[0] == b"" and b"theirs.yoloq" in other[1]
    assert b"mine.yoloq" in ffi.string(lib.yq_last_error())
