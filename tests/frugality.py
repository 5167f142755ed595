# SPDX-License-Identifier: Apache-2.0
"""The proof `recipes`: what each recipe takes, as a process of its own: seconds, CPU seconds, peak resident memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from conftest import ROOT
from families import fasteners
from families.layout import write_split

MODEL = ROOT / "models" / "fasteners-yolo26n-e2e.onnx"
FEW, MANY = 64, 1000  # pictures of 640 x 640


@dataclass(frozen=True)
class Limit:
    """For the n-size model on two cores."""

    recipe: str
    pictures: int
    seconds: float | None
    mib: float


LIMITS = (
    Limit("fast", FEW, 45, 3072),
    Limit("default", FEW, 240, 3072),
    Limit("best", FEW, 1200, 3072),
    Limit("fast", MANY, None, 2048),
    Limit("default", MANY, None, 2048),
)


def take(recipe: str, pictures: Path, out: Path) -> dict[str, float]:
    """Runs `yoloq quantize` and waits for it; raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "yoloq", "quantize", str(MODEL), "--calib", str(pictures), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--recipe", recipe], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
    }


def prove_recipes(folder: Path) -> dict:
    many = folder / "many"
    write_split(many, "calib", fasteners.sample, fasteners.SEED - MANY, MANY, labelled=False)
    pictures = {FEW: ROOT / "datasets" / "fasteners" / "images" / "calib", MANY: many / "images" / "calib"}
    runs = []
    for limit in LIMITS:
        took = take(limit.recipe, pictures[limit.pictures], folder / f"{limit.recipe}-{limit.pictures}.yoloq")
        ok = took["peak_mib"] <= limit.mib and (limit.seconds is None or took["seconds"] <= limit.seconds)
        print(f"recipes  {limit.recipe:8} {limit.pictures:5} pictures  {took}  {'ok' if ok else 'FAILED'}", flush=True)
        runs.append({"limit": asdict(limit), **took, "ok": ok})
    return {"ok": all(run["ok"] for run in runs), "model": MODEL.name, "runs": runs}
