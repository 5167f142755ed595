# SPDX-License-Identifier: Apache-2.0
"""What a pipeline.yaml asks for, checked: which models, for which targets, how good, and where they go."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoloq_quantize.compile.compiled import MOST_BATCH, Order
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.compilers import compiler_for
from yoloq_quantize.flow.tree import Node, read_tree
from yoloq_quantize.pipeline import quantize

METRICS = ("map50", "map50_95")
_OURS = (
    "model",
    "out",
    "target",
    "measure",
    "compiled",
    "order",
    "force",
    "progress",
)  # of quantize(): the pipeline gives these itself
_NAME = re.compile(r"[\w][\w.-]*")
_REMOTE = re.compile(r"(?P<host>[^:/\s-][^:/\s]*):(?P<folder>.+)")


@dataclass(frozen=True)
class Gate:
    """Limits in points (0 to 100), by METRICS. agreement: least share of confirmed detections, in percent."""

    data: Path
    split: str
    images: Path | None
    max_drop: dict[str, float]
    least: dict[str, float]
    agreement: float | None


@dataclass(frozen=True)
class Destination:
    """Where packages go. host: None for a folder of this machine, else [user@]host for ssh, whose `folder` is there.

    keep: previous versions to keep. links: the stable name is a symbolic link (else a copy, changed by two renames).
    """

    folder: str
    host: str | None
    port: int | None
    identity: Path | None
    ssh_options: tuple[str, ...]
    keep: int
    links: bool

    def __str__(self) -> str:
        return self.folder if self.host is None else f"{self.host}:{self.folder}"


@dataclass(frozen=True)
class Job:
    """One model for one target. `name` is also the package's: NAME.yoloq. options: of quantize(), by name."""

    name: str
    model: Path
    target: str
    options: dict[str, Any]
    gate: Gate | None
    push: tuple[Destination, ...]
    order: Order = field(default_factory=Order)


@dataclass(frozen=True)
class Plan:
    source: Path
    work: Path
    jobs: tuple[Job, ...]


def read_plan(path: Path) -> Plan:
    """Reads and checks a pipeline.yaml. Errors are one line with the file, the line and what to do."""
    top = read_tree(path).mapping(("models", "work"), ("models",))
    work = top["work"].path() if "work" in top else path.absolute().parent / f".{path.stem}.work"
    jobs: dict[str, Job] = {}
    for node in top["models"].items():
        for job in _jobs(node):
            if job.name in jobs:
                node.fail(f"two models are called {job.name}; give one another name")
            jobs[job.name] = job
    return Plan(path, work, tuple(jobs.values()))


def _jobs(node: Node) -> list[Job]:
    given = node.mapping(("name", "model", "targets", "quantize", "compile", "gate", "push"), ("model",))
    model = given["model"].path()
    if not model.is_file():
        given["model"].fail(f"no such file {model}; paths are relative to the yaml")
    name = given["name"].text() if "name" in given else model.stem
    if not _NAME.fullmatch(name):
        (given.get("name") or given["model"]).fail(f"{name!r} is no name; use letters, digits, '.', '_' and '-'")
    targets = [(n, n.text()) for n in given["targets"].items()] if "targets" in given else [(node, "cpu")]
    options = _options(given["quantize"]) if "quantize" in given else {}
    if options.get("precision", "int8") == "int8" and "calib" not in options:
        given.get("quantize", node).fail("'calib' is missing; name the calibration pictures under quantize")
    gate = _gate(given["gate"]) if "gate" in given else None
    order = _order(given["compile"]) if "compile" in given else Order()
    push = tuple(_destination(n) for n in given["push"].items()) if "push" in given else ()
    jobs = []
    for where, target in targets:
        try:
            compiler_for(target, order)
        except QuantizeError as error:
            where.fail(str(error))
        full = name if len(targets) == 1 else f"{name}-{target}"
        jobs.append(Job(full, model, target, {"name": full, **options}, gate, push, order))
    return jobs


def _options(node: Node) -> dict[str, Any]:
    """Options of quantize() by name; their types follow its signature."""
    parameters = {k: p for k, p in inspect.signature(quantize).parameters.items() if k not in _OURS}
    return {key: _option(value, str(parameters[key].annotation)) for key, value in node.mapping(parameters).items()}


def _option(node: Node, kind: str) -> Any:
    if "Path" in kind:
        path = node.path()
        if not path.exists():
            node.fail(f"no such file or folder {path}; paths are relative to the yaml")
        return path
    if kind.startswith("tuple[int, int]"):
        return _size(node)
    if kind.startswith("Sequence[str]"):
        return [entry.text() for entry in node.items()]
    if kind.startswith("dict"):
        if not isinstance(node.value, dict):
            node.fail("expected keys and values")
        return {key: str(value) for key, value in node.plain().items()}
    if kind.startswith("bool"):
        return node.flag()
    if kind.startswith("int"):
        return node.integer(0, 1_000_000)
    if kind.startswith("float"):
        return _ratio(node)
    return node.text()


def _size(node: Node) -> tuple[int, int]:
    """(height, width) from 640, 480x640 or [480, 640]."""
    value = node.plain()
    sides = value if isinstance(value, list) else [value]
    if isinstance(value, str) and re.fullmatch(r"\d+x\d+", value.lower()):
        sides = [int(side) for side in value.lower().split("x")]
    if len(sides) == 1:
        sides = sides * 2
    if len(sides) != 2 or not all(type(side) is int and 32 <= side <= 8192 for side in sides):
        node.fail(f"{value!r} is no size; write 640 or 480x640 (height x width)")
    return sides[0], sides[1]


def _ratio(node: Node) -> float:
    if isinstance(node.value, str) and (parts := re.fullmatch(r"([\d.]+) */ *([\d.]+)", node.value)):
        return float(parts[1]) / float(parts[2])
    return node.number()


def _gate(node: Node) -> Gate:
    given = node.mapping(("data", "split", "images", "max_drop", "min", "min_agreement"), ("data",))
    data = given["data"].path()
    if not data.exists():
        given["data"].fail(f"no such file or folder {data}; paths are relative to the yaml")
    if not {"max_drop", "min", "min_agreement"} & given.keys():
        node.fail("no limit; add max_drop, min or min_agreement")
    if data.is_dir() and {"max_drop", "min"} & given.keys():
        given["data"].fail("a folder has no labels; use min_agreement, or name a data.yaml or a COCO .json")
    return Gate(
        data=data,
        split=given["split"].text() if "split" in given else "val",
        images=given["images"].path() if "images" in given else None,
        max_drop=_points(given["max_drop"]) if "max_drop" in given else {},
        least=_points(given["min"]) if "min" in given else {},
        agreement=given["min_agreement"].number(0, 100) if "min_agreement" in given else None,
    )


def _order(node: Node) -> Order:
    given = node.mapping(("soc", "batch", "sdk_version"))
    try:
        return Order(
            soc=given["soc"].text() if "soc" in given else None,
            batches=tuple(n.integer(1, MOST_BATCH) for n in given["batch"].items()) if "batch" in given else (1,),
            sdk_version=given["sdk_version"].text() if "sdk_version" in given else None,
        )
    except QuantizeError as error:
        if str(error).startswith(str(node.file)):
            raise
        node.fail(str(error))


def _points(node: Node) -> dict[str, float]:
    """One number for all metrics, or one for each that is named."""
    if isinstance(node.value, dict):
        return {key: value.number(0, 100) for key, value in node.mapping(METRICS).items()}
    return dict.fromkeys(METRICS, node.number(0, 100))


def _destination(node: Node) -> Destination:
    import sys

    known = ("folder", "ssh", "port", "identity", "options", "keep", "links")
    given = node.mapping(known)
    if ("folder" in given) == ("ssh" in given):
        node.fail("write either `folder: PATH` or `ssh: user@host:PATH`")
    remote = None
    if "ssh" in given:
        remote = _REMOTE.fullmatch(given["ssh"].text())
        if remote is None:
            given["ssh"].fail(f"{given['ssh'].value!r} is no destination; write user@host:/folder")
    else:
        for key in ("port", "identity", "options"):
            if key in given:
                given[key].fail("goes with ssh only; remove it")
    return Destination(
        folder=remote["folder"] if remote else str(given["folder"].path()),
        host=remote["host"] if remote else None,
        port=given["port"].integer(1, 65535) if "port" in given else None,
        identity=given["identity"].path() if "identity" in given else None,
        ssh_options=tuple(n.text() for n in given["options"].items()) if "options" in given else (),
        keep=given["keep"].integer(0, 1000) if "keep" in given else 3,
        links=given["links"].flag() if "links" in given else bool(remote) or sys.platform != "win32",
    )
