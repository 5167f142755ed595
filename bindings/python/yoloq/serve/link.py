# SPDX-License-Identifier: Apache-2.0
"""A host's link to its PLC, as Modbus server or client behind one face. Needs pymodbus (yoloq[serve])."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from yoloq.errors import InvalidArgument

try:
    from yoloq.serve.modbus_client import PlcMirror
    from yoloq.serve.modbus_server import ModbusServer
except ModuleNotFoundError as missing:
    if (missing.name or "").split(".")[0] != "pymodbus":
        raise
    raise InvalidArgument("the command serve needs pymodbus: install yoloq[serve]") from None

from yoloq.serve.bank import Bank
from yoloq.serve.handshake import Handshake, Rules
from yoloq.serve.inspection import Inspection, LinkState
from yoloq.serve.map import CONTROL

_TICK_S = 0.01

_chatter = logging.getLogger("pymodbus")  # a peer that speaks nonsense must not fill the host's log
_chatter.addHandler(logging.NullHandler())
_chatter.propagate = False


@dataclass(frozen=True)
class LinkOptions:
    """How a link behaves. As a client: `results` and `control` are the PLC's holding registers, 0-based, for register 0
    of the map and for `control`. unit None: a server answers every unit id, a client asks for 1."""

    rules: Rules = field(default_factory=Rules)
    unit: int | None = None
    heartbeat_s: float = 0.5
    poll_s: float = 0.02
    timeout_s: float = 1.0
    results: int = 0
    control: int = CONTROL


class PlcLink:
    """No call waits for the network. Between start() and stop() a thread keeps time, and as a client talks to the PLC.

    on_connection(connected, reason) is called from a thread of the link when the connection comes or goes.
    """

    def __init__(self, address: tuple[str, int], client: bool, options: LinkOptions):
        self._options = options
        self._bank = Bank(options.rules.order)
        self._handshake = Handshake(self._bank, options.rules)
        self._handshake.on_trigger = lambda trigger, part: self._triggers.put((trigger, part))
        self._bank.on_control = self._on_control
        # No SimpleQueue: a signal during its get(timeout) can make it wait for ever (CPython 3.11).
        self._triggers: queue.Queue[tuple[int, int]] = queue.Queue()
        self._writer: object = None  # the connection that wrote `control` last
        self._server: ModbusServer | None = None
        self._mirror: PlcMirror | None = None
        if client:
            unit = 1 if options.unit is None else options.unit
            places = (options.results, options.control)
            self._mirror = PlcMirror(self._bank, address, unit, *places, options.timeout_s)
        else:
            self._server = ModbusServer(self._bank, address, self._on_connections, options.unit or 0)
        self._lock = threading.Lock()
        self._connected = False
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="yoloq plc", daemon=True)
        self.on_connection: Callable[[bool, str | None], None] = lambda connected, reason: None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where a server listens, with the real port after start(); None for a client."""
        return self._server.address if self._server else None

    @property
    def connected(self) -> bool:
        """Server: there is at least one client. Client: the last exchange got through."""
        return self._connected

    def start(self) -> None:
        """Serves, or connects. The state is IDLE until set_state(). InvalidArgument: the port cannot be had."""
        if self._server:
            self._server.start()
        self._thread.start()

    def stop(self) -> None:
        """Tells the PLC IDLE if it can be reached, and ends."""
        self.set_state(LinkState.IDLE)
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._server:
            self._server.stop()
        else:
            self._mirror.close()

    def set_state(self, state: LinkState, error: int = 0) -> None:
        """Tells the PLC what the host does: READY and RUNNING take triggers, IDLE and ALARM refuse them."""
        with self._bank.lock:
            self._handshake.set_state(state, error)
        self._wake.set()

    def publish(self, result: Inspection) -> bool:
        """Shows a result, all its registers at once. False: it is not shown, for it answers a trigger that was already
        given up, or none while the PLC has one under way."""
        with self._bank.lock:
            shown = self._handshake.publish(result, _now_ms())
        self._wake.set()
        return shown

    def next_trigger(self, wait_s: float) -> tuple[int, int] | None:
        """The next accepted trigger's number and part; None: none in this time."""
        try:
            return self._triggers.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _on_control(self, peer: object) -> None:  # inside the bank's lock
        self._writer = peer
        self._handshake.control_written(_now_ms())

    def _on_connections(self, gone: object | None) -> None:
        if gone is not None:
            with self._bank.lock:
                if self._writer is gone:
                    self._writer = None
                    self._handshake.control_released()
        self._tell(self._server.connections > 0, None if self._server.connections else "no PLC is connected")

    def _tell(self, connected: bool, reason: str | None) -> None:
        with self._lock:
            changed = connected != self._connected
            self._connected = connected
        if changed:
            self.on_connection(connected, reason)

    def _work(self) -> None:
        interval = self._options.poll_s if self._mirror else _TICK_S
        next_beat = 0.0
        while True:
            last = self._stopping
            with self._bank.lock:
                self._handshake.tick(_now_ms())
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + self._options.heartbeat_s
                    self._handshake.beat()
            if self._mirror and (self._connected or not last):  # the last word, Idle, to whom it reaches
                self._mirror.exchange()
                self._tell(self._mirror.error is None, self._mirror.error)
            if last:
                return
            self._wake.wait(interval)
            self._wake.clear()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
