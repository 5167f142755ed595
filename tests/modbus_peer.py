# SPDX-License-Identifier: Apache-2.0
"""Peers for the Modbus tests: frames by hand, a server that answers as it is told, a PLC played by pymodbus."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable

from pymodbus.client import ModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

HOST = "127.0.0.1"


def frame(pdu: bytes, transaction: int = 1, unit: int = 1) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def receive(peer: socket.socket) -> tuple[int, int, bytes]:
    """One frame: transaction, unit, PDU. ConnectionError: the peer has closed."""
    transaction, protocol, length, unit = struct.unpack(">HHHB", receive_exactly(peer, 7))
    assert protocol == 0 and 2 <= length <= 254
    return transaction, unit, receive_exactly(peer, length - 1)


def receive_exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (part := peer.recv(count - len(data))):
            raise ConnectionError("closed")
        data += part
    return data


def dial(port: int, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((HOST, port), timeout)


def ask(peer: socket.socket, pdu: bytes, unit: int = 1) -> bytes:
    peer.sendall(frame(pdu, 77, unit))
    transaction, answered, answer = receive(peer)
    assert (transaction, answered) == (77, unit)
    return answer


def is_closed(peer: socket.socket, within: float) -> bool:
    """Has the other side closed, or does it in this time?"""
    peer.settimeout(within)
    try:
        return peer.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def exchange_alone(port: int, pdu: bytes) -> bytes:
    """A request on a connection of its own, which the server has closed when this returns."""
    with dial(port) as peer:
        answer = ask(peer, pdu)
        peer.shutdown(socket.SHUT_WR)
        assert is_closed(peer, 20)
        return answer


def client(port: int, timeout: float = 5.0) -> ModbusTcpClient:
    made = ModbusTcpClient(HOST, port=port, timeout=timeout, retries=0)
    assert made.connect()
    return made


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> object:
    """What the condition returns as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.002)
    raise AssertionError("it did not become true in time")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Plc:
    """A PLC with 300 holding registers and as many coils, as a Modbus server by pymodbus in a thread of its own."""

    def __init__(self, port: int = 0):
        self.port = port or free_port()
        self.words = [0] * 300
        self._loop = asyncio.new_event_loop()
        self._server: ModbusTcpServer | None = None
        self.writes: list[tuple[int, int]] = []  # address and count, as they came

    def __enter__(self) -> Plc:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._loop.close()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        bits = [SimData(0, count=300, values=False, datatype=DataType.BITS)]
        words = [SimData(0, count=300, values=0, datatype=DataType.REGISTERS)]
        device = SimDevice(0, simdata=(bits, bits, words, words), action=self._access)
        self._server = ModbusTcpServer(device, address=(HOST, self.port))
        await self._server.serve_forever(background=True)

    async def _access(
        self, function: int, start: int, address: int, count: int, current: list[int], values: list[int] | None
    ) -> None:
        """Holding registers are `words`, which the test, as the PLC's program, reads and writes too."""
        if function in (3, 6, 16) and values is not None:
            self.words[address : address + count] = values
            self.writes.append((address, count))
        elif function == 3:
            current[:300] = self.words


class Scripted:
    """A server whose answers the test makes: answer(connection, transaction, pdu) for each request."""

    def __init__(self, answer: Callable[[socket.socket, int, bytes], None], port: int = 0):
        self._answer = answer
        self._listener = socket.create_server((HOST, port))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            while True:
                transaction, _, pdu = receive(connection)
                self._answer(connection, transaction, pdu)
        except OSError:
            pass
