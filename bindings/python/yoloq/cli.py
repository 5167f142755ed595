# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq`. Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted, 143 terminated; errors are one
line on stderr."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from yoloq.serve.cli import add_serve

_TOOLCHAIN = {
    "quantize": "turn a trained model into an INT8 package for a chip",
    "evaluate": "measure the accuracy of a package or an ONNX model",
    "sensitivity": "measure which layers suffer from INT8",
    "select": "choose calibration pictures from a big folder",
    "report": "quantise by every recipe and by others, and show it side by side",
    "pipeline": "run model to package to machine from one YAML file",
}
_EXTRAS = {"torch": "train", "torchvision": "train"}  # module -> the extra that brings it; else quantize


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line too."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see {self.prog} --help)")
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        with _terminable():
            code = args.run(args)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help, --version, bad usage
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: so be it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("YOLOQ_DEBUG"):
            raise
        _complain(_reason(error, arguments))
        return 1


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does: what is half done is removed, child processes end. Exit code 143."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:  # a command that has a handler of its own may want to keep it
            signal.signal(signal.SIGTERM, before)


def _complain(message: str) -> None:
    print(f"yoloq: error: {' '.join(message.split())}", file=sys.stderr)


def _reason(error: Exception, arguments: list[str]) -> str:
    """The one line for an error. One that nobody foresaw names its type and how to see more."""
    if isinstance(error, ModuleNotFoundError) and error.name and arguments and arguments[0] not in _OWN:
        extra = _EXTRAS.get(error.name.split(".")[0], "quantize")
        return f"the command {arguments[0]} needs {error.name}: install yoloq[{extra}]"
    if isinstance(error, ImportError):  # the native library
        return str(error)
    if type(error).__module__.startswith("yoloq"):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (unexpected; set YOLOQ_DEBUG=1 to see where)"


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="yoloq", description="Quantised YOLO detectors: package, run, measure.")
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in _OWN.values():
        add(commands)
    named = next((a for a in arguments if not a.startswith("-")), None)
    if named not in _OWN:  # the toolchain takes seconds to import: only if it is, or may be, asked for
        _add_toolchain(commands, wanted=named in _TOOLCHAIN)
    return parser


class _Version(argparse.Action):
    """Asks the native library only when the version is wanted."""

    def __init__(self, option_strings: list[str], dest: str):
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        import yoloq

        print(f"yoloq {yoloq.version()}")
        parser.exit()


def _add_toolchain(commands: argparse._SubParsersAction, wanted: bool) -> None:
    try:
        from yoloq_quantize.cli import register
    except ModuleNotFoundError:
        if wanted:
            raise
        for name, text in _TOOLCHAIN.items():
            commands.add_parser(name, help=f"{text} (install yoloq[quantize])")
        return
    register(commands)


def _add_detect(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("detect", help="find objects in pictures")
    parser.add_argument("package", metavar="P.yoloq", help="the model package")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, or a folder of pictures")
    parser.add_argument("--out", metavar="DIR", help="write the pictures with the detections drawn into this folder")
    parser.add_argument("--json", metavar="F", help='write the detections as JSON; "-": to standard output')
    parser.add_argument("--score", type=float, metavar="T", help="drop detections below this score, in (0, 1]")
    parser.add_argument("--iou", type=float, metavar="T", help="NMS suppresses above this IoU, in (0, 1]")
    _add_device(parser)
    parser.set_defaults(run=_lazy("detect"))


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("info", help="tell what a package is, or which backends can run here")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("package", nargs="?", metavar="P.yoloq", help="the model package")
    what.add_argument("--backends", action="store_true", help="list the backends")
    parser.add_argument("--json", metavar="F", help='write it as JSON; "-": to standard output')
    _add_device(parser)
    parser.set_defaults(run=_lazy("info"))


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("doctor", help="tell what this machine lacks for a backend, and what to do")
    parser.add_argument("name", nargs="?", metavar="BACKEND", help="one backend (default: all, and the toolchain)")
    parser.add_argument(
        "--package", metavar="P.yoloq", help="try this package too: does it load, run, and repeat itself"
    )
    parser.add_argument("--json", metavar="F", help='write it as JSON; "-": to standard output')
    _add_device(parser)
    parser.set_defaults(run=_lazy("doctor", "yoloq.doctor"))


def _add_bench(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("bench", help="measure latency and throughput")
    parser.add_argument("package", metavar="P.yoloq", help="the model package")
    parser.add_argument("--json", metavar="F", help='write the figures as JSON; "-": to standard output')
    parser.add_argument("--seconds", type=_positive(float), default=5.0, metavar="S", help="how long (default: 5)")
    parser.add_argument("--streams", type=_positive(int), metavar="N", help="calls at once (default: the package's)")
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--image", metavar="F", help="a picture to run on (default: a synthetic one)")
    picture.add_argument("--size", type=_size, default=(1920, 1080), metavar="WxH", help="of the synthetic picture")
    _add_device(parser)
    parser.set_defaults(run=_lazy("bench"))


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", metavar="B", help="the backend (default: the package's)")
    parser.add_argument("--device", metavar="N", help="index of the device (default: 0)")


_OWN: dict[str, Callable[[argparse._SubParsersAction], None]] = {
    "detect": _add_detect,
    "info": _add_info,
    "doctor": _add_doctor,
    "bench": _add_bench,
    "serve": add_serve,
}


def _lazy(command: str, module: str = "yoloq.commands") -> Callable[[argparse.Namespace], int]:
    """The command's function, imported when it runs: a missing native library is then an error line as any other."""

    def run(args: argparse.Namespace) -> int:
        return getattr(importlib.import_module(module), command)(args)

    return run


def _positive(kind: type) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < 1e6:
            raise ValueError
        return value

    parse.__name__ = f"positive {'whole ' if kind is int else ''}number"  # what argparse calls it in its message
    return parse


def _size(text: str) -> tuple[int, int]:
    width, separator, height = text.lower().partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (width, height)]
    if not separator or not all(1 <= side <= 16384 for side in sides):
        raise argparse.ArgumentTypeError(f"{text} is no size: write it as 1920x1080, at most 16384 a side")
    return sides[0], sides[1]
