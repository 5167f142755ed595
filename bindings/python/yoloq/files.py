# SPDX-License-Identifier: Apache-2.0
"""Pictures and results on disk. What is written appears whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from yoloq.errors import InvalidArgument, NotFound

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_SAVED_AS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}
_MAX_SIDE = 16384


def read_picture(path: str | os.PathLike[str]) -> PillowImage.Image:
    """Reads a picture file as RGB, upright (EXIF orientation applied).

    16-bit gray is scaled from its full range 0-65535 to 0-255; palettes are looked up; alpha is dropped; of several
    frames the first is taken. Float and 32-bit pictures have no known range and are refused.
    """
    try:
        with PillowImage.open(path) as picture:
            if max(picture.size) > _MAX_SIDE:
                raise InvalidArgument(f"{path} is {picture.width}x{picture.height}: at most {_MAX_SIDE} a side")
            upright = ImageOps.exif_transpose(picture)
    except FileNotFoundError:
        raise NotFound(f"no such picture: {path}") from None
    except PillowImage.DecompressionBombError:
        raise InvalidArgument(f"{path} is too large: at most {_MAX_SIDE} pixels a side") from None
    except IsADirectoryError:
        raise InvalidArgument(f"{path} is a folder, not a picture") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"cannot read the picture {path}: {error}") from None
    return _to_rgb(upright, path)


def _to_rgb(picture: PillowImage.Image, path: str | os.PathLike[str]) -> PillowImage.Image:
    if picture.mode.startswith("I"):
        deep = np.asarray(picture)
        if deep.min() < 0 or deep.max() > 65535:
            raise InvalidArgument(f"{path} has 32-bit pixels beyond 0-65535: convert it to 8 or 16 bits")
        gray = ((deep.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        return PillowImage.fromarray(gray).convert("RGB")
    if picture.mode == "F":
        raise InvalidArgument(f"{path} has float pixels of unknown range: convert it to 8 or 16 bits")
    return picture.convert("RGB")


def find_pictures(arguments: list[str]) -> list[Path]:
    """The picture files that the arguments name; a folder stands for the pictures in it, by name."""
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise NotFound(f"no pictures in the folder {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise NotFound(f"no such picture: {path}")
    return found


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` if the block succeeds, removed if not."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str, data: Any, out: Callable[[str], Any]) -> None:
    """Writes JSON to a file, or with the path "-" by `out`."""
    content = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    if path == "-":
        out(content + "\n")
        return
    with replacing(path) as beside:
        beside.write_text(content + "\n", encoding="utf-8")


def save_picture(picture: PillowImage.Image, path: Path) -> None:
    """Writes a picture in the format that the path's suffix names."""
    kind = _SAVED_AS[path.suffix.lower()]
    options = {"quality": 92} if kind in ("JPEG", "WEBP") else {}
    with replacing(path) as beside:
        picture.save(beside, kind, **options)


def annotated_name(path: Path) -> str:
    """The file name of a picture's drawn copy: its own, or PNG if that format is not for writing."""
    return path.name if path.suffix.lower() in _SAVED_AS else f"{path.name}.png"
