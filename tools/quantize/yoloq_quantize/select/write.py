# SPDX-License-Identifier: Apache-2.0
"""Writes the chosen pictures: a folder of copies or hard links, or a list of paths. All of it, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from yoloq_quantize.dataset import IMAGE_SUFFIXES, label_path
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.report import write_text


def check_out(out: Path, force: bool) -> None:
    """Refuses a place that cannot be written, before any picture is read."""
    if is_list(out):
        if out.is_dir():
            raise QuantizeError(f"{out}: is a folder; name a .txt file, or a folder without that suffix")
    elif out.exists() and not out.is_dir():
        raise QuantizeError(f"{out}: exists and is no folder; choose another --out")
    elif out.is_dir() and any(out.iterdir()):
        if not force:
            raise QuantizeError(f"{out}: is not empty; choose another --out, or replace it with --force")
        strange = next((p for p in sorted(out.rglob("*")) if p.is_file() and not _is_ours(p)), None)
        if strange is not None:
            raise QuantizeError(f"{out}: holds {strange.name}, no picture or label; --force replaces such folders only")
    home = next(parent for parent in out.absolute().parents if parent.exists())
    if not os.access(home, os.W_OK):
        raise QuantizeError(f"{home}: cannot be written to; choose another --out")


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or (path.suffix == ".txt" and not path.name.startswith("."))


def is_list(out: Path) -> bool:
    return out.suffix.lower() == ".txt"


def write_list(out: Path, files: Sequence[Path]) -> None:
    """One path a line: relative to the list where the picture lies below it, else absolute."""
    home = out.absolute().parent.resolve()
    lines = []
    for file in files:
        path = file.resolve()
        text = path.relative_to(home).as_posix() if path.is_relative_to(home) else path.as_posix()
        try:
            text.encode()
        except UnicodeEncodeError:
            raise QuantizeError(f"{text!r}: a name that is not UTF-8 fits no list; use --out FOLDER") from None
        if text != text.strip() or len(text.splitlines()) != 1:
            raise QuantizeError(f"{text!r}: a name with a line break or outer blanks fits no list; use --out FOLDER")
        lines.append(text)
    write_text(out, "".join(f"{line}\n" for line in lines))


def write_folder(out: Path, files: Sequence[Path], root: Path, link: bool) -> bool:
    """Copies the pictures, or links them, under their paths relative to `root`, and their YOLO labels beside them.

    Returns False if there were labels that could not go along: below a folder called `images`, labels are looked for
    in one called `labels`, which lies outside `out`.
    """
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    labels_fit = True
    try:
        beside.chmod(0o755)
        for file in files:
            place = file.relative_to(root)
            _put(file, beside / place, link)
            label = label_path(file)
            if not label.is_file():
                continue
            if label_path(out.absolute() / place).parent == (out.absolute() / place).parent:
                _put(label, (beside / place).with_suffix(".txt"), link)
            else:
                labels_fit = False
        _swap(beside, out)
    except OSError as error:
        raise QuantizeError(f"{out}: cannot be written ({error.strerror or error}); choose another --out") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return labels_fit


def _put(source: Path, place: Path, link: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if link:
        os.link(source, place)
    else:
        shutil.copyfile(source, place)


def _swap(beside: Path, out: Path) -> None:
    old = beside.with_name(beside.name + ".old")
    if out.exists():
        out.rename(old)
    try:
        beside.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
