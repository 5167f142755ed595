# SPDX-License-Identifier: Apache-2.0
"""Step `package`: writes NAME.yoloq/ as docs/package-format.md says; all of it, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoloq_quantize.compile.compiled import Compiled
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head
from yoloq_quantize.scheme import Target

FORMAT = 1
FLOATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
DEFAULTS = {"score_threshold": 0.25, "iou_threshold": 0.7, "max_detections": 300, "streams": 1, "timeout_ms": 10000}


@dataclass(frozen=True)
class InputSpec:
    """The artefact's picture input: uint8 NHWC, size in pixels, channels in the order of `color`."""

    name: str
    width: int
    height: int
    color: str = "RGB"
    pad: int = 114
    align: str = "center"
    upscale: bool = True


@dataclass(frozen=True)
class PackageContent:
    """Everything a package says. `summary`, `source` and `accuracy` go into the manifest as they are. `artifact`: the
    cut graph as ONNX, from bytes to raw tensors. `compiled`: what the chip's compiler made of it, where it has one."""

    name: str
    precision: str
    classes: tuple[str, ...]
    input: InputSpec
    head: Head
    target: Target
    backend_options: dict[str, str]
    compiler: str
    artifact: bytes
    summary: dict[str, Any]
    source: dict[str, str]
    accuracy: dict[str, Any] = field(default_factory=dict)
    compiled: Compiled | None = None


def check_free(path: Path, force: bool, kit: bool = False) -> None:
    """Refuses a path of a package (or a build kit) that cannot be written, before any work is done."""
    marker, kind = ("build.sh", "build kit") if kit else ("manifest.json", "package")
    if path.exists() and not force:
        raise QuantizeError(f"{path}: exists already; choose another --out, or replace it with --force")
    if path.exists() and not (path / marker).is_file():
        raise QuantizeError(f"{path}: exists and is no {kind}; --force replaces {kind}s only")
    if path.parent.exists() and not os.access(path.parent, os.W_OK):
        raise QuantizeError(f"{path.parent}: cannot be written to; choose another --out")


def write_package(path: Path, content: PackageContent, force: bool = False) -> None:
    """Writes the package beside its place, then renames it there. On failure nothing is left, and an old one stays."""
    manifest, files = build_manifest(content), {content.target.file: content.artifact}
    if content.compiled is not None:
        manifest = for_chip(manifest, content.target, content.compiled)
        files = artifact_files(content.target, content.compiled)
    write_files(path, manifest, {**files, "labels.txt": labels_text(content.classes)}, force)


def artifact_files(target: Target, compiled: Compiled) -> dict[str, bytes]:
    """What was compiled, by file name."""
    more = {artifact.file: artifact.data for artifact in compiled.more}
    return {target.file: compiled.artifact, **more, **compiled.extra}


def write_kit(path: Path, files: dict[str, bytes], force: bool = False) -> None:
    """Writes a build kit's files, which may lie in folders of their own, beside its place and renames it; .sh can run.
    force: replaces one that is there."""
    check_free(path, force, kit=True)
    try:
        with _beside(path) as folder:
            for name, data in files.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(data)
                (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
            _swap(folder, path)
    except OSError as error:
        raise QuantizeError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from error


def write_files(path: Path, manifest: dict[str, Any], files: dict[str, bytes], force: bool = False) -> None:
    """Writes a package of a manifest and the files that it tells of, whose digests go into it."""
    check_free(path, force)
    manifest = {**manifest, "files": _digests(files)}
    text = _json(manifest)
    digest = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n".encode()
    files = {**files, "manifest.json": text, "manifest.sha256": digest}
    try:
        with _beside(path) as folder:
            for name, data in files.items():
                with (folder / name).open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            _swap(folder, path)
    except OSError as error:
        raise QuantizeError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from error


def for_chip(manifest: dict[str, Any], target: Target, compiled: Compiled) -> dict[str, Any]:
    """The manifest of a package with the ONNX graph, as that of what a chip's compiler made of it."""
    names = {output.source: output.name for output in compiled.outputs}
    axes = {output["name"]: output["channel_axis"] for output in manifest["outputs"]}
    parts = [{**part, "tensor": names[part["tensor"]]} for part in manifest["head"]["outputs"]]
    outputs = [
        {
            "name": output.name,
            "dtype": output.dtype,
            "shape": list(output.shape),
            "channel_axis": axes[output.source],
            "scale": output.scale,
            "zero_point": output.zero_point,
        }
        for output in compiled.outputs
    ]
    made_by = f"{manifest['target']['compiler']}, {compiled.compiler}"
    plain = manifest["precision"] == "float32"
    return {
        **manifest,
        "precision": FLOATS[target.float_type] if plain else manifest["precision"],
        "head": {**manifest["head"], "outputs": parts},
        "outputs": outputs,
        "target": {**_target(target, compiled.sdk_version), "compiler": made_by},
        "artifacts": [
            {"file": target.file, "batch": compiled.batch},
            *({"file": artifact.file, "batch": artifact.batch} for artifact in compiled.more),
        ],
        "backend_options": {**manifest["backend_options"], **compiled.options},
        "quantization": {**manifest["quantization"], **compiled.summary},
    }


def _target(target: Target, sdk_version: str | None = None) -> dict[str, str]:
    version = sdk_version or target.sdk_version
    return {"chip": target.chip, "backend": target.backend, "sdk": target.sdk, "sdk_version": version}


def _digests(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    return {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in sorted(files.items())
    }


def build_manifest(content: PackageContent) -> dict[str, Any]:
    """All but the digests of the files."""
    head, target, given = content.head, content.target, content.input
    return {
        "format": FORMAT,
        "name": content.name,
        "task": "detect",
        "precision": content.precision,
        "classes": list(content.classes),
        "input": {
            "name": given.name,
            "width": given.width,
            "height": given.height,
            "color": given.color,
            "layout": "NHWC",
            "dtype": "uint8",
            "letterbox": {"pad": given.pad, "align": given.align, "upscale": given.upscale},
        },
        "head": {
            "box": head.box,
            "score": head.score,
            "reg_max": head.reg_max,
            "objectness": head.objectness,
            "nms": head.nms,
            "box_voting": head.box_voting,
            "box_scale": list(head.box_scale),
            "strides": list(head.strides),
            "anchors": None if head.anchors is None else [[list(anchor) for anchor in level] for level in head.anchors],
            "outputs": [{"tensor": output.name, "role": output.role, "level": output.level} for output in head.outputs],
        },
        "outputs": [
            {
                "name": output.name,
                "dtype": "float32",
                "shape": list(output.shape),
                "channel_axis": output.channel_axis,
                "scale": None,
                "zero_point": None,
            }
            for output in head.outputs
        ],
        "target": {**_target(target), "compiler": content.compiler},
        "artifacts": [{"file": target.file, "batch": 1}],
        "backend_options": content.backend_options,
        "defaults": DEFAULTS,
        "quantization": content.summary,
        "accuracy": content.accuracy,
        "source": content.source,
    }


def labels_text(classes: tuple[str, ...]) -> bytes:
    for name in classes:
        if not name.strip() or any(ord(letter) < 0x20 for letter in name):
            raise QuantizeError(f"class name {name!r} is empty or holds control characters; rename it")
    return "".join(f"{name}\n" for name in classes).encode()


def _json(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new folder in the package's parent, removed at the end if it is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, path: Path) -> None:
    """Puts `folder` in the place of `path`. An old package comes back if that fails."""
    if not path.exists():
        folder.rename(path)
        return
    old = folder.with_name(folder.name + ".old")
    path.rename(old)
    try:
        folder.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
