# SPDX-License-Identifier: Apache-2.0
"""Runs one way of detecting, on command, so that bench/run.py can let several take turns in one run.

    worker.py KIND MODEL PICTURE.npy [KEY=VALUE ...]

Reads a number of runs per line from standard input; answers each with one line of JSON:
{"ms": [...], "engine_ms": [...], "library_ms": [...]}: wall time from the picture in memory to boxes; where known, the
engine's share and the library's (queue, letterbox, decode, NMS).
KIND is yoloq (a package), opencv-onnxruntime (an ONNX model), or ultralytics (an exported folder; imports only that
package and NumPy, because it runs in an environment of its own).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

Call = Callable[[], tuple[float, float] | None]  # one detection; the engine's and the library's ms if it knows them


def open_yoloq(model: str, picture: np.ndarray, options: dict[str, str]) -> Call:
    import yoloq

    detector = yoloq.Detector(model, streams=int(options.get("streams", 1)))

    def call() -> tuple[float, float]:
        took = detector.detect(picture, format="BGR").timings
        return took.engine_ms, took.queue_ms + took.preprocess_ms + took.decode_ms

    return call


def open_opencv_onnxruntime(model: str, picture: np.ndarray, options: dict[str, str]) -> Call:
    from yoloq_quantize.reference import ReferenceDetector

    detector = ReferenceDetector(model, score_threshold=0.25, threads=int(options["threads"]), exact=False)

    def call() -> None:
        detector.detect(picture)

    return call


def open_ultralytics(model: str, picture: np.ndarray, options: dict[str, str]) -> Call:
    import openvino
    from ultralytics import YOLO

    if precision := options.get("precision"):  # else OpenVINO's default: bf16 on a CPU that has it
        compile_model = openvino.Core.compile_model

        def compile_with(core: openvino.Core, model: object, device_name: str, config: dict) -> object:
            return compile_model(core, model, device_name, {**config, "INFERENCE_PRECISION_HINT": precision})

        openvino.Core.compile_model = compile_with
    detector = YOLO(model, task="detect")

    def call() -> None:
        detector.predict(picture, imgsz=640, conf=0.25, verbose=False)[0].boxes.xyxy.numpy()

    return call


OPENERS = {"yoloq": open_yoloq, "opencv-onnxruntime": open_opencv_onnxruntime, "ultralytics": open_ultralytics}


def timed(call: Call, runs: int) -> dict[str, list[float]]:
    result: dict[str, list[float]] = {"ms": [], "engine_ms": [], "library_ms": []}
    for _ in range(runs):
        began = time.perf_counter()
        inside = call()
        result["ms"].append((time.perf_counter() - began) * 1e3)
        if inside is not None:
            result["engine_ms"].append(inside[0])
            result["library_ms"].append(inside[1])
    return result


def crowd(call: Call, runs: int, hosts: int) -> dict[str, list[float]]:
    """`hosts` threads share `runs`; answers the mean milliseconds per picture over all of them."""
    threads = [threading.Thread(target=lambda: [call() for _ in range(runs // hosts)]) for _ in range(hosts)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"ms": [(time.perf_counter() - began) * 1e3 / (runs // hosts * hosts)]}


def main() -> int:
    kind, model, picture_path, *pairs = sys.argv[1:]
    options = dict(pair.split("=", 1) for pair in pairs)
    if "cores" in options:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(options["cores"])])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    call = OPENERS[kind](model, np.load(picture_path), options)
    hosts = int(options.get("hosts", 1))
    for _ in range(5):
        call()
    print("ready", file=answers)
    for line in sys.stdin:
        result = crowd(call, int(line), hosts) if hosts > 1 else timed(call, int(line))
        print(json.dumps(result), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
