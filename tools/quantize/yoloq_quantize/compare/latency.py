# SPDX-License-Identifier: Apache-2.0
"""How long every candidate takes, how much of the processor and how much energy; the candidates take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from yoloq_quantize.compare.candidates import Candidate, open_candidate
from yoloq_quantize.compare.energy import EnergyCounter
from yoloq_quantize.dataset import Dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import Detector
from yoloq_quantize.metrics import AGREEMENT_SCORE

PICTURES = 5  # of each turn
SETTLE_S = 0.25  # threads of the one before may spin for 200 ms, which would slow the next

Progress = Callable[[Iterable, str], Iterable]


@dataclass(frozen=True)
class Cost:
    """From the decoded picture to boxes at the usual threshold, milliseconds; per picture.

    `engine_p50_ms`: the network alone. `cpu_ms`: processor time of all threads; `cores` of them busy on average.
    `joules`: of the whole processor, None where the machine does not tell. `device`: what a chip's SDK tells about
    itself at the end (temperature_c, power_w, ...), without what it does not tell.
    """

    p50_ms: float
    p99_ms: float
    engine_p50_ms: float
    cpu_ms: float
    cores: float
    joules: float | None
    measurements: int
    device: dict[str, float]


@dataclass
class _Meter:
    """One candidate while it is measured."""

    detector: Detector
    wall_ms: list[float] = field(default_factory=list)
    engine_ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    joules: float = 0.0

    def turn(self, images: Sequence[np.ndarray], energy: EnergyCounter | None) -> None:
        self.detector.detect(images[0])  # wakes threads and caches up; does not count
        joules, cpu = energy.joules() if energy else 0.0, time.process_time()
        for image in images:
            start = time.perf_counter()
            self.detector.detect(image)
            self.wall_ms.append((time.perf_counter() - start) * 1e3)
            self.engine_ms.append(self.detector.engine_ms)
        self.cpu_s += time.process_time() - cpu
        self.joules += energy.joules() - joules if energy else 0.0

    def cost(self, measured_energy: bool) -> Cost:
        p50, p99 = np.percentile(self.wall_ms, [50, 99])
        count = len(self.wall_ms)
        told = getattr(self.detector, "device", {})
        return Cost(
            p50_ms=float(p50),
            p99_ms=float(p99),
            engine_p50_ms=float(np.median(self.engine_ms)),
            cpu_ms=1e3 * self.cpu_s / count,
            cores=1e3 * self.cpu_s / sum(self.wall_ms),
            joules=self.joules / count if measured_energy else None,
            measurements=count,
            device={name: float(value) for name, value in told.items() if value is not None},
        )


def measure_costs(
    candidates: Sequence[Candidate], source: Path | None, dataset: Dataset, rounds: int, progress: Progress
) -> dict[str, Cost]:
    """By key. Each round gives each candidate one turn of PICTURES pictures, so that all meet the same machine."""
    if rounds < 1:
        raise QuantizeError(f"{rounds} rounds; give 1 or more")
    images = [sample.read() for sample in dataset.samples[:PICTURES]]
    energy = EnergyCounter.open()
    with ExitStack() as stack:
        meters = {}
        for candidate in candidates:
            detector = open_candidate(candidate, source, score_threshold=AGREEMENT_SCORE, exact=False)
            meters[candidate.key] = _Meter(stack.enter_context(closing(detector)))
        for _ in progress(range(rounds), "latency"):
            for meter in meters.values():
                meter.turn(images, energy)
                time.sleep(SETTLE_S)
        return {key: meter.cost(energy is not None) for key, meter in meters.items()}
