# SPDX-License-Identifier: Apache-2.0
"""The long proof of the C# binding: flat memory over many frames, and what it adds to the native call."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import csharp
from conftest import dummy_manifest, write_package
from csharp import Runtime


@dataclass(frozen=True)
class Run:
    """Frames on a package, and how much memory may grow after the first tenth, in MiB."""

    package: str
    backend: str
    frames: int
    most_managed_mib: float = 0.1
    most_resident_mib: float = 4.0


RUNS = (Run("tiny", "dummy", 500_000), Run("demo", "cpu", 10_000))
MOST_ADDED_MS = 0.3


def prove_csharp(folder: Path) -> dict:
    """Memory of Mono, .NET 8 and Windows (Wine) over many frames, and milliseconds added per 1080p frame."""
    from prove import demo_package

    numbers = itertools.count()

    def make(name: str = "dummy", classes: list[str] | None = None, size: int = 320,
             options: dict[str, str] | None = None, **overrides: object) -> Path:  # fmt: skip
        manifest = dummy_manifest(name, classes or ["bolt", "nut", "washer"], size, options or {}, nms=True)
        target = folder / str(next(numbers)) / f"{name}.yoloq"
        return write_package(target, {**manifest, **overrides}, {"model.bin": b"none"})

    inputs = csharp.write_inputs(folder, demo_package(folder), make)
    results = {}
    for runtime in (csharp.mono(), csharp.coreclr(), csharp.windows()):
        given = csharp.write_given(runtime, inputs, folder)
        soaks = [soak(runtime, given, run) for run in RUNS]
        results[runtime.name] = {"soaks": soaks, "bench": bench(runtime, given)}
    ok = all(each["ok"] for result in results.values() for each in [*result["soaks"], result["bench"]])
    return {"ok": ok, "sample_columns": ["frames", "managed_bytes", "resident_bytes", "collections"], **results}


def soak(runtime: Runtime, given: Path, run: Run) -> dict:
    words = ["soak", given, str(run.frames), run.package, run.backend]
    done = runtime.run(csharp.program_name(runtime), *words, time_limit_s=3600)
    assert done.returncode == 0, done.stdout[-2000:]
    samples = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    managed, resident = ((samples[-1][i] - samples[0][i]) / (1 << 20) for i in (1, 2))
    ok = managed <= run.most_managed_mib and resident <= run.most_resident_mib
    print(f"csharp  {runtime.name:8} {run.backend:6} {run.frames:7}  grown: managed {managed:.2f}, "
          f"resident {resident:.2f} MiB  {'ok' if ok else 'FAILED'}", flush=True)  # fmt: skip
    grown = {"grown_managed_mib": round(managed, 3), "grown_resident_mib": round(resident, 3)}
    return {"package": run.package, "backend": run.backend, "frames": run.frames, **grown, "ok": ok, "samples": samples}


def bench(runtime: Runtime, given: Path) -> dict:
    """Milliseconds that the binding adds to the native call, by overload. On Linux the bitmaps are libgdiplus's, which
    copies what Windows does not: only their Windows figures are judged."""
    done = runtime.run(csharp.program_name(runtime), "bench", given)
    assert done.returncode == 0, done.stdout[-2000:]
    added = {name: float(ms) for name, _, ms in (line.split() for line in done.stdout.splitlines())}
    judged = {name: ms for name, ms in added.items() if runtime.name == "windows" or not name.startswith("bitmap")}
    print(f"csharp  {runtime.name:8} added ms per 1080p frame: {added}", flush=True)
    return {"added_ms": added, "ok": max(judged.values()) <= MOST_ADDED_MS}
