# SPDX-License-Identifier: Apache-2.0
"""The compile step: a quantised package for the CPU in, a package that the chip takes out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from yoloq_quantize.compile import compiler_of
from yoloq_quantize.package import for_chip, write_files
from yoloq_quantize.scheme import Target, load_target
from yoloq_quantize.subject import Progress


def compiler_for(target: str) -> Target:
    """The target, if its backend takes ONNX or has a compiler; others and unknown ones are refused."""
    found = load_target(target)
    compiler_of(found)
    return found


def compile_package(package: Path, target: str, out: Path, log: Path, progress: Progress) -> None:
    """Fills the folder `out`. log: where the compiler's words stay if it fails."""
    chip = load_target(target)
    compiler = compiler_of(chip)
    if compiler is None:
        shutil.copytree(package, out)
        return
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    graph = (package / manifest["artifacts"][0]["file"]).read_bytes()
    made = compiler(graph, chip, log, progress)
    options = {"backend_options": chip.backend_options.get(manifest["precision"], {})}
    files = {chip.file: made.artifact, **made.extra, "labels.txt": (package / "labels.txt").read_bytes()}
    write_files(out, {**for_chip(manifest, chip, made), **options}, files)
