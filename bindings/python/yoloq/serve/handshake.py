# SPDX-License-Identifier: Apache-2.0
"""The handshake of docs/modbus.md as a machine without threads, sockets or clock. Its twin is Handshake of
YoloQ.Modbus; a test runs both on the same random events and compares every register."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from yoloq.serve import map as registers
from yoloq.serve.bank import Bank
from yoloq.serve.inspection import NO_TRIGGER, Inspection, Judgement, LinkError, LinkState
from yoloq.serve.map import AT, CONTROLS, STATUS, put_uint32


@dataclass(frozen=True)
class Rules:
    """What a handshake goes by; a timeout of 0 ms never strikes."""

    order: str = "ABCD"
    require_acknowledge: bool = True
    acknowledge_ms: int = 5000
    inspection_ms: int = 10000


class Handshake:
    """It is told what happened and when, in whole ms, and writes the registers; the caller holds the bank's lock."""

    def __init__(self, bank: Bank, rules: Rules):
        self._bank = bank
        self._rules = rules
        self._words = bank.words[: registers.CONTROL]  # what the link writes; copied into the bank after each event
        self._control = 0
        self._host = LinkState.IDLE
        self._alarm_error = 0
        self._error = 0
        self._busy = self._awaiting = self._valid = self._missed = False
        self._trigger = self._busy_since = self._valid_since = 0
        self._sequence = self._part = 0
        self._totals = dict.fromkeys(("inspected", "ok_total", "ng_total", "error_total"), 0)
        self.on_trigger: Callable[[int, int], None] = lambda trigger, part: None
        self.on_reset: Callable[[], None] = lambda: None
        self._show()

    def control_written(self, now: int) -> None:
        """The PLC has written `control`: bits act when they rise."""
        value = self._bank.words[registers.CONTROL]
        rising = value & ~self._control
        self._control = value
        if rising & CONTROLS["acknowledge"]:
            self._valid = self._awaiting = False
        if rising & CONTROLS["reset_counters"]:
            self._totals = dict.fromkeys(self._totals, 0)
            self._words[AT["missed_triggers"]] = self._words[AT["unread_results"]] = 0
        if rising & CONTROLS["reset_error"]:
            self._error = 0
            self._missed = False
            self.on_reset()
        if rising & CONTROLS["trigger"]:
            self._take_trigger(now)
        self._show()

    def control_released(self) -> None:
        """The connection that wrote `control` last has gone: its bits fall."""
        self._control = self._bank.words[registers.CONTROL] = 0

    def set_state(self, state: LinkState, code: int = 0) -> None:
        """The host's state has changed; the code is the alarm's."""
        self._enter(state, code)
        self._show()

    def publish(self, result: Inspection, now: int) -> bool:
        """Shows a result. False: dropped; it answers a trigger that was given up, or none while one is under way."""
        if result.trigger == NO_TRIGGER:
            if self._busy or self._awaiting:
                return False
        elif result.trigger and not (self._busy and result.trigger == self._trigger):
            self._count("unread_results")
            self._show()
            return False
        registers.encode(result, self._words, self._rules.order)
        if result.state is not None:
            self._enter(result.state, result.error)
        measured = now - self._busy_since if self._busy else 0
        latency = measured if result.latency_ms is None else result.latency_ms
        self._words[AT["latency"]] = registers.fixed(latency, 10, "uint16")
        self._finish(result.sequence or self._sequence + 1, result.error, result.ok, now)
        self._show()
        return True

    def tick(self, now: int) -> None:
        """Time has passed: gives up what took too long."""
        limit = self._rules.inspection_ms
        if self._busy and limit and now - self._busy_since >= limit:
            nothing = Inspection(counts=[0] * self._words[AT["class_count"]])
            registers.encode(nothing, self._words, self._rules.order)
            self._words[AT["latency"]] = registers.fixed(now - self._busy_since, 10, "uint16")
            self._finish(self._sequence + 1, LinkError.NO_RESULT, False, now)
            self._show()
        limit = self._rules.acknowledge_ms
        if self._awaiting and limit and now - self._valid_since >= limit:
            self._awaiting = self._valid = False
            self._error = LinkError.NOT_ACKNOWLEDGED
            self._count("unread_results")
            self._show()

    def beat(self) -> None:
        """The heartbeat's next beat."""
        self._words[AT["heartbeat"]] = (self._words[AT["heartbeat"]] + 1) & 0xFFFF
        self._show()

    def _enter(self, state: LinkState, code: int) -> None:
        self._host = state
        self._alarm_error = code if state == LinkState.ALARM else 0

    def _takes_triggers(self) -> bool:
        return not self._busy and not self._awaiting and self._host in (LinkState.READY, LinkState.RUNNING)

    def _take_trigger(self, now: int) -> None:
        if not self._takes_triggers():
            self._missed = True
            self._count("missed_triggers")
            return
        self._busy = True
        self._valid = self._missed = False
        self._error = 0
        self._words[AT["judgement"]] = Judgement.NONE
        self._busy_since = now
        self._part = struct.unpack(">I", registers.get32(self._bank.words, AT["part_in"], self._rules.order))[0]
        self._trigger += 1
        self.on_trigger(self._trigger, self._part)

    def _finish(self, number: int, code: int, ok: bool, now: int) -> None:
        if self._awaiting:  # the host published without a trigger before the last answer was acknowledged
            self._count("unread_results")
        judgement = Judgement.ERROR if code else Judgement.OK if ok else Judgement.NOT_GOOD
        self._totals["inspected"] += 1
        self._totals[{1: "ok_total", 2: "ng_total", 3: "error_total"}[judgement]] += 1
        self._words[AT["judgement"]] = judgement
        self._sequence = number & 0xFFFFFFFF
        put_uint32(self._words, "part", self._part if self._busy else 0, self._rules.order)
        self._awaiting = self._busy and self._rules.require_acknowledge
        self._error = code
        self._busy = False
        self._valid = True
        self._valid_since = now

    def _count(self, name: str) -> None:
        self._words[AT[name]] = min(self._words[AT[name]] + 1, 0xFFFF)

    def _show(self) -> None:
        """Everything into the bank, at once."""
        words, waiting = self._words, self._busy or self._awaiting
        alarm = self._host == LinkState.ALARM
        error = self._alarm_error if alarm else self._error
        bits = {
            "ready": self._takes_triggers(),
            "busy": self._busy,
            "valid": self._valid,
            "ok": words[AT["judgement"]] == Judgement.OK,
            "ng": words[AT["judgement"]] >= Judgement.NOT_GOOD,
            "error": error != 0,
            "alarm": alarm,
            "missed": self._missed,
            "heartbeat_bit": bool(words[AT["heartbeat"]] & 1),
        }
        words[AT["state"]] = LinkState.RUNNING if self._host == LinkState.READY and waiting else self._host
        words[AT["status"]] = sum(STATUS[name] for name, on in bits.items() if on)
        words[AT["error"]] = min(max(error, 0), 0xFFFF)
        numbers = {"sequence": self._sequence, "sequence_copy": self._sequence, **self._totals}
        for name, value in numbers.items():
            put_uint32(words, name, value, self._rules.order)
        self._bank.words[: registers.CONTROL] = words
