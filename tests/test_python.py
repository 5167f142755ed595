# SPDX-License-Identifier: Apache-2.0
"""The Python binding, on the dummy backend: pictures in, results out, threads, log."""

from __future__ import annotations

import gc
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import yoloq

MakePackage = Callable[..., Path]


@pytest.fixture(scope="module")
def detector(dummy_package: Path) -> Iterator[yoloq.Detector]:
    with yoloq.Detector(dummy_package, backend="dummy") as opened:
        yield opened


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """uint8 [240, 320, 3] noise."""
    return np.random.default_rng(7).integers(0, 256, (240, 320, 3), np.uint8)


def rows(result: yoloq.Result) -> list[tuple]:
    return [(*box, score, class_id) for box, score, class_id in zip(result.boxes, result.scores, result.class_ids)]  # noqa: B905


def same(a: yoloq.Result, b: yoloq.Result) -> bool:
    return len(a) > 0 and rows(a) == rows(b)


# ----------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.tolist(), "NumPy array"),
        (lambda p: p.astype(np.float32) / 255, "uint8"),
        (lambda p: p.astype(np.int8), "uint8"),
        (lambda p: p[None], "2 or 3 dimensions"),
        (lambda p: p[0, 0], "2 or 3 dimensions"),
        (lambda p: p[:0], "empty"),
        (lambda p: p[:, :0], "empty"),
        (lambda p: np.ascontiguousarray(p[:, :, :2]), "1, 3 or 4 channels"),
        (lambda p: p[:, ::2], "ascontiguousarray"),
        (lambda p: p[:, ::-1], "ascontiguousarray"),
        (lambda p: p[:, :, ::-1], "ascontiguousarray"),
        (lambda p: p[:, :, 0], "ascontiguousarray"),
        (lambda p: p.transpose(1, 0, 2), "ascontiguousarray"),
        (lambda p: np.broadcast_to(p[:1], p.shape), "ascontiguousarray"),
        (lambda p: np.zeros((1, 16385), np.uint8), "16384"),
    ],
)
def test_bad_picture(detector: yoloq.Detector, picture: np.ndarray, make: Callable, words: str) -> None:
    with pytest.raises(yoloq.InvalidArgument, match=words):
        detector.detect(make(picture))


@pytest.mark.parametrize("format", ["GRAY", "BGRA", "RGBA", "bgr", "YUYV"])
def test_format_that_does_not_fit(detector: yoloq.Detector, picture: np.ndarray, format: str) -> None:
    with pytest.raises(yoloq.InvalidArgument, match="format"):
        detector.detect(picture, format=format)


def test_channel_order(detector: yoloq.Detector, picture: np.ndarray) -> None:
    swapped = np.ascontiguousarray(picture[:, :, ::-1])
    expected = detector.detect(picture)
    assert same(detector.detect(swapped, format="RGB"), expected)
    assert not same(detector.detect(swapped), expected)


def test_alpha_is_ignored(detector: yoloq.Detector, picture: np.ndarray) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (*picture.shape[:2], 1), np.uint8)
    expected = detector.detect(picture)
    assert same(detector.detect(np.concatenate([picture, alpha], axis=2)), expected)
    swapped = np.concatenate([picture[:, :, ::-1], alpha], axis=2)
    assert same(detector.detect(swapped, format="RGBA"), expected)


def test_gray(detector: yoloq.Detector, picture: np.ndarray) -> None:
    gray = np.ascontiguousarray(picture[:, :, 1])
    expected = detector.detect(np.repeat(gray[:, :, None], 3, axis=2))
    assert same(detector.detect(gray), expected)
    assert same(detector.detect(gray[:, :, None], format="GRAY"), expected)


@pytest.mark.parametrize(
    "view",
    [
        lambda p: p[::-1],
        lambda p: p[20:200, 31:290],
        lambda p: p[200:20:-2, 31:290],
        lambda p: p[:, :1],
        lambda p: p[5:6],
        lambda p: p[::-1][:1],
        lambda p: np.lib.stride_tricks.as_strided(p, (1, 320, 3), (0, 3, 1)),
    ],
)
def test_views_equal_their_copies(detector: yoloq.Detector, picture: np.ndarray, view: Callable) -> None:
    seen = view(picture)
    assert same(detector.detect(seen), detector.detect(np.ascontiguousarray(seen)))
    read_only = seen.copy()
    read_only.flags.writeable = False
    assert same(detector.detect(read_only), detector.detect(seen))


def test_upside_down_is_another_picture(detector: yoloq.Detector, picture: np.ndarray) -> None:
    assert not same(detector.detect(picture[::-1]), detector.detect(picture))


def test_nv12(detector: yoloq.Detector) -> None:
    random = np.random.default_rng(3)
    whole = random.integers(0, 256, (360, 320), np.uint8)
    y, uv = whole[:240], whole[240:]
    expected = detector.detect(whole, format="NV12")
    assert same(detector.detect((y, uv)), expected)
    assert same(detector.detect((y.copy(), uv.reshape(120, 160, 2).copy()), format="NV12"), expected)
    flipped = (y[::-1].copy()[::-1], uv[::-1].copy()[::-1])
    assert same(detector.detect(flipped), expected)
    assert not same(detector.detect(whole, format="NV12", color_space="BT709_FULL"), expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((361, 320), np.uint8), "multiple of 3"),
        ((np.zeros((3, 320), np.uint8), np.zeros((1, 320), np.uint8)), "even"),
        (np.zeros((360, 321), np.uint8), "even"),
        (np.zeros((360, 320, 3), np.uint8), "height \\* 3 / 2"),
        ([1, 2], "NumPy array"),
        ((np.zeros((240, 320), np.uint8),), "tuple"),
        ((np.zeros((240, 320), np.uint8), np.zeros((119, 320), np.uint8)), "UV plane"),
        ((np.zeros((240, 320), np.uint8), np.zeros((120, 160, 3), np.uint8)), "2 channels"),
    ],
)
def test_bad_nv12(detector: yoloq.Detector, image: object, words: str) -> None:
    with pytest.raises(yoloq.InvalidArgument, match=words):
        detector.detect(image, format="NV12")


def test_color_space_is_for_nv12(detector: yoloq.Detector, picture: np.ndarray) -> None:
    with pytest.raises(yoloq.InvalidArgument, match="color_space"):
        detector.detect(picture, color_space="BT709")
    with pytest.raises(yoloq.InvalidArgument, match="BT601_FULL"):
        detector.detect(picture, color_space="sRGB")


def test_picture_is_not_copied(detector: yoloq.Detector) -> None:
    large = np.zeros((4000, 4000, 3), np.uint8)
    detector.detect(large)
    tracemalloc.start()  # NumPy reports its buffers to it
    try:
        detector.detect(large[::-1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < large.nbytes / 100


def test_roi(detector: yoloq.Detector, picture: np.ndarray) -> None:
    result = detector.detect(picture, roi=(40, 60, 100, 80))
    crop = detector.detect(picture[60:140, 40:140])
    assert len(result) == len(crop) > 0
    np.testing.assert_allclose(result.boxes, crop.boxes + np.float32([40, 60, 40, 60]), atol=1e-3)
    assert not same(result, detector.detect(picture))


@pytest.mark.parametrize("roi", [(0, 0, 0, 0), (0, 0, 10, 0), (300, 0, 40, 10), (-1, 0, 5, 5), (1, 2, 3), "abcd", 5])
def test_bad_roi(detector: yoloq.Detector, picture: np.ndarray, roi: object) -> None:
    with pytest.raises(yoloq.InvalidArgument, match=r"(?i)roi"):
        detector.detect(picture, roi=roi)


# ------------------------------------------------------------------------------------------------------------ results


def test_result(detector: yoloq.Detector, picture: np.ndarray) -> None:
    result = detector.detect(picture)
    n = len(result)
    assert result.found == n > 10
    assert (result.boxes.shape, result.boxes.dtype) == ((n, 4), np.float32)
    assert (result.scores.shape, result.scores.dtype) == ((n,), np.float32)
    assert (result.class_ids.shape, result.class_ids.dtype) == ((n,), np.int32)
    assert result.boxes.base is result.scores.base is not None  # views of one buffer
    assert (np.diff(result.scores) <= 0).all()
    assert not result.angles.any()
    first = result[0]
    assert (first.x1, first.y1, first.x2, first.y2) == tuple(result.boxes[0].tolist())
    assert first.name == detector.class_names[first.class_id]
    assert list(result) == result.detections
    assert result.boxes[:, [0, 1]].min() >= 0
    assert (result.boxes[:, 2].max() <= 320) & (result.boxes[:, 3].max() <= 240)
    assert all(ms >= 0 for ms in result.timings._asdict().values())
    assert result.timings.preprocess_ms > 0


def test_results_outlive_later_calls(detector: yoloq.Detector, picture: np.ndarray) -> None:
    first = detector.detect(picture)
    kept = rows(first)
    detector.detect(picture[::-1])
    assert rows(first) == kept


def test_call_options(detector: yoloq.Detector, picture: np.ndarray) -> None:
    everything = detector.detect(picture)
    middle = float(np.median(everything.scores))
    assert 0 < len(detector.detect(picture, score_threshold=middle)) < len(everything)
    assert len(detector.detect(picture, iou_threshold=0.05)) < len(everything)
    best = detector.detect(picture, max_detections=5)
    assert rows(best) == rows(everything)[:5]
    assert best.found == everything.found
    with pytest.raises(yoloq.InvalidArgument, match="max_detections"):
        detector.detect(picture, max_detections=301)
    with pytest.raises(yoloq.InvalidArgument, match="score_threshold"):
        detector.detect(picture, score_threshold=0)
    assert len(detector.detect(picture)) == len(everything)  # the next call has the defaults again


def test_detector_options(dummy_package: Path, picture: np.ndarray) -> None:
    options = {"score_threshold": 0.5, "iou_threshold": 0.3, "max_detections": 2, "streams": 2, "timeout_ms": 5000}
    with yoloq.Detector(str(dummy_package), backend="dummy", device=0, hint="throughput", **options) as opened:
        info = opened.info
        assert (info.score_threshold, info.max_detections, info.streams, info.timeout_ms) == (0.5, 2, 2, 5000)
        assert info.iou_threshold == pytest.approx(0.3)
        assert len(opened.detect(picture[:, :240])) == 2


def test_info_and_names(make_dummy_package: MakePackage) -> None:
    names = ["螺栓", "螺母", "垫圈"]
    package = make_dummy_package(name="零件", classes=names)
    with yoloq.Detector(package, backend="dummy") as opened:
        assert opened.class_names == tuple(names)
        assert opened.info.name == "零件"
        assert (opened.info.backend, opened.info.chip, opened.info.class_count) == ("dummy", "cpu", 3)
        assert (opened.info.input_width, opened.info.input_height, opened.info.needs_nms) == (320, 320, True)
        assert "零件" in repr(opened)


def test_stats(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    package = make_dummy_package(options={"dummy.temperature_c": "61"})
    with yoloq.Detector(package, backend="dummy") as opened:
        assert opened.stats.pictures == 0
        found = opened.detect(picture).found
        opened.detect_batch([picture, picture])
        stats = opened.stats
    assert (stats.pictures, stats.errors, stats.detections) == (3, 0, 3 * found)
    assert 0 < stats.total.p50_ms <= stats.total.max_ms
    assert stats.device_temperature_c == 61
    assert stats.device_power_w is None
    assert stats.device_memory_used is None


def test_backends() -> None:
    found = {backend.name: backend for backend in yoloq.backends()}
    assert found["dummy"].usable
    assert found["cpu"].usable, found["cpu"].reason
    assert "OpenVINO" in found["cpu"].version


# -------------------------------------------------------------------------------------------------------------- batch


def test_batch_equals_single_calls(detector: yoloq.Detector, picture: np.ndarray) -> None:
    pictures = [picture, picture[::-1], picture[50:90, 10:300]]
    rois = [None, (0, 0, 50, 50), None]
    batch = detector.detect_batch(pictures, rois=rois, score_threshold=0.5)
    singles = [detector.detect(p, roi=r, score_threshold=0.5) for p, r in zip(pictures, rois, strict=True)]
    assert len(batch) == 3
    assert all(same(a, b) for a, b in zip(batch, singles, strict=True))
    assert batch.found == sum(single.found for single in singles)
    assert batch.timings.preprocess_ms > 0


def test_empty_batch(detector: yoloq.Detector) -> None:
    batch = detector.detect_batch([])
    assert batch == []
    assert batch.found == 0


def test_bad_picture_in_a_batch(detector: yoloq.Detector, picture: np.ndarray) -> None:
    before = detector.stats.pictures
    with pytest.raises(yoloq.InvalidArgument, match="picture 1 of the batch"):
        detector.detect_batch([picture, picture[:, ::2]])
    with pytest.raises(yoloq.InvalidArgument, match="2 entries for 1"):
        detector.detect_batch([picture], rois=[None, None])
    assert detector.stats.pictures == before


def test_batch_with_failures(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    package = make_dummy_package(options={"dummy.fail_every": "2"})
    with yoloq.Detector(package, backend="dummy") as failing, pytest.raises(yoloq.BatchError) as caught:
        failing.detect_batch([picture] * 5)
    error = caught.value
    assert sorted(error.errors) == [1, 3]
    assert error.status == 4
    assert "2 of 5 pictures failed; picture 1: " in str(error)
    assert all(isinstance(e, yoloq.BackendError) for e in error.errors.values())
    assert [result is None for result in error.results] == [False, True, False, True, False]
    assert all(len(result) > 0 for result in error.results if result is not None)


# ------------------------------------------------------------------------------------------------------------ threads


def test_threads_share_a_detector(detector: yoloq.Detector, picture: np.ndarray) -> None:
    pictures = [np.roll(picture, 16 * i, axis=0) for i in range(4)]
    expected = [rows(detector.detect(p)) for p in pictures]
    assert expected[0] != expected[1]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            if rows(detector.detect(pictures[i])) != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i % 4,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_calls_overlap_and_release_the_gil(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    """If a call held the GIL, this thread could not look while calls run, and they could not run at once."""
    package = make_dummy_package(options={"dummy.delay_ms": "300"})
    with yoloq.Detector(package, backend="dummy", streams=4) as slow:
        threads = [threading.Thread(target=slow.detect, args=(picture,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        most_busy = looks = 0
        while any(thread.is_alive() for thread in threads):
            busy = slow.stats.streams_busy
            most_busy = max(most_busy, busy)
            looks += busy > 0
            time.sleep(0.002)
        assert slow.stats.pictures == 4
    assert most_busy == 4
    assert looks > 5


def test_close_while_others_detect(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    slow = yoloq.Detector(make_dummy_package(options={"dummy.delay_ms": "100"}), backend="dummy")
    ends: list[object] = []

    def work() -> None:
        try:
            while True:
                ends.append(len(slow.detect(picture)))
        except yoloq.Error as error:
            ends.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not ends:
        time.sleep(0.005)
    slow.close()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    errors = [end for end in ends if isinstance(end, Exception)]
    assert len(errors) == 4
    assert all(isinstance(error, yoloq.InvalidArgument) and "closed" in str(error) for error in errors)


# ---------------------------------------------------------------------------------------------------------------- log


def test_log_callback(dummy_package: Path) -> None:
    lines: list[tuple[int, str]] = []
    yoloq.set_log_callback(lambda level, message: lines.append((level, message)))
    gc.collect()  # the binding keeps the callback alive
    try:
        yoloq.Detector(dummy_package, backend="dummy").close()
    finally:
        yoloq.set_log_callback(None)
    seen = len(lines)
    assert any(level == 1 and "loaded dummy" in message for level, message in lines)
    yoloq.Detector(dummy_package, backend="dummy").close()
    assert len(lines) == seen


def test_failing_log_callback_harms_nobody(dummy_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: told.append(str(hook.exc_value)))

    def fail(level: int, message: str) -> None:
        raise KeyError("in the callback")

    yoloq.set_log_callback(fail)
    try:
        yoloq.Detector(dummy_package, backend="dummy").close()
    finally:
        yoloq.set_log_callback(None)
    assert told == ["'in the callback'"]
