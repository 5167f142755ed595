# SPDX-License-Identifier: Apache-2.0
"""Measures yoloq against its baselines, all in one run, and writes docs/bench.json and the README's tables.

    python3 build.py bench [--rounds N] [--no-ultralytics] [--no-docs]

Every contender is a process of its own that works only when it is its turn; a ratio is the median over the rounds of
the ratio within a round, so that a machine whose speed drifts does not matter. Milliseconds are for orientation.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import readme

import yoloq
import yoloq_quantize

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "fasteners-yolo26n-e2e.onnx"
CALIBRATION = ROOT / "datasets" / "fasteners" / "images" / "calib"
PICTURE = ROOT / "datasets" / "fasteners" / "images" / "val" / "00000.jpg"
ULTRALYTICS = ROOT / ".venv-ultralytics"
SETTLE_S = 0.3  # threads of the last one may spin for 200 ms, which would slow the next
CORES = len(os.sched_getaffinity(0))


@dataclass
class Contender:
    """A worker process and what it measured, by round."""

    name: str
    kind: str
    model: Path
    options: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    rounds: list[dict[str, list[float]]] = field(default_factory=list)

    def start(self, picture: Path) -> None:
        command = [self.python, str(ROOT / "bench" / "worker.py"), self.kind, str(self.model), str(picture)]
        command += [f"{key}={value}" for key, value in self.options.items()]
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"bench: {self.name} did not start; try: {' '.join(command)}")

    def work(self, runs: int) -> None:
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        self.rounds.append(json.loads(self.process.stdout.readline()))

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def medians(self, key: str = "ms") -> list[float]:
        return [statistics.median(values[key]) for values in self.rounds]

    def added(self) -> float:
        """Median of what a call takes beyond the engine's own time, in ms."""
        pairs = [pair for values in self.rounds for pair in zip(values["ms"], values["engine_ms"], strict=True)]
        return statistics.median(wall - engine for wall, engine in pairs)


def compete(contenders: Sequence[Contender], picture: Path, rounds: int, runs: int) -> None:
    for contender in contenders:
        contender.start(picture)
    for _ in range(rounds):
        for contender in contenders:
            contender.work(runs)
            time.sleep(SETTLE_S)
    for contender in contenders:
        contender.stop()


def ratio(slow: Contender, fast: Contender, key: str = "ms") -> float:
    pairs = zip(slow.medians(key), fast.medians(key), strict=True)
    return statistics.median(a / b for a, b in pairs)


def middle(contender: Contender, key: str = "ms") -> float:
    return round(statistics.median(contender.medians(key)), 2)


# --------------------------------------------------------------------------------------------------------- measurements


def engine_ratio(packages: dict[str, Path], picture: Path, rounds: int, isa: str | None) -> dict[str, object]:
    environment = {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}
    fp32 = Contender("FP32", "yoloq", packages["float32"], environment=environment)
    int8 = Contender("INT8", "yoloq", packages["int8, rest f32"], environment=environment)
    compete([fp32, int8], picture, rounds, 15)
    return {
        "fp32_engine_ms": middle(fp32, "engine_ms"),
        "int8_engine_ms": middle(int8, "engine_ms"),
        "int8_times_faster": round(ratio(fp32, int8, "engine_ms"), 2),
    }


def added_time(packages: dict[str, Path], picture: Path, rounds: int) -> dict[str, object]:
    one_core = Contender("one core", "yoloq", packages["int8"], {"cores": 1})
    compete([one_core], picture, rounds, 15)
    return {
        "library_ms": middle(one_core, "library_ms"),
        "library_and_python_ms": round(one_core.added(), 2),
        "engine_ms": middle(one_core, "engine_ms"),
        "call_ms": middle(one_core),
    }


def end_to_end(packages: dict[str, Path], picture: Path, rounds: int, peers: list[Contender]) -> dict[str, object]:
    int8 = Contender("yoloq INT8", "yoloq", packages["int8"])
    fp32 = Contender("yoloq FP32", "yoloq", packages["float32"])
    reference = Contender("ONNX Runtime + OpenCV FP32", "opencv-onnxruntime", MODEL, {"threads": CORES})
    compete([int8, fp32, reference, *peers], picture, rounds, 15)
    rows = {c.name: {"ms": middle(c), "int8_times_faster": round(ratio(c, int8), 2)} for c in (fp32, reference, *peers)}
    return {int8.name: {"ms": middle(int8)}, **rows}


def throughput(packages: dict[str, Path], picture: Path, rounds: int) -> dict[str, object]:
    hosts = {"hosts": 4}
    one = Contender("streams=1", "yoloq", packages["int8"], {**hosts, "streams": 1})
    two = Contender("streams=2", "yoloq", packages["int8"], {**hosts, "streams": 2})
    compete([one, two], picture, rounds, 40)
    return {
        "one_stream_per_s": round(1e3 / middle(one), 1),
        "two_streams_per_s": round(1e3 / middle(two), 1),
        "two_streams_times_faster": round(ratio(one, two), 2),
    }


def letterbox(folder: Path) -> dict[str, object]:
    out = folder / "letterbox.json"
    command = [sys.executable, str(ROOT / "bench" / "letterbox.py"), "--json", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


# --------------------------------------------------------------------------------------------------------------- set-up


def prepare(folder: Path) -> tuple[dict[str, Path], Path]:
    packages = {}
    for name, precision, options in (
        ("float32", "float32", {}),
        ("int8", "int8", {}),
        ("int8, rest f32", "int8", {"precision": "f32"}),
    ):
        packages[name] = folder / f"{len(packages)}.yoloq"
        yoloq_quantize.quantize(
            MODEL, CALIBRATION, packages[name], target="cpu", precision=precision, backend_options=options
        )
    picture = folder / "picture.npy"
    np.save(picture, cv2.resize(cv2.imread(str(PICTURE)), (1920, 1080)))
    return packages, picture


def ultralytics_peer(folder: Path) -> list[Contender]:
    """Ultralytics' own predict on its own OpenVINO FP32 export, in an environment apart: AGPL, only measured."""
    python = ULTRALYTICS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ULTRALYTICS)], check=True)
        pins = ROOT / "bench" / "requirements-ultralytics.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(pins)], check=True)
    checkpoint = folder / "fasteners-yolo26n.pt"
    checkpoint.write_bytes((ROOT / "models" / checkpoint.name).read_bytes())
    export = f"from ultralytics import YOLO; print(YOLO({str(checkpoint)!r}).export(format='openvino', imgsz=640))"
    done = subprocess.run([python, "-c", export], check=True, capture_output=True, text=True)
    exported = Path(done.stdout.strip().splitlines()[-1])
    kind = ("ultralytics", exported)
    return [
        Contender("Ultralytics predict, OpenVINO FP32", *kind, {"precision": "f32"}, python=str(python)),
        Contender("the same, precision left to OpenVINO", *kind, python=str(python)),
    ]


def machine() -> dict[str, object]:
    info = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*: (.*)$", info, flags=re.M).group(1).split()
    wanted = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    backends = {backend.name: backend.version for backend in yoloq.backends()}
    return {
        "cpu": re.search(r"^model name\s*: (.*)$", info, flags=re.M).group(1),
        "cores": CORES,
        "instruction_sets": [flag for flag in wanted if flag in flags],
        "system": platform.system(),
        "engine": backends["cpu"],
        "yoloq": yoloq.version(),
        "date": datetime.date.today().isoformat(),
    }


# --------------------------------------------------------------------------------------------------------------- output


def table(result: dict[str, dict]) -> str:
    """The README's table; figures only, so that both languages share it."""
    about = result["machine"]
    native, vnni, added = result["engine_native"], result["engine_avx2_vnni"], result["added_on_one_core"]
    rows = [
        ("1920×1080 BGR → boxes: library on top of the engine, one core", f"{added['library_ms']} ms", "≤ 1.0 ms"),
        ("the same with the Python binding", f"{added['library_and_python_ms']} ms", ""),
        (
            "letterbox 1080p BGR → 640 vs OpenCV chain",
            f"{result['letterbox']['results']['BGR24 1080p']['ratio']}×",
            "≥ 2×",
        ),
        ("engine, INT8 vs FP32, all instructions", f"{native['int8_times_faster']}×", "≥ 1.4×"),
        ("engine, INT8 vs FP32, `ONEDNN_MAX_CPU_ISA=AVX2_VNNI`", f"{vnni['int8_times_faster']}×", "≥ 1.6×"),
    ]
    for name, row in result["end_to_end"].items():
        if "int8_times_faster" in row:
            asked = "≥ 1.5×" if name.endswith("FP32") and not name.startswith("yoloq") else ""
            rows.append((f"end to end, yoloq INT8 vs {name}", f"{row['int8_times_faster']}×", asked))
    rows.append(("throughput, `streams=2` vs 1", f"{result['throughput']['two_streams_times_faster']}×", "> 1×"))
    lines = ["| measurement | result | goal |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    isa = ", ".join(about["instruction_sets"])
    lines += ["", f"{about['cpu']}, {about['cores']} cores ({isa}), {about['engine']}, {about['date']}."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contender")
    parser.add_argument("--no-ultralytics", action="store_true", help="leave out the peer that needs a large download")
    parser.add_argument(
        "--no-docs", action="store_true", help="print only; leave docs/bench.json and the READMEs alone"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        packages, picture = prepare(folder)
        peers = [] if arguments.no_ultralytics else ultralytics_peer(folder)
        rounds = arguments.rounds
        result = {
            "machine": machine(),
            "added_on_one_core": added_time(packages, picture, rounds),
            "letterbox": letterbox(folder),
            "engine_native": engine_ratio(packages, picture, rounds, None),
            "engine_avx2_vnni": engine_ratio(packages, picture, rounds, "AVX2_VNNI"),
            "end_to_end": end_to_end(packages, picture, rounds, peers),
            "throughput": throughput(packages, picture, rounds),
        }
    print(json.dumps(result, indent=1))
    print(table(result))
    if not arguments.no_docs:
        (ROOT / "docs" / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
        readme.update("bench", table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
