# SPDX-License-Identifier: Apache-2.0
"""`yoloq doctor`: what of this machine a backend needs, what there is of it, and what to do about the rest."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

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
    """What a backend's vendor puts on a machine: nodes of the driver, the runtime's folder or library, the
    environment variable that names another folder, and where the driver's version is."""

    nodes: str
    folder: Path
    variable: str
    version: Path


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
}


def doctor(args: argparse.Namespace) -> int:
    """yoloq doctor [BACKEND] [--json F]; 1 if a backend that was asked for cannot be used."""
    checks = list(examine(args.name))
    if args.json:
        facts = {"version": yoloq.version(), "checks": [asdict(check) for check in checks]}
        write_json(args.json, facts, sys.stdout.write)
    if args.json != "-":
        print("\n".join(_line(check) for check in checks))
    return 1 if args.name and any(check.ok is False for check in checks) else 0


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
        yield Check(f"{name} driver", None, needs.version.read_text(encoding="utf-8", errors="replace").strip())
    chosen = os.environ.get(needs.variable)
    folder = Path(chosen) if chosen else needs.folder
    state = "there" if folder.exists() else "not there"
    yield Check(f"{name} runtime", None, f"{folder} is {state}" + (f" ({needs.variable})" if chosen else ""))


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
