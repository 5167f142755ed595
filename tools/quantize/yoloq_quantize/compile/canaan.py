# SPDX-License-Identifier: Apache-2.0
"""Canaan's compiler, nncase: float ONNX and a quantisation scheme to a .kmodel for the K230, and its simulator.

The compiler is .NET behind Python; nncase_worker.py calls it in a process of its own. What it does with a graph was
found by running it: docs/k230.md.
"""

from __future__ import annotations

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

from yoloq_quantize.compile.compiled import Compiled, CompiledOutput
from yoloq_quantize.compile.environment import environment
from yoloq_quantize.compile.worker import Worker, exit_reason, threads
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.canaan import lower
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

PYTHON = "3.11"
VERSION = "2.11.0"
HERE = Path(__file__).parent
MAGIC = b"LDMK"  # of a .kmodel
SCHEME = {"quant_scheme": "scheme.json"}

# What the vendor's tools say -> what it means. {0} is what the expression found.
SAYINGS = (
    (r"No space left on device", "the disk is full; TMPDIR names the folder that it works in"),
    (r"(?:std::bad_alloc|OutOfMemoryException|MemoryError)", "it ran out of memory; compile on a machine with more"),
    (r"Unable to cast object of type 'Nncase\.IR\.Call' to type 'Nncase\.IR\.TensorConst'",
     "it made a tensor that yoloq gave no range for; make the package with --precision float32, and report the model"),
    (r"Not Supported Onnx [Oo]p: *(\w+)|Unsupported (?:onnx )?op(?:erator)?:? *(\w+)",
     "it does not know the operator {0}"),
    (r"One or more errors occurred\. \((.+)\)$", "{0}"),
    (r"^Unhandled exception\. [\w.`]+: (.+)", "{0}"),
    (r"(nncase\.simulator\.k230\.sc: not found)", "its simulator is not installed whole ({0}); remove its environment"),
    (r"^(?:\w+\.)*\w*(?:Error|Exception): (.*)", "{0}"),
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What the compiler is asked for; see nncase_worker.py. `graph`: ONNX. `scheme`: JSON, or None for the vendor's own
    quantisation, by `samples`, uint8 [n, h, w, 3], and its `options`."""

    graph: bytes
    shape: tuple[int, ...]
    largest: float
    scheme: str | None
    samples: np.ndarray | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Nncase:
    """The vendor's tools in their environment. `log`: where what they say stays if they fail."""

    folder: Path
    log: Path

    @staticmethod
    def ready(log: Path) -> Nncase:
        """Installs them first, where they are not."""
        tools = Nncase(environment(f"nncase-{VERSION}", PYTHON, HERE / "nncase.txt"), log)
        if not (tools.dotnet / "host" / "fxr").is_dir():
            raise QuantizeError(
                f"Canaan's compiler needs the .NET runtime, which is not in {tools.dotnet}; remove {tools.folder}, and "
                f"yoloq installs both again"
            )
        return tools

    @property
    def packages(self) -> Path:
        return self.folder / "lib" / f"python{PYTHON}" / "site-packages"

    @property
    def dotnet(self) -> Path:
        return self.packages / "dnv" / "net" / "runtime" / ".net"

    def compile(self, job: Job, folder: Path) -> bytes:
        """The .kmodel."""
        (folder / "model.onnx").write_bytes(job.graph)
        asked = {"onnx": "model.onnx", "kmodel": "model.kmodel", "shape": job.shape, "largest": job.largest}
        asked |= {"options": dict(job.options), "samples": None}
        if job.scheme is not None:
            (folder / "scheme.json").write_text(job.scheme, encoding="utf-8")
            asked["options"] |= SCHEME
        if job.samples is not None:
            np.save(folder / "samples.npy", job.samples)
            asked["samples"] = "samples.npy"
        self.start(asked, folder).close()
        return (folder / "model.kmodel").read_bytes()

    def start(self, asked: dict[str, Any], folder: Path) -> Worker:
        """A process that has done a job, or simulates."""
        command = [self.folder / "bin" / "python", HERE / "nncase_worker.py"]
        return Worker("Canaan", command, asked, folder, self.variables(), self.failure)

    def failure(self, said: str, code: int) -> QuantizeError:
        self.log.write_text(said, encoding="utf-8")
        return QuantizeError(f"Canaan's compiler failed: {explain(said, code)}; its words are in {self.log}")

    def variables(self) -> dict[str, str]:
        """What the tools see. They are made for .NET 7; 8 runs them."""
        kept = {key: value for key, value in os.environ.items() if key in ("TMPDIR", "HOME")}
        dotnet = {
            "DOTNET_ROOT": str(self.dotnet),
            "DOTNET_ROLL_FORWARD": "Major",
            "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
            "DOTNET_EnableDiagnostics": "0",
            "NNCASE_PLUGIN_PATH": str(self.packages / "nncase" / "modules" / "kpu"),
        }
        fixed = {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        # The simulator is a program that is looked for on PATH.
        return {**kept, **dotnet, **fixed, "PATH": f"{self.packages}:{os.defpath}", "OMP_NUM_THREADS": threads()}


def explain(said: str, code: int) -> str:
    """One line of what the compiler said when it failed."""
    for pattern, meaning in SAYINGS:
        if found := re.search(pattern, said, flags=re.M):
            part = next((group for group in found.groups() if group), "")
            return meaning.format(" ".join(part.split())[:300])
    return exit_reason(code)


def compile_canaan(model: bytes, target: Target, log: Path, progress: Progress) -> Compiled:
    """Compiles a cut graph from bytes to raw tensors; what has no pairs runs in F16.

    log: written if the tool fails. progress(items, what) wraps the work.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    tools = Nncase.ready(log)
    graph = ir.from_proto(onnx.load_from_string(model))
    outputs = tuple(
        CompiledOutput(value.name, value.name, "float32", tuple(map(int, value.shape))) for value in graph.graph.outputs
    )
    shape = tuple(map(int, graph.graph.inputs[0].shape))
    lowered = lower(graph)
    proto = ir.to_proto(lowered.graph).SerializeToString(deterministic=True)
    job = Job(proto, shape, lowered.largest, lowered.scheme)
    with tempfile.TemporaryDirectory(prefix="yoloq-canaan-") as folder:
        for _ in progress([job], f"compiling for {target.chip}"):
            artifact = tools.compile(job, Path(folder))
    check_kmodel(artifact)
    summary = {"int8_operators": lowered.int8, "f16_operators": lowered.float}
    return Compiled(artifact, f"nncase {VERSION}", outputs, summary)


def check_kmodel(data: bytes) -> None:
    if data[: len(MAGIC)] != MAGIC:
        raise QuantizeError("this is no .kmodel; make the package anew with yoloq quantize")


class Simulator:
    """A .kmodel on the vendor's simulator; used like a session of ONNX Runtime. close() it.

    names: of its outputs, in its order; it does not hold them. log: where what the simulator says stays if it fails.
    """

    def __init__(self, kmodel: bytes, names: Sequence[str], log: Path) -> None:
        check_kmodel(kmodel)
        self._names = tuple(names)
        self._folder = tempfile.TemporaryDirectory(prefix="yoloq-canaan-")
        folder = Path(self._folder.name)
        try:
            (folder / "model.kmodel").write_bytes(kmodel)
            self._worker = Nncase.ready(log).start({"onnx": None, "kmodel": "model.kmodel"}, folder)
        except BaseException:
            self._folder.cleanup()
            raise

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """feeds: the picture, uint8 [1, h, w, 3], under any name."""
        found = self._worker.run(next(iter(feeds.values())))
        if len(found) != len(self._names):
            raise QuantizeError(f"the .kmodel has {len(found)} outputs in place of {len(self._names)}; make it anew")
        named = dict(zip(self._names, found, strict=True))
        return [named[name] for name in outputs]

    def close(self) -> None:
        self._worker.close()
        self._folder.cleanup()


def simulate(kmodel: bytes, names: Sequence[str], _target: Target, log: Path) -> Simulator:
    """The simulator of the only chip that it knows, with a package's artefact."""
    return Simulator(kmodel, names, log)
