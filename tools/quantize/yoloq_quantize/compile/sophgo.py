# SPDX-License-Identifier: Apache-2.0
"""Sophgo's compiler, tpu-mlir: ONNX and our two tables to a .bmodel.

model_transform brings the ONNX into the compiler's own graph; our tables are made for that graph's operators;
model_deploy compiles. Options and what they do were found by running them: docs/sophgo.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from yoloq_quantize.compile.compiled import Compiled, CompiledOutput
from yoloq_quantize.compile.environment import environment
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.sophgo import Tables, lower, make_tables, other_ranges, read_operators
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

PYTHON = "3.10"  # the wheel's only one
VERSION = "1.30.2"
HERE = Path(__file__).parent
# The wheel brings glibc 2.35, which breaks a Python that was built for a newer one.
UNWANTED = tuple(f"tpu_mlir/lib/third_party/{name}" for name in ("libc.so.6", "libm.so.6", "libpthread.so.0"))
MODEL = "model"  # the vendor's name for everything; also the network's in the .bmodel
TIME = rb"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"
NO_TIME = b"Thu Jan  1 00:00:00 1970"
DTYPES = ("float32", "float16", "int8", "uint8")

# What the vendor's tools say -> what it means. {0} is what the expression found.
SAYINGS = (
    (r"RuntimeError: Op not support:?\s*(.*)", "it does not know the operator {0}; leave it out of the model"),
    (r"KeyError: '(\w+)'\s*$", "it does not know the operator or tensor {0}"),
    (r"No space left on device", "the disk is full; TMPDIR names the folder that it works in"),
    (r"(?:std::bad_alloc|MemoryError|Killed)", "it ran out of memory; compile on a machine with more"),
    (r"failed to legalize operation '([\w.]+)'", "the chip cannot do its operator {0}"),
    (r"LLVM ERROR: (.*)", "{0}"),
    (r"error: (.*)", "{0}"),
    (r"^(?:\w+\.)*(?:RuntimeError|AssertionError|ValueError|IndexError): (.*)", "{0}"),
)


@dataclass(frozen=True)
class TpuMlir:
    """The vendor's tools. `packages`: site-packages of their environment. `log`: what they say is added to it. `more`:
    folders of further Python packages."""

    python: Path
    packages: Path
    log: Path
    more: tuple[Path, ...] = ()

    @staticmethod
    def ready(log: Path) -> TpuMlir:
        """Installs them first, where they are not."""
        folder = environment(f"tpu_mlir-{VERSION}", PYTHON, HERE / "tpu_mlir.txt", UNWANTED)
        return TpuMlir(folder / "bin" / "python", next(folder.glob("lib/python*/site-packages")), log)

    @property
    def root(self) -> Path:
        return self.packages / "tpu_mlir"

    def variables(self) -> dict[str, str]:
        """As the wheel's own start-up sets them; OMP_NUM_THREADS keeps its hands off a shared machine."""
        root = self.root
        libraries = (root / "lib", root / "lib" / "capi", root / "lib" / "third_party")
        paths = (root / "bin", root / "python" / "tools", self.python.parent)
        modules = (HERE / "stand_ins", root, root / "python", *self.more)
        return {
            **os.environ,
            "TPUC_ROOT": str(root),
            "PATH": os.pathsep.join([*map(str, paths), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(map(str, modules)),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def tool(self, name: str, arguments: Sequence[str | Path], folder: Path) -> str:
        """Runs one of the wheel's Python tools in `folder`; what it said."""
        return self.run(
            [str(self.python), str(self.root / "python" / "tools" / f"{name}.py"), *arguments], name, folder
        )

    def model_tool(self, *arguments: str | Path, folder: Path) -> str:
        return self.run([str(self.root / "bin" / "model_tool"), *arguments], "model_tool", folder)

    def run(self, command: Sequence[str | Path], name: str, folder: Path) -> str:
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words, cwd=folder, env=self.variables(), capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise QuantizeError(f"Sophgo's {name} cannot be started: {error.strerror or error}") from error
        said = done.stdout + done.stderr
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n{said}\n")
        if done.returncode:
            raise QuantizeError(
                f"Sophgo's {name} failed: {explain(said, done.returncode)}; its words are in {self.log}"
            )
        return said


def explain(said: str, code: int) -> str:
    """One line of what a vendor's tool said when it failed."""
    for pattern, meaning in SAYINGS:
        found = re.findall(pattern, said, flags=re.M)
        if found:
            return meaning.format(" ".join(found[-1].split())[:300])
    if code < 0:
        return f"it was ended by signal {-code}" + (", for want of memory" if code == -9 else "")
    return f"exit code {code}, and it does not say why"


def compile_sophgo(model: bytes, target: Target, log: Path, progress: Progress, *, kernel: bool = True) -> Compiled:
    """Compiles a cut graph from bytes to raw tensors; a float one is compiled in F16.

    log: written while the tools run; it stays if they fail, and goes if they do not. progress(items, what) wraps the
    steps. kernel: False leaves the vendor's kernel module out of the .bmodel, so that the runtime takes its own.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="yoloq-sophgo-") as folder:
        job = _Job(TpuMlir.ready(log), target, Path(folder), model)
        steps = [job.transform, job.make_tables, job.deploy, *([] if kernel else [job.drop_kernel])]
        for step in progress(steps, f"compiling for {target.chip}"):
            step()
        compiled = job.result()
    log.unlink(missing_ok=True)
    return compiled


class _Job:
    """One compilation in a folder of its own."""

    def __init__(self, tools: TpuMlir, target: Target, folder: Path, model: bytes) -> None:
        self.tools, self.target, self.folder = tools, target, folder
        self.lowered = lower(ir.from_proto(onnx.load_from_string(model)), target.place)
        self.tables: Tables | None = None
        self.mlir, self.bmodel = f"{MODEL}.mlir", folder / f"{MODEL}.bmodel"

    def transform(self) -> None:
        graph = self.lowered.graph
        onnx.save(ir.to_proto(graph), self.folder / f"{MODEL}.onnx")
        shape = ",".join(str(int(side)) for side in graph.graph.inputs[0].shape)
        arguments = ["--model_name", MODEL, "--model_def", f"{MODEL}.onnx", "--input_shapes", f"[[{shape}]]"]
        arguments += ["--channel_format", "none", "--mlir", self.mlir, "--not_inference"]
        self.tools.tool("model_transform", arguments, self.folder)

    def make_tables(self) -> None:
        operators = read_operators((self.folder / self.mlir).read_text(encoding="utf-8"))
        self.tables = make_tables(self.lowered, operators)
        (self.folder / "calibration").write_text(self.tables.calibration, encoding="utf-8")
        (self.folder / "quantize").write_text(self.tables.quantize, encoding="utf-8")

    def deploy(self) -> None:
        arguments = ["--mlir", self.mlir, "--quantize", "INT8", "--chip", self.target.chip, "--quant_input"]
        arguments += ["--calibration_table", "calibration", "--quantize_table", "quantize", "--skip_validation"]
        arguments += [] if self.target.activations.symmetric else ["--asymmetric"]
        self.tools.tool("model_deploy", [*arguments, "--model", self.bmodel.name], self.folder)

    def drop_kernel(self) -> None:
        self.tools.model_tool("--kernel_remove", self.bmodel.name, folder=self.folder)

    def result(self) -> Compiled:
        said = self.tools.model_tool("--info", self.bmodel.name, folder=self.folder)
        names = [value.name for value in self.lowered.graph.graph.outputs]
        return Compiled(
            artifact=without_time(self.bmodel.read_bytes()),
            compiler=f"tpu-mlir {VERSION}",
            outputs=read_outputs(said, names),
            summary={
                "int8_operators": self.tables.int8,
                "f16_operators": self.tables.float,
                "expected_ms": expected_ms(self.folder),
            },
            warnings=self.changed_ranges(),
        )

    def changed_ranges(self) -> tuple[str, ...]:
        """A warning if the compiler took other ranges than the table's, as it does by rules of its own."""
        lowered = next(self.folder.glob(f"{MODEL}_*_tpu.mlir"), None)
        text = lowered.read_text(encoding="utf-8") if lowered else ""
        names = other_ranges(self.tables, text, self.target.activations.symmetric)
        if not names:
            return ()
        return (
            f"Sophgo's compiler changed the ranges of {len(names)} operators, {names[0]} first; measure the package",
        )


def expected_ms(folder: Path) -> float | None:
    """What the compiler expects a picture to take on one core, by its own count of cycles; no measurement."""
    profile = folder / "compiler_profile_0.txt"
    found = re.findall(r"runtime: ([\d.]+)ms", profile.read_text(encoding="utf-8")) if profile.is_file() else []
    return round(float(found[-1]), 3) if found else None


def read_outputs(info: str, sources: Sequence[str]) -> tuple[CompiledOutput, ...]:
    """The outputs that model_tool tells of; they come in the order of the compiled graph's, `sources`."""
    if not re.search(r"^input: \S+, \[[\d, ]+\], uint8, scale: 1, zero_point: 0$", info, flags=re.M):
        raise QuantizeError("Sophgo's compiler made an input that does not take bytes as they are; update yoloq")
    found = re.findall(r"^output: (\S+), \[([\d, ]+)\], (\w+), scale: (\S+), zero_point: (-?\d+)$", info, flags=re.M)
    if len(found) != len(sources):
        raise QuantizeError(f"Sophgo's compiler made {len(found)} outputs of {len(sources)}; update yoloq")
    outputs = []
    for source, (name, shape, dtype, scale, zero) in zip(sources, found, strict=True):
        if dtype not in DTYPES or not name.startswith(source):
            raise QuantizeError(f"Sophgo's compiler made an output {name!r} of {dtype} for {source!r}; update yoloq")
        numbers = (None, None) if dtype.startswith("float") else (float(scale), int(zero))
        outputs.append(CompiledOutput(source, name, dtype, tuple(map(int, shape.split(","))), *numbers))
    return tuple(outputs)


def without_time(bmodel: bytes) -> bytes:
    """A .bmodel without the time of its making: the same inputs give the same bytes."""
    head = 64 + int.from_bytes(bmodel[8:12], "little")  # 64 bytes, then a table of that length, then the data
    return re.sub(TIME, NO_TIME, bmodel[:head]) + bmodel[head:]
