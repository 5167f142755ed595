# SPDX-License-Identifier: Apache-2.0
"""Letterbox: ours against OpenCV's chain, on one thread, interleaved in one run.

Times are the thread's CPU time: what other processes take from it does not count. On an idle machine it is wall time.
OpenCV's chain is what a float model needs: resize, copyMakeBorder, cvtColor to RGB, to float32 / 255, to NCHW (NV12 is
converted first, as cv2.resize cannot read it). Its uint8 part alone is reported too, as opencv_u8_ms.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import letterbox_native as native  # noqa: E402

SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160), "640x640": (640, 640), "1280x1024": (1280, 1024)}
FORMATS = (native.BGR24, native.BGRA32, native.NV12, native.GRAY8)
SIDE = 640  # of the model's input, in pixels
CONVERSIONS = {
    native.BGR24: cv2.COLOR_BGR2RGB,
    native.BGRA32: cv2.COLOR_BGRA2RGB,
    native.GRAY8: cv2.COLOR_GRAY2RGB,
    native.NV12: cv2.COLOR_YUV2RGB_NV12,
}


def picture(format: int, width: int, height: int) -> np.ndarray:
    """Smooth colours with noise, uint8: [height, width(, channels)], NV12 [1.5 height, width]."""
    rng = np.random.default_rng(7)
    rows = height * 3 // 2 if format == native.NV12 else height
    shape = (rows, width) if native.CHANNELS[format] == 1 else (rows, width, native.CHANNELS[format])
    return rng.integers(0, 256, shape, np.uint8)


def opencv_u8(source: np.ndarray, format: int) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3], RGB."""
    if format == native.NV12:
        source = cv2.cvtColor(source, CONVERSIONS[format])
    height, width = source.shape[:2]
    ratio = min(SIDE / width, SIDE / height)
    new = (round(width * ratio), round(height * ratio))
    if new != (width, height):
        source = cv2.resize(source, new, interpolation=cv2.INTER_LINEAR)
    left, top = (SIDE - new[0]) // 2, (SIDE - new[1]) // 2
    pad = (114,) * 4
    source = cv2.copyMakeBorder(
        source, top, SIDE - new[1] - top, left, SIDE - new[0] - left, cv2.BORDER_CONSTANT, value=pad
    )
    return source if format == native.NV12 else cv2.cvtColor(source, CONVERSIONS[format])


def opencv_float(source: np.ndarray, format: int) -> np.ndarray:
    """float32 [1, 3, SIDE, SIDE], RGB, 0 to 1."""
    planes = np.ascontiguousarray(opencv_u8(source, format).transpose(2, 0, 1), np.float32)
    planes /= 255
    return planes[None]


def milliseconds(run: Callable[[], object]) -> float:
    start = time.thread_time_ns()
    run()
    return (time.thread_time_ns() - start) / 1e6


def measure(
    library: native.Library, format: int, size: tuple[int, int], rounds: int, isa: str | None
) -> dict[str, float]:
    """Medians in ms, and how many times faster ours is."""
    width, height = size
    source = picture(format, width, height)
    luma, chroma = (source[:height], source[height:]) if format == native.NV12 else (source, None)
    image = native.image_of(format, luma, chroma)
    letterboxer = native.Letterboxer(library, native.Rule(SIDE, SIDE), isa)
    out = np.empty((SIDE, SIDE, 3), np.uint8)
    runs: dict[str, Callable[[], object]] = {
        "ours_ms": lambda: letterboxer.run(image, out),
        "opencv_ms": lambda: opencv_float(source, format),
        "opencv_u8_ms": lambda: opencv_u8(source, format),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 3):
        for name, run in runs.items():
            elapsed = milliseconds(run)
            if round_ >= 3:  # the first fill caches
                times[name].append(elapsed)
    result = {name: round(statistics.median(values), 4) for name, values in times.items()}
    result["ratio"] = round(result["opencv_ms"] / result["ours_ms"], 2)
    result["ratio_u8"] = round(result["opencv_u8_ms"] / result["ours_ms"], 2)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    build = os.environ.get("YOLOQ_BUILD_DIR", str(ROOT / "build" / "release"))
    parser.add_argument(
        "--library", default=str(Path(build) / "testing" / "libyoloq_testing.so"), help="the testing library"
    )
    parser.add_argument("--rounds", type=int, default=60, help="measured runs of each (default 60)")
    parser.add_argument("--isa", help="generic, sse41 or avx2 (default: the fastest here)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if not Path(arguments.library).is_file():
        print(f"{arguments.library} is missing: run python3 build.py build, or give --library", file=sys.stderr)
        return 1
    cv2.setNumThreads(1)
    library = native.Library(arguments.library)
    isa = arguments.isa or library.best_isa()
    if isa not in library.isas():
        print(f"--isa {isa} cannot run here: choose one of {', '.join(library.isas())}", file=sys.stderr)
        return 2
    results: dict[str, dict[str, float]] = {}
    print(f"letterbox to {SIDE}x{SIDE} RGB, one thread, kernels {isa}; median CPU ms of {arguments.rounds}")
    print(f"{'picture':<20}{'ours':>8}{'OpenCV':>9}{'faster':>8}{'its u8 part':>13}{'faster':>8}")
    for size_name, size in SIZES.items():
        for format in FORMATS:
            name = f"{native.FORMAT_NAMES[format]} {size_name}"
            row = results[name] = measure(library, format, size, arguments.rounds, isa)
            print(
                f"{name:<20}{row['ours_ms']:>8.3f}{row['opencv_ms']:>9.3f}{row['ratio']:>7.1f}x"
                f"{row['opencv_u8_ms']:>13.3f}{row['ratio_u8']:>7.1f}x",
                flush=True,
            )
    if arguments.json:
        report = {"isa": isa, "rounds": arguments.rounds, "opencv": cv2.__version__, "side": SIDE, "results": results}
        partial = arguments.json.with_name(arguments.json.name + ".part")
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        partial.replace(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
