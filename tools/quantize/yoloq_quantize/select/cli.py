# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq select`. Heavy imports wait until it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoloq_quantize.arguments import bar

if TYPE_CHECKING:
    from yoloq_quantize.select.choose import Selection
    from yoloq_quantize.select.features import Looks


def register(subparsers: Any) -> None:
    """Adds `select` to an argparse subparsers object; `args.run(args)` returns the exit code."""
    parser = subparsers.add_parser(
        "select",
        help="choose calibration pictures from a big folder",
        description="Leaves near-duplicates out, takes the extremes (dark, bright, glare, blurred, low contrast, "
        "crowded, empty), and spreads the rest over what the folder holds. Warnings go to standard error.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="pictures, in it and below it; or a .txt list")
    parser.add_argument("--count", type=_count, default=128, metavar="N", help="how many (default: 128)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR|LIST.txt", help="a folder to fill, or a list of paths to write"
    )
    parser.add_argument("--link", action="store_true", help="fill the folder with hard links instead of copies")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="pictures that the choice should be like")
    parser.add_argument("--sheet", type=Path, metavar="F.png", help="a contact sheet with the reasons")
    parser.add_argument("--json", metavar="F", help='the reasons and figures as JSON; "-": to standard output')
    parser.add_argument("--strict", action="store_true", help="a warning is a failure: nothing is written")
    parser.add_argument("--force", action="store_true", help="replace a folder of pictures that exists")
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pictures; write 128")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    from yoloq_quantize.dataset import list_images
    from yoloq_quantize.errors import QuantizeError
    from yoloq_quantize.select.check import few, unlike, warnings_about
    from yoloq_quantize.select.choose import choose
    from yoloq_quantize.select.features import look_at
    from yoloq_quantize.select.write import check_out, is_list

    if is_list(args.out) and args.link:
        raise QuantizeError("--link fills a folder; leave it away, or give a folder with --out")
    check_out(args.out, args.force)
    looks = look_at(list_images(args.folder), bar)
    if len(looks) == 0:
        raise QuantizeError(
            f"{args.folder}: none of its {len(looks.broken)} pictures can be read; {looks.broken[0][1]}"
        )
    selection = choose(looks, args.count)
    chosen = looks.take([choice.index for choice in selection.chosen])
    warnings = [reason for _, reason in looks.broken]
    if looks.broken:
        warnings.append(
            f"{len(looks.broken)} of {len(looks) + len(looks.broken)} files cannot be read and are left out"
        )
    if len(chosen) < args.count:
        warnings.append(f"only {len(chosen)} different pictures of {len(looks)}; {args.count} were asked for")
    warnings += few(len(chosen)) + warnings_about(chosen)
    if args.compare is not None:
        warnings += unlike(chosen, look_at(list_images(args.compare), bar))
    for warning in warnings:
        print(f"yoloq: warning: {warning}", file=sys.stderr)
    if args.strict and warnings:
        raise QuantizeError(f"{len(warnings)} warnings, and --strict: nothing was written")
    _write(args, looks, selection, warnings)
    return 0


def _write(args: argparse.Namespace, looks: Looks, selection: Selection, warnings: list[str]) -> None:
    from yoloq_quantize.report import write_json
    from yoloq_quantize.select.sheet import write_sheet
    from yoloq_quantize.select.write import is_list, write_folder, write_list

    files = [choice.file for choice in selection.chosen]
    root = args.folder if args.folder.is_dir() else _common(files)
    if args.sheet is not None:
        shown = [(choice.file, _name(choice.file, root), choice.reasons) for choice in selection.chosen]
        write_sheet(args.sheet, shown, f"{len(files)} of {len(looks)} pictures of {args.folder}")
    if is_list(args.out):
        write_list(args.out, files)
    elif not write_folder(args.out, files, root, args.link):
        print(
            f"yoloq: warning: labels stayed behind: {args.out} lies below a folder called images; use --out LIST.txt",
            file=sys.stderr,
        )
    document = _document(args, looks, selection, warnings, root)
    if args.json == "-":
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    if args.json:
        write_json(Path(args.json), document)
    print(
        f"{args.out}: {len(files)} of {len(looks)} pictures, {len(selection.duplicates)} near-duplicates and "
        f"{len(looks.broken)} unreadable files left out"
    )


def _document(
    args: argparse.Namespace, looks: Looks, selection: Selection, warnings: list[str], root: Path
) -> dict[str, Any]:
    from yoloq_quantize.select.features import MEASURES

    def picture(index: int) -> dict[str, Any]:
        figures = {name: round(float(value), 6) for name, value in zip(MEASURES, looks.measures[index], strict=True)}
        objects = int(looks.objects[index])
        return {**figures, "objects": None if objects < 0 else objects}

    names = [_name(file, root) for file in looks.files]
    return {
        "folder": str(args.folder),
        "out": str(args.out),
        "pictures": len(looks),
        "chosen": [
            {"file": names[choice.index], "reasons": list(choice.reasons), **picture(choice.index)}
            for choice in selection.chosen
        ],
        "duplicates": [{"file": names[twin], "of": names[kept]} for twin, kept in selection.duplicates],
        "unreadable": [{"file": _name(file, root), "reason": _text(reason)} for file, reason in looks.broken],
        "warnings": [_text(warning) for warning in warnings],
    }


def _common(files: list[Path]) -> Path:
    import os

    return Path(os.path.commonpath([file.absolute().parent for file in files]))


def _name(file: Path, root: Path) -> str:
    """Relative, with forward slashes."""
    return _text((file.relative_to(root) if file.is_relative_to(root) else file).as_posix())


def _text(name: str) -> str:
    """Valid UTF-8: file names on Linux need not be."""
    return name.encode("utf-8", "replace").decode()
