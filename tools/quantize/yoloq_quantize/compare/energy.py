# SPDX-License-Identifier: Apache-2.0
"""The processor's own energy counters (RAPL, through Linux's powercap). No counter, no figure: nothing is estimated."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/sys/class/powercap")


class EnergyCounter:
    """Joules that all processor packages have used; read it before and after."""

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        self._last = self._read()
        self._total_uj = 0

    @staticmethod
    def open(root: Path = ROOT) -> EnergyCounter | None:
        """The machine's counter; None if it has none, or this user may not read it."""
        zones = [zone for zone in sorted(root.glob("*-rapl:*")) if re.fullmatch(r"[a-z]+-rapl:\d+", zone.name)]
        try:
            packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
            return EnergyCounter(packages) if packages else None
        except (OSError, ValueError):
            return None

    def joules(self) -> float:
        """Since the counter was opened. The hardware's counters wrap: read at least once a minute."""
        now = self._read()
        for before, after, limit in zip(self._last, now, self._ranges, strict=True):
            self._total_uj += after - before if after >= before else after - before + limit
        self._last = now
        return self._total_uj / 1e6

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]
