# SPDX-License-Identifier: Apache-2.0
"""The compile step: a quantised package for the CPU in, a package that the chip takes out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from yoloq_quantize.compile import check, compiler_of, needs_kit
from yoloq_quantize.compile.compiled import Order
from yoloq_quantize.package import artifact_files, for_chip, write_files, write_kit
from yoloq_quantize.scheme import Target, load_target
from yoloq_quantize.subject import Progress


def compiler_for(target: str, order: Order | None = None) -> Target:
    """The target, if its backend takes ONNX or has a compiler that can do the order; others and unknown ones are
    refused."""
    found = load_target(target)
    check(found, order or Order())
    return found


def compile_package(
    package: Path,
    target: str,
    out: Path,
    log: Path,
    progress: Progress,
    *,
    order: Order | None = None,
    kit: Path | None = None,
    force: bool = False,
) -> bool:
    """Fills the folder `out`. log: where the compiler's words stay if it fails. kit: where a build kit goes if the
    compiler is not on this machine; True if that is what was written."""
    chip, order = load_target(target), order or Order()
    check(chip, order)
    compiler = compiler_of(chip)
    if compiler is None:
        shutil.copytree(package, out)
        return False
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    manifest["backend_options"] = chip.backend_options.get(manifest["precision"], {})
    graph = (package / manifest["artifacts"][0]["file"]).read_bytes()
    labels = (package / "labels.txt").read_bytes()
    if kit is not None and needs_kit(chip):
        files = compiler.kit(graph, chip, order, lambda made: for_chip(manifest, chip, made), labels, out.name)
        write_kit(kit, files, force)
        return True
    made = compiler.run(graph, chip, order, log, progress)
    write_files(out, for_chip(manifest, chip, made), {**artifact_files(chip, made), "labels.txt": labels}, force)
    return False
