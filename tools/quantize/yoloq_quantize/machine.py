# SPDX-License-Identifier: Apache-2.0
"""Where figures are measured: the processor, the engines' versions, how many threads they get."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import cv2


@dataclass(frozen=True)
class Machine:
    """Where figures were measured."""

    cpu: str
    instruction_sets: str
    threads: int
    system: str
    versions: dict[str, str]


def limit_threads(count: int) -> None:
    """Gives every engine the same number of processors: those that start threads take what the process may use."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:count])
    cv2.setNumThreads(count)


def describe_machine(threads: int | None = None) -> Machine:
    """The processor, its instruction sets that matter for inference, and the versions of the engines.

    threads: what engines are limited to; None: all that the process may use.
    """
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    wanted = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    import yoloq  # here: the quantiser works on machines where the library is not built

    versions = {name: metadata.version(name) for name in ("onnxruntime", "openvino", "numpy", "opencv-python-headless")}
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=fields.get("model name") or platform.processor() or platform.machine(),
        instruction_sets=", ".join(flag for flag in wanted if flag in flags) or "unknown",
        threads=min(threads or allowed, allowed),
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        versions={"yoloq": yoloq.version(), **versions},
    )
