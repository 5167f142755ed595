# SPDX-License-Identifier: Apache-2.0
"""Rockchip's compiler, rknn-toolkit2: QDQ ONNX to an .rknn, and the simulator that runs what it has just compiled.

The compiler is Python; rknn_worker.py calls it in a process of its own. What it does with a graph was found by running
it: docs/rockchip.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
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
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.rockchip import lower
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

PYTHON = "3.11"
VERSION = "2.5.0"
HERE = Path(__file__).parent
UNWANTED = ("fuse_concat_conv",)  # takes a convolution of a Concat apart, and runs the parts in F16
MOST_RULES = 8  # of the compiler's optimisations that may fail and be left out

# What the vendor's tools say -> what it means. {0} is what the expression found. Fail, NotImplemented and InvalidGraph
# are names of ONNX Runtime's exceptions, with which the compiler runs parts of a graph.
SAYINGS = (
    (r"The (\w+)\(.*\) not supported 'float16' dtype at (\S+?)!", "{0} cannot run in F16 on {1}"),
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

    def start(self, job: Job, folder: Path, simulate: bool) -> Worker:
        """Builds; where one of the compiler's optimisations fails, without it. Raises what it says otherwise."""
        left_out: list[str] = []
        while True:
            try:
                return Worker(self, job, folder, left_out, simulate)
            except _RuleError as error:
                if error.rule in left_out or len(left_out) == MOST_RULES:
                    raise QuantizeError(str(error)) from error
                left_out.append(error.rule)


class _RuleError(QuantizeError):
    """An optimisation of the compiler failed, which it offers to leave out."""

    def __init__(self, text: str, rule: str) -> None:
        super().__init__(text)
        self.rule = rule


class Worker:
    """A process that has built a model. `left_out`: the compiler's rules that failed on it. close() it."""

    def __init__(
        self, tools: RknnToolkit, job: Job, folder: Path, left_out: Sequence[str] = (), simulate: bool = False
    ) -> None:
        self.tools, self.folder, self.left_out = tools, folder, tuple(left_out)
        (folder / "model.onnx").write_bytes(job.graph)
        config = {"disable_rules": [*job.unwanted, *left_out], **job.config}
        asked = {"onnx": "model.onnx", "rknn": "model.rknn", "platform": job.platform, "mean": job.mean, "std": job.std}
        asked |= {"config": config, "build": job.build, "simulate": simulate}
        (folder / "job.json").write_text(json.dumps(asked), encoding="utf-8")
        self._said = (folder / "said").open("w+", encoding="utf-8", errors="replace")
        self._process = self._open()
        try:
            self._expect("built")
        except BaseException:
            self._process.kill()
            self.close()
            raise

    def _open(self) -> subprocess.Popen[str]:
        command = [str(self.tools.python), str(HERE / "rknn_worker.py"), "job.json"]
        try:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
            )
        except OSError as error:
            self._said.close()
            raise QuantizeError(f"Rockchip's compiler cannot be started: {error.strerror or error}") from error

    @property
    def rknn(self) -> bytes:
        return (self.folder / "model.rknn").read_bytes()

    def said(self) -> str:
        return (self.folder / "said").read_text(encoding="utf-8", errors="replace")

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        """The raw tensors of a picture, uint8 [1, h, w, 3], on the simulator: float32, in the graph's order."""
        np.save(self.folder / "in.npy", picture)
        try:
            self._process.stdin.write("in.npy out.npz\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: its words say why
        self._expect("done")
        with np.load(self.folder / "out.npz") as found:
            return [found[name] for name in found.files]

    def close(self) -> None:
        """Ends the process; it does so by itself when nobody asks any more."""
        if self._said.closed:
            return
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _expect(self, answer: str) -> None:
        if self._process.stdout.readline().strip() == answer:
            return
        code = self._process.wait()
        said = self.said()
        with self.tools.log.open("a", encoding="utf-8") as log:
            log.write(f"{said}\n")
        text = f"Rockchip's compiler failed: {explain(said, code)}; its words are in {self.tools.log}"
        if rule := re.findall(r"disable_rules=\['(\w+)'\]", said):
            raise _RuleError(text, rule[-1])
        raise QuantizeError(text)


def variables() -> dict[str, str]:
    """What the compiler sees. It leaves memory that it did not write in the .rknn: the allocator clears that, and
    rknn_worker.py sees to the addresses in it."""
    kept = {key: value for key, value in os.environ.items() if key in ("TMPDIR", "HOME")}
    threads = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    fixed = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "MALLOC_PERTURB_": "255", "PYTHONHASHSEED": "0"}
    modules = {"PYTHONPATH": str(HERE / "stand_ins" / "rockchip"), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **fixed, **modules, "OMP_NUM_THREADS": threads}


def explain(said: str, code: int) -> str:
    """One line of what the compiler said when it failed."""
    said = re.sub(r"\x1b\[[\d;]*m", "", said)
    for pattern, meaning in SAYINGS:
        found = re.findall(pattern, said, flags=re.M)
        if found:
            last = found[-1] if isinstance(found[-1], tuple) else (found[-1],)
            return meaning.format(*(" ".join(part.split())[:300] for part in last))
    if code < 0:
        return f"it was ended by signal {-code}" + (", for want of memory" if code == -9 else "")
    return f"exit code {code}, and it does not say why"


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
            worker = tools.start(job, Path(folder), simulate=False)
        worker.close()
        artifact, said = worker.rknn, worker.said()
    log.unlink(missing_ok=True)
    summary = read_layers(said) | ({"left_out": list(worker.left_out)} if worker.left_out else {})
    return Compiled(
        artifact=artifact,
        compiler=f"rknn-toolkit2 {VERSION}",
        outputs=read_outputs(artifact, names, target.chip),
        summary=summary,
        extra={GRAPH: model},
    )


def job_of(graph: ir.Model, target: Target) -> Job:
    """`graph`: cut, from bytes to raw tensors; taken apart."""
    lowered = lower(graph)
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
            self.worker = RknnToolkit.ready(log).start(job, Path(self._folder.name), simulate=True)
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
