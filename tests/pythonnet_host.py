# SPDX-License-Identifier: Apache-2.0
"""A Python program on the C# assembly, by pythonnet on CoreCLR: what a host does there, and what it sees.

    python pythonnet_host.py WHAT GIVEN.json      prints a line of JSON

A process of its own each time: a runtime, once loaded, stays. GIVEN has `dotnet` (the runtime's folder), `config` (its
runtimeconfig.json), `assembly` (YoloQ.Net.dll) and what the functions below use.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clr_loader
import numpy as np
import pythonnet

Given = dict[str, Any]


def load(given: Given) -> None:
    pythonnet.set_runtime(clr_loader.get_coreclr(runtime_config=given["config"], dotnet_root=Path(given["dotnet"])))
    import clr

    clr.AddReference(given["assembly"])


def open_detector(package: str, backend: str = "", **options: object) -> Any:
    from System import TimeSpan
    from YoloQ import Detector, DetectorOptions

    chosen = DetectorOptions()
    chosen.Timeout = TimeSpan.FromMinutes(2)  # on a machine that has other work
    for name, value in {"Backend": backend or None, **options}.items():
        setattr(chosen, name, value)
    return Detector(package, chosen)


def picture(given: Given) -> np.ndarray:
    return np.frombuffer(Path(given["pixels"]).read_bytes(), np.uint8).reshape(given["height"], given["width"], 3)


def view(pixels: np.ndarray) -> Any:
    """The array's own memory: it must live as long as the view."""
    from System import IntPtr
    from YoloQ import ImageView, PixelFormat

    height, width = pixels.shape[:2]
    return ImageView(IntPtr(pixels.ctypes.data), width, height, PixelFormat.Bgr24, pixels.strides[0])


def rows(result: Any) -> list[list[float]]:
    return [[d.X1, d.Y1, d.X2, d.Y2, d.Score, d.ClassId] for d in result]


def detections(given: Given) -> object:
    """One picture in every way that a Python host has."""
    from System import Array, Byte
    from YoloQ import ImageView, Library, PixelFormat, Roi

    pixels = picture(given)
    height, width = pixels.shape[:2]
    part = view(pixels)
    part.Region = Roi(*given["region"])
    with open_detector(given["demo"]) as detector:
        buffer = Array[Byte](pixels.tobytes())
        return {
            "view": rows(detector.Detect(view(pixels))),
            "region": rows(detector.Detect(part)),
            "array": rows(detector.Detect(buffer, width, height, PixelFormat.Bgr24)),
            "async": rows(detector.DetectAsync(buffer, width, height, PixelFormat.Bgr24).Result),
            "batch": [rows(result) for result in detector.DetectBatch(Array[ImageView]([view(pixels), part]))],
            "classes": list(detector.Info.ClassNames),
            "pictures": detector.GetStatistics().Pictures,
            "library": Library.Path,
        }


def threads(given: Given) -> object:
    """Eight Python threads on one detector, with the garbage collector of .NET at work beside them."""
    from System import GC

    pixels = picture(given)
    end = threading.Event()

    def collect() -> None:
        while not end.is_set():
            GC.Collect()
            time.sleep(0.001)

    collector = threading.Thread(target=collect)
    with open_detector(given["demo"], Streams=2) as detector, ThreadPoolExecutor(8) as pool:
        collector.start()
        results = list(pool.map(lambda _: rows(detector.Detect(view(pixels))), range(64)))
        end.set()
        collector.join()
        return {"different": len({json.dumps(result) for result in results}), "first": results[0]}


def freedom(given: Given) -> object:
    """How often another Python thread ran while a detection of a second did."""
    pixels = picture(given)
    with open_detector(given["slow"], "dummy") as detector, ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: detector.Detect(view(pixels)).Count)
        while not running.running():
            time.sleep(0.001)
        turns = 0
        while not running.done():
            time.sleep(0.01)
            turns += 1
        return {"turns": turns, "found": running.result()}


def errors(given: Given) -> object:
    """name -> what was caught: the exception's class, its status, its text."""
    import YoloQ
    from System import Array, Byte, IntPtr, ObjectDisposedException
    from YoloQ import Detector, ImageView, PixelFormat

    gone = open_detector(given["demo"])
    gone.Dispose()
    pixels = picture(given)
    slow = open_detector(given["slow"], "dummy")
    hurry = YoloQ.DetectSettings()
    hurry.TimeoutMilliseconds = 50
    attempts: dict[str, tuple[type, Callable[[], object]]] = {
        "absent": (YoloQ.NotFoundException, lambda: Detector("absent.yoloq")),
        "damaged": (YoloQ.PackageException, lambda: Detector(given["damaged"])),
        "chip": (YoloQ.YoloException, lambda: Detector(given["ascend"])),
        "short": (YoloQ.InvalidArgumentException, lambda: slow.Detect(Array[Byte](9), 64, 64, PixelFormat.Bgr24)),
        "null": (YoloQ.InvalidArgumentException, lambda: slow.Detect(ImageView(IntPtr(0), 64, 64, PixelFormat.Bgr24))),
        "disposed": (ObjectDisposedException, lambda: gone.Detect(view(pixels))),
        "timeout": (YoloQ.DetectionTimeoutException, lambda: slow.Detect(view(pixels), hurry)),
    }
    caught = {}
    for name, (kind, attempt) in attempts.items():
        try:
            attempt()
        except kind as error:
            caught[name] = [type(error).__name__, str(getattr(error, "Status", "")), error.Message]
    slow.Dispose()
    return caught


def log(given: Given) -> object:
    """Lines of the library's log, from a handler in Python."""
    from YoloQ import Library

    lines: list[str] = []

    def heard(_: object, event: Any) -> None:
        lines.append(f"{event.Level}: {event.Message}")

    Library.Log += heard
    try:
        open_detector(given["demo"]).Dispose()
    finally:
        Library.Log -= heard
    return lines


def main() -> None:
    given = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    load(given)
    what = {each.__name__: each for each in (detections, threads, freedom, errors, log)}[sys.argv[1]]
    print(json.dumps(what(given)))


if __name__ == "__main__":
    main()
