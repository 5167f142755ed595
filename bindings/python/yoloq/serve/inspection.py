# SPDX-License-Identifier: Apache-2.0
"""What a link shows to the PLC."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class LinkState(IntEnum):
    """What the host is doing: register `state`."""

    IDLE = 0  # not started: triggers are refused
    READY = 1
    RUNNING = 2  # an inspection runs or its result waits, or the host inspects without triggers
    ALARM = 3  # triggers are refused


class Judgement(IntEnum):
    """Register `judgement`."""

    NONE = 0
    OK = 1
    NOT_GOOD = 2
    ERROR = 3  # register `error` says why; bit `ng` is set


class LinkError(IntEnum):
    """Register `error`; a host's own codes begin at 100."""

    NONE = 0
    NO_RESULT = 1  # the host gave no result within the inspection timeout
    NOT_ACKNOWLEDGED = 2
    NO_PICTURE = 10
    DETECTOR = 11


@dataclass(frozen=True)
class Best:
    """The detection with the highest score: centre and size in pixels, angle in degrees, clockwise."""

    class_id: int
    score: float
    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0


NO_TRIGGER = -1  # of a result that answers no trigger, whatever the PLC has asked for meanwhile


@dataclass(frozen=True)
class Inspection:
    """One result. `sequence` 0: the link counts. `trigger` 0: the pending one or none; or NO_TRIGGER.
    `latency_ms` None: measured from the trigger. `error` not 0: no judgement, whatever `ok` says. `state` None: no
    change."""

    ok: bool = False
    error: int = 0
    counts: list[int] = field(default_factory=list)
    best: Best | None = None
    trigger: int = 0
    sequence: int = 0
    latency_ms: float | None = None
    state: LinkState | None = None
