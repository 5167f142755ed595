# SPDX-License-Identifier: Apache-2.0
"""The loop of `yoloq serve`: a trigger or the clock, a picture, the detector, the judgement, the PLC."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from yoloq.detector import Detector
from yoloq.errors import Error, InvalidArgument
from yoloq.result import Detection, Result
from yoloq.serve.inspection import NO_TRIGGER, Best, Inspection, LinkError
from yoloq.serve.journal import Journal
from yoloq.serve.keeper import NgKeeper
from yoloq.serve.link import PlcLink
from yoloq.serve.rules import NgRule, broken
from yoloq.serve.sources import Picture, Source

_LOOK_UP_S = 0.2  # how late a stop may be noticed


@dataclass(frozen=True)
class Trigger:
    """What asked for an inspection: the PLC, by a number from 1, or the clock, NO_TRIGGER."""

    number: int
    part: int
    came: float  # time.monotonic()

    @property
    def by_plc(self) -> bool:
        return self.number != NO_TRIGGER


class Station:
    """run() until `stopping` is set or the source has ended."""

    def __init__(
        self,
        detector: Detector,
        source: Source,
        link: PlcLink,
        rules: list[NgRule],
        journal: Journal,
        keeper: NgKeeper | None,
        picture_timeout_s: float,
    ):
        self._detector = detector
        self._source = source
        self._link = link
        self._rules = rules
        self._journal = journal
        self._keeper = keeper
        self._picture_timeout_s = picture_timeout_s
        self._sequence = 0
        self.stopping = False
        """A plain flag: a signal handler that sets an Event waits for ever if the signal came inside Event.wait()."""

    def run(self, rate: float | None) -> None:
        """rate None: inspects when the PLC triggers; else by itself, at most so many pictures a second. The link is
        READY, or RUNNING."""
        due = time.monotonic()
        while not self.stopping and not self._source.ended:
            if rate is None:
                if asked := self._link.next_trigger(_LOOK_UP_S):
                    self._answer(Trigger(*asked, time.monotonic()))
            elif (early := due - time.monotonic()) > 0:
                time.sleep(min(early, _LOOK_UP_S))
            else:
                due = max(due + 1 / rate, time.monotonic())
                self._look_once()
        if self._source.ended:
            self._journal("ended", reason="the source has no more pictures")

    def _look_once(self) -> None:
        if trigger := self._link.next_trigger(0.001):  # a PLC that asks although the clock does
            self._answer(Trigger(*trigger, time.monotonic()))
            return
        asked = Trigger(NO_TRIGGER, 0, time.monotonic())
        try:
            picture = self._source.take(_LOOK_UP_S, newest=False)
        except InvalidArgument as error:
            self._fail(asked, LinkError.NO_PICTURE, str(error))
            return
        if picture:
            self._inspect(asked, picture)

    def _answer(self, trigger: Trigger) -> None:
        """A trigger gets a result, whatever happens."""
        try:
            picture = self._wait_for_picture()
        except InvalidArgument as error:
            self._fail(trigger, LinkError.NO_PICTURE, str(error))
            return
        if picture is None:
            self._fail(trigger, LinkError.NO_PICTURE, f"no picture within {self._picture_timeout_s:g} s of the trigger")
        else:
            self._inspect(trigger, picture)

    def _wait_for_picture(self) -> Picture | None:
        end = time.monotonic() + self._picture_timeout_s
        while not self.stopping and not self._source.ended and (left := end - time.monotonic()) > 0:
            if picture := self._source.take(min(left, _LOOK_UP_S), newest=True):
                return picture
        return None

    def _inspect(self, trigger: Trigger, picture: Picture) -> None:
        start = time.monotonic()
        try:
            result = self._detector.detect(picture.pixels, format=picture.format)
        except Error as error:
            self._fail(trigger, LinkError.DETECTOR, str(error))
            return
        reasons = broken(self._rules, result.detections)
        self._sequence += 1
        latency = 1e3 * (time.monotonic() - (trigger.came if trigger.by_plc else start))
        shown = self._link.publish(self._inspection(trigger, result, not reasons, latency))
        about = self._about(trigger, picture, result, reasons, latency)
        self._journal("result", shown=None if shown else False, **about)
        if reasons and self._keeper:
            self._keeper.keep(picture, about | {"detections": [_entry(found) for found in result]})

    def _inspection(self, trigger: Trigger, result: Result, ok: bool, latency: float) -> Inspection:
        counts = [0] * len(self._detector.class_names)
        for class_id in result.class_ids:
            counts[class_id] += 1
        best = max(result, key=lambda found: found.score, default=None)
        return Inspection(
            ok=ok,
            counts=counts,
            best=_best(best) if best else None,
            trigger=trigger.number,
            sequence=self._sequence,
            latency_ms=latency,
        )

    def _about(
        self, trigger: Trigger, picture: Picture, result: Result, reasons: list[str], latency: float
    ) -> dict[str, Any]:
        return {
            "sequence": self._sequence,
            "judgement": "NG" if reasons else "OK",
            "reasons": reasons or None,
            "counts": dict(Counter(found.name for found in result)),
            "picture": picture.name,
            "trigger": trigger.number if trigger.by_plc else None,
            "part": trigger.part if trigger.by_plc else None,
            "latency_ms": round(latency, 2),
        }

    def _fail(self, trigger: Trigger, code: LinkError, reason: str) -> None:
        self._sequence += 1
        counts = [0] * len(self._detector.class_names)
        failed = Inspection(error=code, counts=counts, trigger=trigger.number, sequence=self._sequence)
        self._link.publish(failed)
        number, part = (trigger.number, trigger.part) if trigger.by_plc else (None, None)
        self._journal("error", sequence=self._sequence, code=int(code), reason=reason, trigger=number, part=part)


def _best(found: Detection) -> Best:
    centre = ((found.x1 + found.x2) / 2, (found.y1 + found.y2) / 2)
    size = (found.x2 - found.x1, found.y2 - found.y1)
    return Best(found.class_id, found.score, *centre, *size, math.degrees(found.angle))


def _entry(found: Detection) -> dict[str, Any]:
    box = [round(value, 2) for value in (found.x1, found.y1, found.x2, found.y2)]
    return {"class": found.name, "score": round(found.score, 4), "box": box, "angle": round(found.angle, 5)}
