# SPDX-License-Identifier: Apache-2.0
"""`yoloq doctor`: what of this machine a backend needs, what there is of it, and what to do about the rest."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import yoloq
from yoloq.files import write_json


@dataclass(frozen=True)
class Check:
    """One line: about what, whether it is as it should be (None: a fact without a verdict), and what was found."""

    subject: str
    ok: bool | None
    text: str


@dataclass(frozen=True)
class Needs:
    """What a backend's vendor puts on a machine: nodes of the driver, the runtime's folder or library, the environment
    variable that names another folder, the driver's version, other folders that the backend looks into (the first that
    is there is told), and a command that shows the devices."""

    nodes: str
    folder: Path
    variable: str
    version: Path
    others: tuple[Path, ...] = ()
    command: tuple[str, ...] = ()


# From the vendors' own installation guides.
VENDORS = {
    "sophgo": Needs(
        nodes="/dev/bm-sophon*",
        folder=Path("/opt/sophon/libsophon-current/lib"),
        variable="YOLOQ_SOPHGO_RUNTIME",
        version=Path("/proc/bmsophon/driver_version"),
    ),
    "rockchip": Needs(
        nodes="/dev/dri/by-path/platform-*.npu-render",
        folder=Path("/usr/lib/librknnrt.so"),
        variable="YOLOQ_ROCKCHIP_RUNTIME",
        version=Path("/sys/module/rknpu/version"),
    ),
    "ascend": Needs(
        nodes="/dev/davinci*",
        folder=Path("/usr/local/Ascend/cann/lib64"),
        variable="YOLOQ_ASCEND_RUNTIME",
        version=Path("/usr/local/Ascend/driver/version.info"),
        others=(Path("/usr/local/Ascend/ascend-toolkit/latest/lib64"), Path("/usr/local/Ascend/nnrt/latest/lib64")),
        command=("npu-smi", "info"),
    ),
}
_COMMAND_S = 20  # that a vendor's command may take
_SMOKE_CALLS = 20


def doctor(args: argparse.Namespace) -> int:
    """yoloq doctor [BACKEND] [--package P.yoloq] [--json F]; 1 if what was asked for cannot be used."""
    name = args.name or args.backend
    checks = list(examine(name))
    if args.package:
        checks += smoke_checks(args.package, name, args.device)
    if args.json:
        facts = {"version": yoloq.version(), "checks": [asdict(check) for check in checks]}
        write_json(args.json, facts, sys.stdout.write)
    if args.json != "-":
        print("\n".join(_line(check) for check in checks))
    return 1 if (name or args.package) and any(check.ok is False for check in checks) else 0


def _line(check: Check) -> str:
    mark = {True: "ok", False: "no", None: "--"}[check.ok]
    return f"{mark}  {check.subject:<20} {check.text}"


def examine(name: str | None = None) -> Iterator[Check]:
    """The checks of one backend, or of all and the toolchain."""
    backends = {backend.name: backend for backend in yoloq.backends()}
    if name is not None and name not in backends:
        raise yoloq.InvalidArgument(f"there is no backend {name} beside the library: there are {', '.join(backends)}")
    for each in [name] if name is not None else backends:
        backend = backends[each]
        found = f"{backend.version}, usable" if backend.usable else backend.reason
        yield Check(f"backend {each}", backend.usable, found)
        if each in VENDORS:
            yield from vendor_checks(each, VENDORS[each])
    if name is None:
        yield from toolchain_checks()


def vendor_checks(name: str, needs: Needs) -> Iterator[Check]:
    """Facts about a vendor's driver and runtime; the verdict is the backend's own."""
    pattern = Path(needs.nodes)
    nodes = sorted(pattern.parent.glob(pattern.name))
    unreadable = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if unreadable:
        yield Check(f"{name} devices", False, f"no access to {unreadable[0]}: run as root or set the node's group")
    else:
        yield Check(f"{name} devices", None, ", ".join(map(str, nodes)) or f"none: no {needs.nodes}")
    if needs.version.is_file():
        text = needs.version.read_text(encoding="utf-8", errors="replace")
        yield Check(f"{name} driver", None, ", ".join(filter(None, map(str.strip, text.splitlines()))))
    chosen = os.environ.get(needs.variable)
    usual = next((folder for folder in (needs.folder, *needs.others) if folder.exists()), needs.folder)
    folder = Path(chosen) if chosen else usual
    state = "there" if folder.exists() else "not there"
    yield Check(f"{name} runtime", None, f"{folder} is {state}" + (f" ({needs.variable})" if chosen else ""))

    if needs.command and shutil.which(needs.command[0]):
        yield Check(f"{name} {needs.command[0]}", None, _said(needs.command))


def _said(command: tuple[str, ...]) -> str:
    """What a vendor's command prints, on one line."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not work: {error}"
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    return " / ".join(filter(None, (line.strip(" |+-=") for line in text.splitlines())))


def smoke_checks(package: str, backend: str | None, device: str | None) -> Iterator[Check]:
    """Loads a package and runs a synthetic picture, alone and in a batch: it must always find the same."""
    yield Check("machine", None, f"{platform.machine()}, {platform.platform()}, Python {platform.python_version()}")
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
    try:
        with yoloq.Detector(package, backend=backend, device=device, score_threshold=0.01) as detector:
            info = detector.info
            yield Check("package", True, f"{info.name} for {info.chip} on {info.backend}, {info.backend_version}")
            alone = [detector.detect(picture) for _ in range(_SMOKE_CALLS)]
            together = list(detector.detect_batch([picture] * info.batch))
            stats = detector.stats
    except yoloq.Error as error:
        yield Check("smoke test", False, str(error))
        return
    # The model of a batch is another file: it may round differently from that of one picture.
    same = all(len({_digest(each) for each in results}) == 1 for results in (alone, together))
    counts = f"{len(alone[0])} objects alone, {len(together[0])} in a batch of {info.batch}"
    times = f"engine p50 {stats.engine.p50_ms:.2f} ms, p99 {stats.engine.p99_ms:.2f}, max {stats.engine.max_ms:.2f}"
    verdict = "always the same" if same else "not always the same: do not use it"
    yield Check("smoke test", same, f"{_SMOKE_CALLS} calls: {counts}, {verdict}; {times}")
    health = {key: value for key, value in asdict(stats).items() if key.startswith("device_") and value is not None}
    yield Check("health", None, ", ".join(f"{key} {value}" for key, value in health.items()) or "not told")


def _digest(result: yoloq.Result) -> bytes:
    return result.boxes.tobytes() + result.scores.tobytes() + result.class_ids.tobytes()


def toolchain_checks() -> Iterator[Check]:
    """What the toolchain, if it is installed, says of its compilers."""
    if importlib.util.find_spec("yoloq_quantize") is None:
        return
    try:
        spec = importlib.util.find_spec("yoloq_quantize.doctor")
    except ImportError as error:
        yield Check("toolchain", None, f"needs {error.name}: install yoloq[quantize]")
        return
    if spec is not None:
        checks: Callable[[], list[tuple[str, bool | None, str]]]
        checks = importlib.import_module("yoloq_quantize.doctor").checks
        yield from (Check(*row) for row in checks())
