# SPDX-License-Identifier: Apache-2.0
"""A Modbus TCP server on a bank. Requests are decoded, run and encoded by pymodbus; the connections are ours, since its
own server loses pipelined requests, keeps peers that speak no Modbus, and knows no idle timeout and no limit."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable

from pymodbus.constants import ExcCodes
from pymodbus.pdu import DecodePDU, ExceptionResponse

from yoloq.errors import InvalidArgument
from yoloq.serve.bank import Bank

_READS_AND_SINGLES = range(1, 7)  # functions whose request is 5 bytes
_FUNCTIONS = (*_READS_AND_SINGLES, 15, 16)
_SEND_S = 5.0  # for a client that takes no answers


class _Store:
    """The bank as pymodbus wants to see it, for one connection."""

    def __init__(self, bank: Bank, peer: object):
        self._bank = bank
        self._peer = peer

    async def async_getValues(self, _: int, function: int, address: int, count: int = 1) -> list | ExcCodes:  # noqa: N802
        if function in (1, 2, 5, 15):
            values = self._bank.read_bits(address, count, inputs=function == 2)
        else:
            values = self._bank.read(address, count)
        return ExcCodes.ILLEGAL_ADDRESS if values is None else values

    async def async_setValues(self, _: int, function: int, address: int, values: list) -> ExcCodes | None:  # noqa: N802
        write = self._bank.write_bits if function in (5, 15) else self._bank.write
        return None if write(address, values, self._peer) else ExcCodes.ILLEGAL_ADDRESS


class ModbusServer:
    """Serves in a thread of its own between start() and stop(). unit 0: every unit id is answered, else only that one.
    on_change(peer): a connection came, or (peer given) has gone."""

    def __init__(
        self,
        bank: Bank,
        address: tuple[str, int],
        on_change: Callable[[object | None], None],
        unit: int = 0,
        max_connections: int = 16,
        idle_s: float = 60.0,
    ):
        self.address = address
        self._bank = bank
        self._on_change = on_change
        self._unit = unit
        self._max_connections = max_connections
        self._idle_s = idle_s
        self._decoder = DecodePDU(True)
        self._last_request: dict[asyncio.StreamWriter, float] = {}
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=self._run, name="yoloq modbus", daemon=True)

    @property
    def connections(self) -> int:
        return len(self._last_request)

    def start(self) -> None:
        """Listens; `address` then has the real port. InvalidArgument: the port is taken or not allowed."""
        try:
            host, port = self.address
            listening = asyncio.start_server(self._serve, host, port, limit=4096)
            self._server = self._loop.run_until_complete(listening)
        except OSError as error:
            self._loop.close()
            reason = error.strerror or str(error)
            more = "is another program using the port, or does a port below 1024 need more rights?"
            raise InvalidArgument(f"cannot listen on {host}:{port}: {reason}; {more}") from None
        self.address = self._server.sockets[0].getsockname()[:2]
        self._thread.start()

    def stop(self) -> None:
        """Closes the connections and the port."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._server.is_serving():  # it came while the server closed
            writer.transport.abort()
            return
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._last_request) >= self._max_connections:
            silent = min(self._last_request, key=self._last_request.get)
            self._last_request.pop(silent)
            silent.transport.abort()
        self._last_request[writer] = time.monotonic()
        self._on_change(None)
        try:
            await self._talk(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the connection ends, and no other
        finally:
            self._last_request.pop(writer, None)
            self._on_change(writer)  # before the client can see the end: its bits have fallen by then
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store = _Store(self._bank, writer)
        while True:
            async with asyncio.timeout(self._idle_s or None):  # for the whole request: dribbling keeps nothing open
                header = await reader.readexactly(7)
                transaction, protocol, length, unit = struct.unpack(">HHHB", header)
                if protocol != 0 or not 2 <= length <= 254:
                    break  # no Modbus
                pdu = await reader.readexactly(length - 1)
            answer = await self._answer(pdu, unit, store)
            writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
            if writer in self._last_request:
                self._last_request[writer] = time.monotonic()
            async with asyncio.timeout(_SEND_S):
                await writer.drain()
        async with asyncio.timeout(_SEND_S):  # the answers to what came before the nonsense still go out
            writer.close()
            await writer.wait_closed()

    async def _answer(self, pdu: bytes, unit: int, store: _Store) -> bytes:
        function = pdu[0]
        if self._unit not in (0, unit):
            response = ExceptionResponse(function, ExcCodes.GATEWAY_NO_RESPONSE)
        elif function not in _FUNCTIONS:
            response = ExceptionResponse(function, ExcCodes.ILLEGAL_FUNCTION)
        elif not _is_strict(pdu) or (request := self._decoder.decode(pdu)) is None:
            response = ExceptionResponse(function, ExcCodes.ILLEGAL_VALUE)
        else:
            response = await request.datastore_update(store, unit)
        return bytes([response.function_code]) + response.encode()


def _is_strict(pdu: bytes) -> bool:
    """What pymodbus would let pass: trailing bytes, and a coil's value that is neither on nor off."""
    if pdu[0] == 5 and pdu[3:] not in (b"\xff\0", b"\0\0"):
        return False
    return len(pdu) == 5 or pdu[0] not in _READS_AND_SINGLES
