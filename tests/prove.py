# SPDX-License-Identifier: Apache-2.0
"""The long proofs: python3 build.py prove [NAME ...]. Results are kept as docs/proof/NAME.json.

A proof is a function that returns what it measured, with "ok" for its verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from accuracy import prove_accuracy
from ascend_proof import prove_ascend
from conftest import ROOT, dummy_manifest, write_package
from csharp_proof import prove_csharp
from exports import prove_exports
from families.family import FAMILIES
from frugality import prove_recipes
from k230_proof import prove_k230
from native_abi import ffi, load
from quantisation import prove_quantisation
from rockchip_proof import prove_rockchip
from rv1106_proof import prove_rv1106
from soak import growth, soak
from sophgo_proof import prove_sophgo

Proof = Callable[[Path], dict]


@dataclass(frozen=True)
class Soak:
    """A run of tests/soak.py, and how much resident memory it may gain, in MiB."""

    kind: str
    backend: str
    count: int
    most_mib: float


SOAKS = (
    Soak("calls", "dummy", 100_000, 0.5),
    Soak("calls", "cpu", 2_000, 2.0),
    Soak("lives", "dummy", 200, 2.0),
    Soak("lives", "cpu", 200, 8.0),
)


def demo_package(folder: Path) -> Path:
    """The demo model, quantised as the README does."""
    import yoloq_quantize

    out = folder / "fasteners.yoloq"
    model = ROOT / "models" / "fasteners-yolo26n-e2e.onnx"
    yoloq_quantize.quantize(model, ROOT / "datasets" / "fasteners" / "images" / "calib", out, recipe="fast")
    return out


def dummy_package(folder: Path) -> Path:
    manifest = dummy_manifest("dummy", ["bolt", "nut", "washer"], 320, {}, nms=True)
    return write_package(folder / "dummy.yoloq", manifest, {"model.bin": b"none"})


def prove_soak(folder: Path) -> dict:
    """Memory, threads and file descriptors over many calls and many create/destroy."""
    packages = {"dummy": dummy_package(folder), "cpu": demo_package(folder)}
    runs = []
    for each in SOAKS:
        samples, seconds = soak(each.kind, each.backend, packages[each.backend], each.count)
        grown = growth(samples)
        ok = grown.resident_mib <= each.most_mib and grown.threads <= 0 and grown.files <= 0
        print(f"soak  {each.kind} {each.backend:6} {each.count:7}  {seconds:6.1f} s  grown {grown}  "
              f"{'ok' if ok else 'FAILED'}", flush=True)  # fmt: skip
        runs.append(
            {**asdict(each), "seconds": round(seconds, 1), "grown": asdict(grown), "ok": ok}
            | {"samples": [[s.count, s.resident_mib, s.threads, s.files] for s in samples]}
        )
    columns = ["count", "resident_mib", "threads", "files"]
    return {"ok": all(run["ok"] for run in runs), "sample_columns": columns, "runs": runs}


PROOFS: dict[str, Proof] = {
    "accuracy": prove_accuracy,
    "ascend": prove_ascend,
    "csharp": prove_csharp,
    "exports": prove_exports,
    "k230": prove_k230,
    "recipes": prove_recipes,
    "rockchip": prove_rockchip,
    "rv1106": prove_rv1106,
    "soak": prove_soak,
    "sophgo": prove_sophgo,
    **{f"quantisation-{name}": prove_quantisation(name) for name in FAMILIES},
}


def machine() -> dict:
    """Where a proof ran; no names of hosts or people."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def save(name: str, result: dict) -> Path:
    """Writes docs/proof/NAME.json, beside and renamed; samples a line each."""
    library = ffi.string(load().yq_version()).decode()
    header = {
        "proof": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {"yoloq": library, "openvino": version("openvino"), "python": platform.python_version()},
    }
    path = ROOT / "docs" / "proof" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".json.new")
    text = json.dumps({**header, **result}, indent=1)
    beside.write_text(re.sub(r"\[[^\[\]{}]*\]", lambda row: " ".join(row[0].split()), text) + "\n")
    return beside.rename(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(PROOFS)}; all if none is given")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - PROOFS.keys():
        parser.error(f"there is no proof {', '.join(sorted(unknown))}; there are: {', '.join(PROOFS)}")
    failed = []
    for name in arguments.names or PROOFS:
        with tempfile.TemporaryDirectory() as folder:
            result = PROOFS[name](Path(folder))
        print(f"{name}: {'proved' if result['ok'] else 'FAILED'}, {save(name, result).relative_to(ROOT)}", flush=True)
        failed += [] if result["ok"] else [name]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
