# SPDX-License-Identifier: Apache-2.0
"""The link as a Modbus client: brings the PLC's control registers into the bank, the bank's results into the PLC."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from yoloq.serve.bank import Bank
from yoloq.serve.map import AT, CONTROL, CONTROL_COUNT, HEAD_COUNT, MAX_CLASSES

_FIRST_BACK_OFF_S, _MAX_BACK_OFF_S = 0.1, 5.0


class PlcMirror:
    """exchange() is one round; after a failure the next one connects again, no sooner than the back-off allows, and
    writes everything. Used by one thread."""

    def __init__(self, bank: Bank, address: tuple[str, int], unit: int, results: int, control: int, timeout_s: float):
        self._bank = bank
        self._client = ModbusTcpClient(address[0], port=address[1], timeout=timeout_s, retries=0)
        self._name = f"{address[0]}:{address[1]}"
        self._unit = unit
        self._results = results
        self._control_at = control
        self._control: list[int] | None = None
        self._head: list[int] | None = None  # what the PLC is known to hold
        self._body: list[int] | None = None
        self._back_off = 0.0
        self._next_attempt = 0.0
        self.error: str | None = "not connected yet"
        """Why there is no connection; None: the last round got through."""

    def exchange(self) -> None:
        """One round: control in, results out. Raises nothing; `error` tells."""
        if not self._client.connected and time.monotonic() < self._next_attempt:
            return
        try:
            self._round()
            self.error, self._back_off = None, 0.0
        except (ModbusException, OSError) as error:
            self._fail(f"{self._name}: {' '.join(str(error).split())}")

    def close(self) -> None:
        self._client.close()

    def _round(self) -> None:
        if not self._client.connect():
            raise ConnectionError("cannot connect")
        asked = self._ask(self._client.read_holding_registers, self._control_at, count=CONTROL_COUNT).registers
        if len(asked) != CONTROL_COUNT:
            raise ModbusException(f"the PLC answered with {len(asked)} registers instead of {CONTROL_COUNT}")
        if asked != self._control:
            self._control = asked
            self._bank.write(CONTROL, asked, self)
        words = self._bank.read(0, AT["class_counts"] + MAX_CLASSES)
        head = words[:HEAD_COUNT]
        body = words[HEAD_COUNT : AT["class_counts"] + words[AT["class_count"]]]
        if body != self._body:  # the body first: when the PLC sees `valid` in the head, the result is already there
            self._ask(self._client.write_registers, self._results + HEAD_COUNT, body)
            self._body = body
        if head != self._head:
            self._ask(self._client.write_registers, self._results, head)
            self._head = head

    def _ask(self, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        answer = call(*arguments, device_id=self._unit, **more)
        if answer.isError():
            raise ModbusException(f"the PLC refused the request with exception {answer.exception_code}")
        return answer

    def _fail(self, error: str) -> None:
        self._client.close()  # an answer that is still under way must not be taken for the next one's
        self._head = self._body = None
        self.error = error
        self._back_off = min(max(2 * self._back_off, _FIRST_BACK_OFF_S), _MAX_BACK_OFF_S)
        self._next_attempt = time.monotonic() + self._back_off
