# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq serve`: its arguments, and the parts put together. Imports little until it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yoloq.serve.link import LinkOptions

_DESCRIPTION = """Inspects pictures when a PLC asks (or at a set rate) and shows it the results over Modbus TCP, as
server or as client. The registers and the handshake are in docs/modbus.md."""
_NG = """NG if this holds: CLASS (any is NG), CLASS>2, CLASS<1, CLASS!=4, with @SCORE count only scores from there on;
the class by name or number, * for all. May be given several times; default: any detection is NG"""


def add_serve(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("serve", help="inspect for a PLC over Modbus TCP", description=_DESCRIPTION)
    parser.add_argument("package", metavar="P.yoloq", help="the model package")
    parser.add_argument("--source", required=True, metavar="S", help="a folder, a camera's index, a video or a stream")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--modbus", metavar="[HOST:]PORT", type=_address, help="be the server; the PLC connects here")
    where.add_argument("--plc", metavar="HOST[:PORT]", type=_plc, help="be the client of the PLC's server (port 502)")
    _add_inspection(parser)
    _add_protocol(parser)
    parser.set_defaults(run=run)


def _add_inspection(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--rate",
        type=_number(0.01, 1000),
        metavar="HZ",
        help="inspect by itself, at most so often (default: on trigger)",
    )
    add("--ng", action="append", default=[], metavar="RULE", help=_NG)
    add(
        "--score", type=_number(0.001, 1), metavar="T", help="drop detections below this score (default: the package's)"
    )
    add("--save-ng", metavar="DIR", help="keep NG pictures here, each with a JSON file")
    add(
        "--save-ng-max-mb",
        type=_number(0, 1000000, int),
        default=1024,
        metavar="N",
        help="when DIR holds so much, the oldest NG pictures go; 0: no limit (default: 1024)",
    )
    add("--existing", action="store_true", help="folder: also the pictures that are there at the start")
    add("--picture-timeout", type=_number(0.01, 3600), default=3.0, metavar="S", help="wait for a picture (default: 3)")
    add("--timeout", type=_number(0.001, 3600), metavar="S", help="deadline of the detector (default: the package's)")
    add("--json", action="store_true", help="write each event as a line of JSON")
    add("--backend", metavar="B", help="the backend (default: the package's)")
    add("--device", metavar="N", help="index of the device (default: 0)")


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--unit", type=_number(0, 255, int), metavar="N", help="unit id (default: server all, client 1)")
    orders = ("ABCD", "CDAB", "BADC", "DCBA")
    add("--word-order", choices=orders, default="ABCD", help="of 32-bit values (default: ABCD, high word first)")
    add("--no-ack", action="store_true", help="take the next trigger without an acknowledgement")
    add("--ack-timeout", type=_number(0, 3600), default=5.0, metavar="S", help="0: wait for ever (default: 5)")
    add("--inspection-timeout", type=_number(0, 3600), default=10.0, metavar="S", help="0: never (default: 10)")
    at = "client: the PLC's register for"
    add("--results-at", type=_number(0, 65400, int), default=0, metavar="N", help=f"{at} the results (default: 0)")
    add("--control-at", type=_number(0, 65532, int), default=128, metavar="N", help=f"{at} control (default: 128)")


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C, SIGTERM or the end of the source."""
    import signal
    from pathlib import Path

    from PIL import Image as PillowImage

    from yoloq.detector import Detector
    from yoloq.serve.inspection import LinkState
    from yoloq.serve.journal import Journal
    from yoloq.serve.keeper import NgKeeper
    from yoloq.serve.link import PlcLink
    from yoloq.serve.rules import parse_rule
    from yoloq.serve.sources import open_source
    from yoloq.serve.station import Station

    options = _link_options(args)
    PillowImage.MAX_IMAGE_PIXELS = 16384 * 16384  # the library's own limit
    journal = Journal(args.json)
    deadline = round(1000 * args.timeout) if args.timeout else None
    about = {"backend": args.backend, "device": args.device, "score_threshold": args.score, "timeout_ms": deadline}
    with Detector(args.package, **about) as detector:
        rules = [parse_rule(text, detector.class_names) for text in args.ng or ["*"]]
        keeper = NgKeeper(Path(args.save_ng), journal, args.save_ng_max_mb << 20) if args.save_ng else None
        source = open_source(args.source, args.existing)
        link = PlcLink(args.plc or args.modbus, bool(args.plc), options)
        link.on_connection = lambda connected, reason: journal("plc", connected=connected, reason=reason)
        station = Station(detector, source, link, rules, journal, keeper, args.picture_timeout)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(station, "stopping", True))
        try:
            link.start()
            link.set_state(LinkState.READY if args.rate is None else LinkState.RUNNING)  # "started" promises that
            where = link.address or args.plc
            info = detector.info
            journal(
                "started", package=info.name, backend=info.backend, source=args.source, modbus=f"{where[0]}:{where[1]}"
            )
            station.run(args.rate)
        finally:
            link.stop()
            source.close()
            if keeper:
                keeper.close()
            journal("stopped")
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not break the end off
    return 0


def _link_options(args: argparse.Namespace) -> LinkOptions:
    from yoloq.errors import InvalidArgument
    from yoloq.serve.handshake import Rules
    from yoloq.serve.link import LinkOptions
    from yoloq.serve.map import AT, CONTROL_COUNT, MAX_CLASSES

    shown = AT["class_counts"] + MAX_CLASSES
    if args.plc and args.results_at - CONTROL_COUNT < args.control_at < args.results_at + shown:
        raise InvalidArgument(f"--control-at lies within the results, which take {shown} registers from --results-at")
    if 0 < args.inspection_timeout <= args.picture_timeout:  # else a given-up trigger takes the next one's picture
        raise InvalidArgument("--picture-timeout must be below --inspection-timeout")
    timeouts = (round(1000 * args.ack_timeout), round(1000 * args.inspection_timeout))
    return LinkOptions(
        rules=Rules(args.word_order, not args.no_ack, *timeouts),
        unit=args.unit,
        results=args.results_at,
        control=args.control_at,
    )


def _address(text: str) -> tuple[str, int]:
    """[HOST:]PORT; port 0 picks a free one."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no address: write it as 1502 or 192.168.0.10:502")
    return host.strip("[]") or "0.0.0.0", int(port)


def _plc(text: str) -> tuple[str, int]:
    """HOST[:PORT]"""
    host, _, port = text.partition(":") if text.count(":") < 2 else (text, "", "")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise argparse.ArgumentTypeError(f"{text} is no address: write it as 192.168.0.10 or 192.168.0.10:502")
    return host, int(port or 502)


def _number(low: float, high: float, kind: type = float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    parse.__name__ = "whole number" if kind is int else "number"  # what argparse calls it in its message
    return parse
