# SPDX-License-Identifier: Apache-2.0
"""Makes one candidate in a process of its own, so that time and peak memory are its own.

python -m yoloq_quantize.compare.make '{"kind": "recipe", "model": ..., "calib": ..., "out": ..., ...}'
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoloq_quantize.arguments import bar
from yoloq_quantize.errors import QuantizeError


@dataclass(frozen=True)
class Made:
    """What making took: seconds on the clock, and the process's largest resident memory (None: the system hides it).

    `steps`: of a recipe, each {"step", "detail", "seconds"}.
    """

    seconds: float
    peak_mb: float | None
    steps: tuple[dict[str, Any], ...] = ()


def make(job: dict[str, Any]) -> Made:
    """Runs `job` in a new process. QuantizeError with the reason if it fails. The process's progress bars are shown."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "yoloq_quantize.compare.make", json.dumps(job)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        answer, _ = process.communicate()
    finally:  # Ctrl-C here must not leave the child at work
        if process.poll() is None:
            process.terminate()
            process.wait()
    lines = [line for line in answer.splitlines() if line.startswith("{")]
    told = json.loads(lines[-1]) if lines else {"error": f"the process ended with code {process.returncode}"}
    if "error" in told:
        raise QuantizeError(told["error"])
    return Made(time.perf_counter() - start, told["peak_mb"], tuple(told["steps"]))


def main(argument: str) -> int:
    """Does the job; the last line of standard output is what it came to, as JSON."""
    try:
        steps = _do(json.loads(argument))
    except QuantizeError as error:
        print(json.dumps({"error": str(error)}))
        return 1
    except Exception as error:  # other toolkits raise whatever they like
        reason = " ".join(str(error).split())[:300]
        print(json.dumps({"error": f"{type(error).__name__}: {reason}"}))
        return 1
    print(json.dumps({"peak_mb": peak_memory_mb(), "steps": steps}))
    return 0


def _do(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps that a recipe took."""
    kind, model, out = job["kind"], Path(job["model"]), Path(job["out"])
    if kind == "recipe":
        from yoloq_quantize import quantize

        # The report measures on the validation pictures itself; here `data` gives class names.
        result = quantize(model, job["calib"], out, force=True, measure=False, progress=bar, **job["options"])
        return result.to_json()["steps"]
    from yoloq_quantize.dataset import list_images

    pictures = list_images(job["calib"])
    if kind == "nncf":
        from yoloq_quantize.peers.nncf_peer import quantize_nncf

        quantize_nncf(model, pictures, out, job["python"])
        return []
    from yoloq_quantize.baselines import quantize_conv_only, quantize_generic

    {"ort-generic": quantize_generic, "ort-conv": quantize_conv_only}[kind](model, pictures, out)
    return []


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process or of one that it waited for, 10^6 bytes; None where it is not told."""
    status = Path("/proc/self/status")
    own = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.M) if status.exists() else None
    if own is None:
        return None
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kB on Linux
    return max(int(own[1]), children) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
