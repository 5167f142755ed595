# SPDX-License-Identifier: Apache-2.0
"""Runs a detector for long and watches the process: resident memory, threads, file descriptors.

    python tests/soak.py calls|lives BACKEND PACKAGE COUNT [--leak]

Prints the samples as JSON. `lives` creates and destroys; --leak forgets to destroy, to show that it is seen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from native_abi import OK, Detector, ffi, fill_image

SAMPLES = 40
WARM = 0.25  # share of a run in which caches and the allocator may still grow


@dataclass(frozen=True)
class Sample:
    """The process after `count` calls or lives; resident memory in MiB."""

    count: int
    resident_mib: float
    threads: int
    files: int


@dataclass(frozen=True)
class Growth:
    """From the warm part's worst to the last part's worst."""

    resident_mib: float
    threads: int
    files: int


def look(count: int) -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGESIZE") / 2**20
    threads, files = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    return Sample(count, round(resident, 2), threads, files)


def growth(samples: list[Sample]) -> Growth:
    """Compares the quarter after the warm-up with the last quarter, each by its largest values."""
    total = samples[-1].count
    early = [sample for sample in samples if WARM * total <= sample.count <= 2 * WARM * total]
    late = [sample for sample in samples if sample.count > (1 - WARM) * total]

    def rise(name: str) -> float:
        return max(getattr(sample, name) for sample in late) - max(getattr(sample, name) for sample in early)

    return Growth(round(rise("resident_mib"), 2), int(rise("threads")), int(rise("files")))


def run_calls(backend: str, package: str, count: int) -> list[Sample]:
    """`count` calls of one detector with two streams, pictures of changing sizes."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (80 + 90 * i, 120 + 110 * i, 3), np.uint8) for i in range(5)]
    with Detector(package, backend=backend, streams=2) as detector:
        images = ffi.new("yq_image[]", len(pictures))
        for i, pixels in enumerate(pictures):
            fill_image(images[i], pixels)
        found, written = ffi.new("yq_detection[]", 300), ffi.new("uint32_t *")
        samples = []
        for done in range(1, count + 1):
            status = detector.lib.yq_infer(
                detector.handle, images + done % len(pictures), ffi.NULL, found, 300, written
            )  # fmt: skip
            detector.check(status)
            if done % max(1, count // SAMPLES) == 0:
                samples.append(look(done))
        assert status == OK and detector.stats().pictures == count
    return samples


def run_lives(backend: str, package: str, count: int, leak: bool) -> list[Sample]:
    """`count` detectors, one after the other, a picture each."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    samples, forgotten = [], []
    for done in range(1, count + 1):
        detector = Detector(package, backend=backend, streams=2)
        detector.infer(pixels)
        if leak:
            forgotten.append(detector)
        else:
            detector.close()
        if done % max(1, count // SAMPLES) == 0:
            samples.append(look(done))
    return samples


def soak(kind: str, backend: str, package: Path, count: int, leak: bool = False) -> tuple[list[Sample], float]:
    """Runs one in a process of its own: the samples, and the seconds it took."""
    command = [sys.executable, __file__, kind, backend, str(package), str(count), *(["--leak"] if leak else [])]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{kind} on {backend} failed: {done.stderr}")
    return [Sample(**sample) for sample in json.loads(done.stdout)], time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("calls", "lives"))
    parser.add_argument("backend")
    parser.add_argument("package")
    parser.add_argument("count", type=int)
    parser.add_argument("--leak", action="store_true")
    arguments = parser.parse_args()
    if arguments.kind == "calls":
        samples = run_calls(arguments.backend, arguments.package, arguments.count)
    else:
        samples = run_lives(arguments.backend, arguments.package, arguments.count, arguments.leak)
    print(json.dumps([asdict(sample) for sample in samples]))


if __name__ == "__main__":
    main()
