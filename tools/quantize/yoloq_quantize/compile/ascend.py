# SPDX-License-Identifier: Apache-2.0
"""Ascend's compiler, ATC: a deploy graph and its configuration files to an .om, one for each batch size.

ATC comes with CANN and is on no package index. Where it is not on the machine, compile/ascend_kit.py writes what it
needs into a folder. Options and their values are the vendor's documents'; none was tried on a real ATC: docs/ascend.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from yoloq_quantize.compile.ascend_aipp import aipp
from yoloq_quantize.compile.ascend_errors import explain
from yoloq_quantize.compile.compiled import Artifact, Compiled, CompiledOutput, Order
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.lower.ascend import Kept, Lowered, lower
from yoloq_quantize.lower.batch import with_batch
from yoloq_quantize.scheme import Target
from yoloq_quantize.subject import Progress

AIPP, KEEP, PRECISION = "aipp.cfg", "keep_dtype.txt", "op_precision.ini"
HOMES = ("/usr/local/Ascend/cann", "/usr/local/Ascend/ascend-toolkit/latest")
DONE = "ATC run success"
LONGEST_NAME = 100  # the runtime renames tensors whose names have more than 127 characters


@dataclass(frozen=True)
class Job:
    """Everything that ATC is given. `files`: by name. `commands`: batch size -> arguments; the .om of batch n is
    `om(n)`.om. `pixel`: what AIPP multiplies a byte by. `kept`: layers that were quantised and run in FP16."""

    files: dict[str, bytes]
    commands: dict[int, tuple[str, ...]]
    outputs: tuple[CompiledOutput, ...]
    summary: dict[str, object]
    soc: str
    pixel: float
    kept: tuple[Kept, ...]

    def compiled(self, target: Target, oms: Mapping[int, bytes], version: str) -> Compiled:
        """oms: by batch size, the same as `commands`."""
        (batch, first), *others = sorted(oms.items())
        stem, dot, suffix = target.file.partition(".")
        return Compiled(
            artifact=first,
            compiler=f"ATC of CANN {version} for {self.soc}",
            outputs=self.outputs,
            summary=self.summary,
            batch=batch,
            more=tuple(Artifact(f"{stem}.b{size}{dot}{suffix}", size, data) for size, data in others),
            sdk_version=version,
            options={"soc": self.soc},
            warnings=tuple(map(str, self.kept)),
        )


def om(batch: int) -> str:
    return f"model.b{batch}"


def check_order(target: Target, order: Order) -> None:
    """Refuses a chip that is not of the target's family."""
    soc, family = order.soc, target.compiler["family"]
    if soc is not None and not re.fullmatch(rf"{family}\d[\w-]*", soc):
        known = ", ".join(target.compiler["socs"])
        raise QuantizeError(
            f"target {target.chip}: --soc {soc} is none of its chips; give Ascend and the Name that `npu-smi info` "
            f"shows, such as {known}"
        )


def prepare(graph: bytes, target: Target, order: Order) -> Job:
    """Lowers a cut graph for every batch size, and writes ATC's options. The files do not depend on the machine."""
    check_order(target, order)
    soc = order.soc or target.compiler["soc"]
    model = ir.from_proto(onnx.load_from_string(graph))
    _, height, width, _ = (int(side) for side in model.graph.inputs[0].shape)
    files, commands, lowered = {}, {}, None
    for batch in order.batches:
        lowered = lower(with_batch(model, batch))
        _check_names(lowered)
        files[f"{om(batch)}.onnx"] = ir.to_proto(lowered.graph).SerializeToString(deterministic=True)
        commands[batch] = _arguments(batch, lowered, soc, target)
    files[AIPP] = aipp(width, height, lowered.pixel).encode()
    if lowered.float32:
        files[KEEP] = "".join(f"{name}\n" for name in lowered.float32).encode()
    if target.compiler["op_precision"]:
        rows = [f"{kind}={choice}" for kind, choice in sorted(target.compiler["op_precision"].items())]
        files[PRECISION] = "\n".join(["[ByOpType]", *rows, ""]).encode()
    return Job(files, commands, _outputs(model), _summary(lowered, soc), soc, lowered.pixel, lowered.kept)


def _arguments(batch: int, lowered: Lowered, soc: str, target: Target) -> tuple[str, ...]:
    """FP32 outputs: boxes lose up to a quarter of a pixel in FP16. No gears: quantised models may not have them."""
    picture = lowered.graph.graph.inputs[0]
    shape = ",".join(str(int(side)) for side in picture.shape)
    arguments = [
        f"--model={om(batch)}.onnx",
        "--framework=5",
        f"--output={om(batch)}",
        f"--soc_version={soc}",
        "--input_format=NCHW",
        f"--input_shape={picture.name}:{shape}",
        f"--insert_op_conf={AIPP}",
        "--precision_mode=force_fp16",
        "--output_type=FP32",
        "--log=error",
    ]
    if lowered.float32:
        arguments.append(f"--keep_dtype={KEEP}")
    if target.compiler["op_precision"]:
        arguments.append(f"--op_precision_mode={PRECISION}")
    return tuple(arguments)


def _check_names(lowered: Lowered) -> None:
    for value in (*lowered.graph.graph.inputs, *lowered.graph.graph.outputs):
        if not re.fullmatch(rf"[\w./-]{{1,{LONGEST_NAME}}}", value.name):
            raise QuantizeError(f"ATC takes no tensor named {value.name!r}; rename the model's output")


def _outputs(model: ir.Model) -> tuple[CompiledOutput, ...]:
    return tuple(
        CompiledOutput(value.name, value.name, "float32", tuple(int(side) for side in value.shape))
        for value in model.graph.outputs
    )


def _summary(lowered: Lowered, soc: str) -> dict[str, object]:
    kinds = [node.op_type for node in lowered.graph.graph]
    return {
        "soc": soc,
        "int8_layers": len(lowered.int8),
        "quantisations": kinds.count("AscendQuant"),
        "fp16_layers": sum(kind in ("Conv", "ConvTranspose", "Gemm", "MatMul") for kind in kinds) - len(lowered.int8),
        "kept_fp16": [str(kept) for kept in lowered.kept],
    }


# ---------------------------------------------------------------------------------------------------- on this machine


@dataclass(frozen=True)
class Atc:
    """`set_env`: a script to source first, where the environment does not have CANN yet."""

    path: Path
    home: Path
    set_env: Path | None

    @staticmethod
    def find() -> Atc | None:
        if found := shutil.which("atc"):
            path = Path(found)
            return Atc(path, Path(os.environ.get("ASCEND_HOME_PATH") or path.resolve().parent.parent), None)
        homes = [os.environ.get("ASCEND_HOME_PATH"), *HOMES]
        for home in [Path(home) for home in homes if home]:
            path, set_env = home / "bin" / "atc", home / "set_env.sh"
            if path.is_file():
                return Atc(path, home, set_env if set_env.is_file() else None)
        return None

    def version(self) -> str | None:
        """Of CANN, as its installer noted it."""
        for pattern in ("*-linux/ascend_*_install.info", "ascend_*_install.info", "version.cfg"):
            for path in sorted(self.home.glob(pattern)):
                found = re.search(r"version\w*=\[?(?:\d+:)?([\w.]+)", path.read_text("utf-8", errors="replace"))
                if found:
                    return found[1]
        return None

    def run(self, arguments: tuple[str, ...], folder: Path, log: Path) -> None:
        """Raises QuantizeError with ATC's reason; its words are added to the log."""
        words = [str(self.path), *arguments]
        if self.set_env is not None:
            words = ["bash", "-c", '. "$0" >/dev/null && exec "$@"', str(self.set_env), *words]
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env={**os.environ, "ASCEND_SLOG_PRINT_TO_STDOUT": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError as error:
            raise QuantizeError(f"Ascend's ATC cannot be started: {error.strerror or error}") from error
        said = done.stdout.decode("utf-8", errors="replace")
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(words)}\n{said}\n")
        if done.returncode or DONE not in said:
            raise QuantizeError(f"Ascend's ATC failed: {explain(said, done.returncode)}; its words are in {log}")


def has_atc() -> bool:
    return Atc.find() is not None


def compile_ascend(graph: bytes, target: Target, log: Path, progress: Progress, order: Order | None = None) -> Compiled:
    """Compiles a cut graph from bytes to raw tensors; a float one runs in FP16.

    log: written while ATC runs; it stays if it fails, and goes if it does not.
    """
    atc = Atc.find()
    if atc is None:
        raise QuantizeError(
            "Ascend's ATC is not on this machine: install CANN and source its set_env.sh, or write a build kit with "
            "yoloq compile, and run it where CANN is"
        )
    job = prepare(graph, target, order or Order())
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="yoloq-ascend-") as name:
        folder, oms = Path(name), {}
        for file, data in job.files.items():
            (folder / file).write_bytes(data)
        for batch in progress(list(job.commands), f"compiling for {job.soc}"):
            atc.run(job.commands[batch], folder, log)
            oms[batch] = _result(folder, batch, log)
    log.unlink(missing_ok=True)
    version = (order.sdk_version if order else None) or atc.version() or target.sdk_version
    return job.compiled(target, oms, version)


def _result(folder: Path, batch: int, log: Path) -> bytes:
    """ATC may put the system's name between the name it was given and .om."""
    found = [path for path in folder.glob(f"{om(batch)}*.om") if re.fullmatch(rf"{om(batch)}(_\w+)?\.om", path.name)]
    if len(found) != 1:
        raise QuantizeError(f"Ascend's ATC said that it succeeded, and wrote {len(found)} .om files; see {log}")
    return found[0].read_bytes()
