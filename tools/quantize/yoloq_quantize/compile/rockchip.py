# SPDX-License-Identifier: Apache-2.0
"""Rockchip's compiler, rknn-toolkit2: QDQ ONNX to an .rknn, and the simulator that runs what it has just compiled.

The compiler is Python; rknn_worker.py calls it in a process of its own. What it does with a graph was found by running
it: docs/rockchip.md.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from yoloq_quantize.compile.compiled import GRAPH, Compiled, CompiledOutput
from yoloq_quantize.compile.environment import environment
from yoloq_quantize.compile.worker import Worker, exit_reason, threads
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.rockchip import lower
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

PYTHON = "3.11"
VERSION = "2.5.0"
RKNN = "model.rknn"
HERE = Path(__file__).parent
FAILS_ON_ATTENTION = "fuse_exmatmul_add_mul_exsoftmax13_exmatmul_to_sdpa"  # with an IndexError, where it is INT8
UNWANTED = (
    "fuse_concat_conv",  # takes a convolution of a Concat apart, and runs the parts in F16
    FAILS_ON_ATTENTION,
)
MOST_RULES = 8  # of the compiler's optimisations that may fail and be left out

# What the vendor's tools say -> what it means. {0} is what the expression found. Fail, NotImplemented and InvalidGraph
# are names of ONNX Runtime's exceptions, with which the compiler runs parts of a graph.
SAYINGS = (
    (
        r"The (\w+)\((.*)\) not supported 'float16' dtype at (\S+?)!",
        "{0} {1} cannot run in F16 on {2}, nor in INT8 here; take another model or chip",
    ),
    (r"(?:Unsupported|Not support(?:ed)?) (?:onnx )?op(?:erator)?s?:? *(.*)", "it does not know the operator {0}"),
    (r"No space left on device", "the disk is full; TMPDIR names the folder that it works in"),
    (r"(?:std::bad_alloc|MemoryError|Killed)", "it ran out of memory; compile on a machine with more"),
    (r"(the stand-in for PyTorch has no \w+)", "the model needs a part of it that yoloq does not install: {0}"),
    (r"^(?:\w+\.)*(?:\w*Error|\w*Exception|Fail|NotImplemented|InvalidGraph): (?!Traceback)(.*)", "{0}"),
    (r"^(\w+ gave (?:-?\d+|nothing))$", "{0}"),
)


@dataclass(frozen=True)
class Job:
    """What the worker is asked for; see there. `graph`: ONNX. `unwanted`: rules of the compiler that are switched off.
    `config`, `build`: further options of the vendor's."""

    graph: bytes
    platform: str
    std: float
    mean: float = 0.0
    unwanted: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RknnToolkit:
    """The vendor's tool. `python`: of its environment. `log`: what it says is added to it."""

    python: Path
    log: Path

    @staticmethod
    def ready(log: Path) -> RknnToolkit:
        """Installs it first, where it is not."""
        folder = environment(f"rknn_toolkit2-{VERSION}", PYTHON, HERE / "rknn_toolkit2.txt")
        return RknnToolkit(folder / "bin" / "python", log)

    def start(self, job: Job, folder: Path, simulate: bool) -> tuple[Worker, tuple[str, ...]]:
        """Builds; where some of the compiler's optimisations fail, without those. The process that did so, and their
        names. Raises what it says otherwise."""
        (folder / "model.onnx").write_bytes(job.graph)
        asked = {"onnx": "model.onnx", "rknn": RKNN, "platform": job.platform, "mean": job.mean, "std": job.std}
        asked |= {"build": job.build, "simulate": simulate}
        left_out: list[str] = []
        while True:
            asked["config"] = {"disable_rules": [*job.unwanted, *left_out], **job.config}
            try:
                command = [self.python, HERE / "rknn_worker.py"]
                return Worker("Rockchip", command, asked, folder, variables(), self.failure), tuple(left_out)
            except _RuleError as error:
                if error.rule in left_out or len(left_out) == MOST_RULES:
                    raise QuantizeError(str(error)) from error
                left_out.append(error.rule)

    def failure(self, said: str, code: int) -> QuantizeError:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{said}\n")
        text = f"Rockchip's compiler failed: {explain(said, code)}; its words are in {self.log}"
        if rule := re.findall(r"disable_rules=\['(\w+)'\]", said):
            return _RuleError(text, rule[-1])
        return QuantizeError(text)


class _RuleError(QuantizeError):
    """An optimisation of the compiler failed, which it offers to leave out."""

    def __init__(self, text: str, rule: str) -> None:
        super().__init__(text)
        self.rule = rule


def variables() -> dict[str, str]:
    """What the compiler sees. It leaves memory that it did not write in the .rknn: the allocator clears that, and
    rknn_worker.py sees to the addresses in it."""
    kept = {key: value for key, value in os.environ.items() if key in ("TMPDIR", "HOME")}
    fixed = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "MALLOC_PERTURB_": "255", "PYTHONHASHSEED": "0"}
    modules = {"PYTHONPATH": str(HERE / "stand_ins" / "rockchip"), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **fixed, **modules, "OMP_NUM_THREADS": threads()}


def explain(said: str, code: int) -> str:
    """One line of what the compiler said when it failed."""
    said = re.sub(r"\x1b\[[\d;]*m", "", said)
    for pattern, meaning in SAYINGS:
        found = re.findall(pattern, said, flags=re.M)
        if found:
            last = found[-1] if isinstance(found[-1], tuple) else (found[-1],)
            return meaning.format(*(" ".join(part.split())[:300] for part in last))
    return exit_reason(code)


def compile_rockchip(model: bytes, target: Target, log: Path, progress: Progress) -> Compiled:
    """Compiles a cut graph from bytes to raw tensors; what has no pairs runs in F16.

    log: written while the tool runs; it stays if it fails, and goes if it does not. progress(items, what) wraps it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    tools = RknnToolkit.ready(log)
    graph = ir.from_proto(onnx.load_from_string(model))
    names = [value.name for value in graph.graph.outputs]
    job = job_of(graph, target)
    with tempfile.TemporaryDirectory(prefix="yoloq-rockchip-") as folder:
        for _ in progress([job], f"compiling for {target.chip}"):
            worker, left_out = tools.start(job, Path(folder), simulate=False)
        worker.close()
        artifact, said = (Path(folder) / RKNN).read_bytes(), worker.said()
    log.unlink(missing_ok=True)
    summary = read_layers(said) | ({"left_out": list(left_out)} if left_out else {})
    return Compiled(
        artifact=artifact,
        compiler=f"rknn-toolkit2 {VERSION}",
        outputs=read_outputs(artifact, names, target.chip),
        summary=summary,
        extra={GRAPH: model},
    )


def job_of(graph: ir.Model, target: Target) -> Job:
    """`graph`: cut, from bytes to raw tensors; taken apart."""
    lowered = lower(graph, target)
    proto = ir.to_proto(lowered.graph).SerializeToString(deterministic=True)
    return Job(proto, target.chip, lowered.divisor, unwanted=UNWANTED)


def read_layers(said: str) -> dict[str, int]:
    """From the compiler's table of layers: how many run in which precision, how many on the CPU, and the cycles that it
    expects of those that it counts; no measurement."""
    row = r"\] +\d+ +(\w+) +(INT8|FLOAT16|\w+) +(NPU|CPU) +.*? (\d+)/(\d+)/(\d+) "
    rows = [found for found in re.findall(row, said) if not found[0].endswith("Operator")]
    if not rows:
        raise QuantizeError(
            "Rockchip's compiler wrote a table of layers that this version of yoloq cannot read; update it"
        )
    return {
        "int8_operators": sum(kind == "INT8" for _, kind, *_ in rows),
        "f16_operators": sum(kind == "FLOAT16" for _, kind, *_ in rows),
        "cpu_operators": sum(place == "CPU" for _, _, place, *_ in rows),
        "expected_cycles": sum(int(cycles) for *_, cycles in rows),
    }


def read_outputs(rknn: bytes, sources: Sequence[str], chip: str) -> tuple[CompiledOutput, ...]:
    """The outputs that an .rknn tells of in the JSON at its end; the runtime hands them over as float32."""
    try:
        if rknn[:4] != b"RKNN":
            raise ValueError
        end = 64 + int.from_bytes(rknn[16:24], "little")  # 64 bytes, the model, 8 bytes, the JSON
        about = json.loads(rknn[end + 8 : end + 8 + int.from_bytes(rknn[end : end + 8], "little")])
        tensors = {tensor["tensor_id"]: tensor for tensor in about["norm_tensor"]}
        made = [tensors[edge["right_tensor_id"]] for edge in about["graph"] if edge["left"] == "output"]
        found = [(tensor["url"], tuple(map(int, tensor["size"]))) for tensor in made]
        platforms = about["target_platform"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise QuantizeError("Rockchip's compiler wrote an .rknn that this version of yoloq cannot read") from error
    if [name for name, _ in found] != list(sources) or platforms != [chip]:
        raise QuantizeError(
            f"Rockchip's compiler made {found} for {platforms} of {list(sources)} for {chip}; update yoloq"
        )
    return tuple(CompiledOutput(name, name, "float32", shape) for name, shape in found)


class Simulator:
    """A job's graph on the vendor's simulator; used like a session of ONNX Runtime. close() it.

    names: of the graph's outputs, in its order. log: where what the compiler says stays if it fails.
    """

    def __init__(self, job: Job, names: Sequence[str], log: Path) -> None:
        self._names = tuple(names)
        self._folder = tempfile.TemporaryDirectory(prefix="yoloq-rockchip-")
        try:
            self.worker, _ = RknnToolkit.ready(log).start(job, Path(self._folder.name), simulate=True)
        except BaseException:
            self._folder.cleanup()
            raise
        log.unlink(missing_ok=True)  # of rules that failed

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """feeds: the picture, uint8 [1, h, w, 3], under any name."""
        found = dict(zip(self._names, self.worker.run(next(iter(feeds.values()))), strict=True))
        return [found[name] for name in outputs]

    def close(self) -> None:
        self.worker.close()
        self._folder.cleanup()


def simulate(model: bytes, target: Target, log: Path) -> Simulator:
    """The simulator of a target with a graph as compile_rockchip gets it. It takes no finished .rknn: the graph is
    compiled again."""
    graph = ir.from_proto(onnx.load_from_string(model))
    return Simulator(job_of(graph, target), [value.name for value in graph.graph.outputs], log)
