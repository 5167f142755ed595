# SPDX-License-Identifier: Apache-2.0
"""What a step depends on, as digests: files by content, options by value, tools by version and source."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import onnx

from yoloq_quantize import __version__
from yoloq_quantize.dataset import label_path, list_images, load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.cache import file_digest

_TOOLS = (
    "yoloq",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pycocotools",
    "torch",
)


@cache
def tools() -> dict[str, str]:
    """Versions of what computes, and a digest of the toolchain's own files: a patched one is another tool."""
    found = {"yoloq_quantize": f"{__version__} {_source_digest()}"}
    for name in _TOOLS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _source_digest() -> str:
    root = Path(str(resources.files("yoloq_quantize")))
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".toml", ".html")):
        total.update(f"{path.relative_to(root).as_posix()}\0{file_digest(path)}\0".encode())
    return total.hexdigest()[:16]


@cache
def model_digest(path: Path) -> str:
    """Of the ONNX file and of the files that hold its weights."""
    digest = file_digest(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf's own errors; the step that loads it says what is wrong
        return digest
    outside = {entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"}
    parts = [digest] + [file_digest(path.parent / name) for name in sorted(outside) if (path.parent / name).is_file()]
    return digest if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def option_digests(options: dict[str, Any]) -> dict[str, Any]:
    """The options, paths replaced by what lies there."""
    return {key: _content(value) if isinstance(value, Path) else value for key, value in options.items()}


def _content(path: Path) -> Any:
    if path.is_dir() or path.suffix.lower() == ".txt":
        return pictures_digest(path)
    return file_digest(path)


def pictures_digest(folder: Path) -> str:
    """Of the pictures of a folder or a list, in their order, and of the labels that lie beside them."""
    return _together(folder, list_images(folder))


@cache
def data_digest(data: Path, split: str, images: Path | None) -> str:
    """Of a data set as `evaluate` reads it: its description, pictures and labels."""
    if data.is_dir():
        return pictures_digest(data)
    samples = load_dataset(data, split, images).samples
    return hashlib.sha256(
        f"{file_digest(data)} {_together(data.parent, [s.path for s in samples])}".encode()
    ).hexdigest()


def _together(root: Path, pictures: list[Path]) -> str:
    if not pictures:
        raise QuantizeError(f"{root}: no pictures in it; add some")
    total = hashlib.sha256()
    for picture in pictures:
        name = picture.relative_to(root) if picture.is_relative_to(root) else picture
        label = label_path(picture)
        labelled = file_digest(label) if label.is_file() else "-"
        shown = name.as_posix().encode("utf-8", "surrogateescape")
        total.update(shown + f"\0{file_digest(picture)}\0{labelled}\0".encode())
    return total.hexdigest()
