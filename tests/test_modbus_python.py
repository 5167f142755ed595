# SPDX-License-Identifier: Apache-2.0
"""The Python link, as server and as client, against pymodbus, against bad peers, and against its twin in C#."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from modbus_csharp import Program
from modbus_peer import (
    HOST,
    Plc,
    Scripted,
    ask,
    client,
    dial,
    exchange_alone,
    frame,
    free_port,
    is_closed,
    receive,
    wait_for,
)
from yoloq.errors import InvalidArgument
from yoloq.serve.bank import Bank
from yoloq.serve.handshake import Rules
from yoloq.serve.inspection import Best, Inspection, LinkState
from yoloq.serve.link import LinkOptions, PlcLink
from yoloq.serve.map import AT, CONTROL
from yoloq.serve.modbus_server import ModbusServer

READ = struct.pack(">BHH", 3, AT["order_check"], 2)
READ_ANSWER = bytes.fromhex("030401020304")


def serving(**options: object) -> PlcLink:
    link = PlcLink((HOST, 0), client=False, options=LinkOptions(**options))
    link.start()
    link.set_state(LinkState.READY)
    return link


@pytest.fixture
def link() -> Iterator[PlcLink]:
    made = serving()
    yield made
    with dial(made.address[1]) as peer:
        assert ask(peer, READ) == READ_ANSWER  # it has survived
    made.stop()


@pytest.fixture
def port(link: PlcLink) -> int:
    return link.address[1]


def test_all_functions(port: int) -> None:
    with client(port) as plc:
        assert plc.read_holding_registers(0, count=125).registers[46:48] == [0x0102, 0x0304]
        assert plc.read_input_registers(46, count=2).registers == [0x0102, 0x0304]
        assert not plc.write_registers(128, [0x8000, 1, 2, 3]).isError()
        assert not plc.write_register(131, 9).isError()
        assert plc.read_holding_registers(128, count=4).registers == [0x8000, 1, 2, 9]
        assert not plc.write_coil(4, True).isError() and not plc.write_coils(5, [True, False, True]).isError()
        assert (
            plc.read_coils(0, count=17).bits[:17] == [False] * 4 + [True, True, False, True] + [False] * 7 + [True] * 2
        )
        assert plc.read_discrete_inputs(0, count=16).bits[0] is True


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("07", 1),
        ("2b0e0100", 1),
        ("830000", 1),
        ("0300840001", 2),
        ("0300000000", 3),
        ("030000007e", 3),
        ("01000007d1", 3),
        ("0100200001", 2),
        ("0200100001", 2),
        ("0500000001", 3),
        ("050010ff00", 2),
        ("0600030001", 2),
        ("10007f00020400010002", 2),
        ("100080000204000100", 3),
        ("1000800000", 3),
        ("0f000f00020103", 2),
        ("0f000000100100", 3),
        ("0300", 3),
        ("030000000100", 3),
        ("03", 3),
    ],
)
def test_refusals(port: int, pdu: str, code: int) -> None:
    with dial(port) as peer:
        request = bytes.fromhex(pdu)
        assert ask(peer, request) == bytes([request[0] | 0x80, code])
        assert ask(peer, struct.pack(">BHH", 3, 128, 4)) == bytes.fromhex("0308") + bytes(8)


def test_pieces_and_pipelines(port: int) -> None:
    with dial(port) as slow, dial(port) as other:
        for byte in frame(READ, 5):
            slow.sendall(bytes([byte]))
            assert ask(other, READ) == READ_ANSWER
        assert receive(slow) == (5, 1, READ_ANSWER)
        slow.sendall(b"".join(frame(READ, number, number) for number in range(200)))
        for number in range(200):
            assert receive(slow) == (number, number, READ_ANSWER)


@pytest.mark.parametrize("header", ["000100010006", "000100000000", "0001000000ff", "474554202f20"])
def test_what_is_no_modbus_closes_that_connection_only(port: int, header: str) -> None:
    with dial(port) as good, dial(port) as bad:
        assert ask(good, READ) == READ_ANSWER
        bad.sendall(frame(READ, 9) + bytes.fromhex(header) + b"\1" + READ)
        assert receive(bad)[0] == 9
        assert is_closed(bad, 5)
        assert ask(good, READ) == READ_ANSWER


def test_random_requests_and_garbage(link: PlcLink, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(8)
    with dial(port) as peer:
        for number in range(2000):
            function = dice.choice([1, 2, 3, 4, 5, 6, 15, 16, 16, dice.randrange(256)])
            body = struct.pack(">HH", dice.choice([0, 15, 120, 128]), dice.choice([1, 2, 9, 60000, 0xFF00]))
            pdu = bytes([function]) + (body + bytes([4]) + dice.randbytes(4))[: dice.choice([4, 9, dice.randrange(10)])]
            peer.sendall(frame(pdu, number))
            transaction, _, answer = receive(peer)
            assert transaction == number and answer[0] in (function, function | 0x80)
            assert not answer[0] & 0x80 or answer[1] in (1, 2, 3)
    for _ in range(60):
        with dial(port) as peer:
            peer.sendall(dice.randbytes(dice.randrange(1, 300)))
    wait_for(lambda: not link.connected)
    assert capfd.readouterr() == ("", "")  # nonsense fills no log


def test_limits_of_connections() -> None:
    server = ModbusServer(Bank("ABCD"), (HOST, 0), lambda gone: None, unit=7, max_connections=3, idle_s=0.5)
    server.start()
    peers = [dial(server.address[1]) for _ in range(3)]
    for peer in peers:
        assert ask(peer, READ, unit=7) == READ_ANSWER
        assert ask(peer, READ, unit=1) == bytes([0x83, 11])
    assert ask(peers[0], READ, unit=7) == READ_ANSWER
    peers.append(dial(server.address[1]))
    assert ask(peers[3], READ, unit=7) == READ_ANSWER
    assert is_closed(peers[1], 0.3)
    assert is_closed(peers[0], 3) and is_closed(peers[2], 3)
    server.stop()
    for peer in peers:
        peer.close()


def test_a_taken_port_is_told(port: int) -> None:
    with pytest.raises(InvalidArgument, match=f"cannot listen on {HOST}:{port}: .*another program"):
        ModbusServer(Bank("ABCD"), (HOST, port), lambda gone: None).start()


def test_no_reader_ever_sees_half_a_result(link: PlcLink, port: int) -> None:
    stop, seen, failures = threading.Event(), set(), []

    def read() -> None:
        with dial(port) as peer:
            while not stop.is_set():
                words = struct.unpack(">114H", ask(peer, struct.pack(">BHH", 3, 0, 114))[2:])
                sequence = words[6] << 16 | words[7]
                if sequence and (set(words[50:114]) | {words[11], words[49]} != {sequence % 30000}):
                    failures.append(words)
                    return
                seen.add(sequence)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    start, number = time.monotonic(), 0
    while time.monotonic() < start + 1 or (len(seen) <= 20 and not failures and time.monotonic() < start + 60):
        number += 1
        link.publish(Inspection(ok=True, counts=[number] * 64, best=Best(number, 1, 0, 0, 0, 0), sequence=number))
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == [] and len(seen) > 20


def test_a_connection_cut_in_mid_cycle(link: PlcLink, port: int) -> None:
    with dial(port) as watcher:
        plc = dial(port)
        ask(plc, struct.pack(">BHH", 5, 0, 0xFF00))
        assert link.next_trigger(5) == (1, 0)
        plc.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plc.close()
        wait_for(lambda: ask(watcher, struct.pack(">BHH", 1, 0, 16)) == bytes([1, 2, 0, 0]))
        assert link.publish(Inspection(ok=True, trigger=1))
        assert ask(watcher, struct.pack(">BHH", 2, 0, 8))[2] & 4
        ask(watcher, struct.pack(">BHH", 5, 1, 0xFF00))
        ask(watcher, struct.pack(">BHH", 5, 0, 0xFF00))
        assert link.next_trigger(5) == (2, 0)


def test_a_connection_for_each_request(link: PlcLink, port: int) -> None:
    """Bits fall when the connection that wrote them goes, before its client can see that: pulses are enough."""
    for number in range(1, 101):
        exchange_alone(port, struct.pack(">BHHBHHHH", 16, 128, 4, 8, 1, 0, 0, number))
        assert exchange_alone(port, struct.pack(">BHH", 1, 0, 4)) == bytes([1, 1, 0])
        assert link.next_trigger(5) == (number, number)
        assert link.publish(Inspection(ok=True, trigger=number))
        exchange_alone(port, struct.pack(">BHH", 5, 1, 0xFF00))


# --------------------------------------------------------------------------------------------------------------- client


def connecting(port: int, **options: object) -> PlcLink:
    link = PlcLink((HOST, port), client=True, options=LinkOptions(timeout_s=0.3, **options))
    link.start()
    link.set_state(LinkState.READY)
    return link


def test_client_writes_results_into_the_plc() -> None:
    with Plc() as plc:
        link = connecting(plc.port, results=10, control=200, rules=Rules("CDAB"), heartbeat_s=0.05)
        wait_for(lambda: plc.words[10 + AT["status"]] & 1)
        assert plc.words[10 + AT["order_check"] :][:2] == [0x0304, 0x0102]
        plc.words[200:204] = [1, 0, 7, 0]
        assert link.next_trigger(5) == (1, 7)
        wait_for(lambda: plc.words[10 + AT["status"]] & 2)
        link.publish(Inspection(ok=False, counts=[4, 5], trigger=1))
        wait_for(lambda: plc.words[10 + AT["status"]] & 4)
        assert plc.words[10 + AT["class_counts"] :][:3] == [4, 5, 0] and plc.words[10 + AT["part"]] == 7
        plc.words[200] = 2
        wait_for(lambda: plc.words[10 + AT["status"]] & 5 == 1)
        link.stop()
        assert plc.words[10 + AT["state"]] == 0
        assert {address for address, _ in plc.writes} == {10, 15}


def test_client_survives_a_plc_that_goes_and_comes() -> None:
    port = free_port()
    link = connecting(port)
    told = []
    link.on_connection = lambda connected, reason: told.append((connected, reason))
    try:
        start = time.monotonic()
        link.publish(Inspection(ok=True, counts=[7], sequence=5))
        assert time.monotonic() - start < 0.2
        for _ in range(3):
            with Plc(port) as plc:  # a fresh one, all zero: everything is written again
                wait_for(lambda: plc.words[AT["class_counts"]] == 7 and plc.words[AT["sequence"] + 1] == 5)
                wait_for(lambda: link.connected)
            wait_for(lambda: not link.connected)
    finally:
        link.stop()
    assert [connected for connected, _ in told] == [True, False] * 3
    assert all(reason and f"{HOST}:{port}" in reason for connected, reason in told if not connected)


def test_client_tells_what_the_plc_refuses() -> None:
    with Plc() as plc:
        link = connecting(plc.port, control=298)  # the PLC has 300 registers
        wait_for(lambda: "exception 2" in (link._mirror.error or ""))
        assert not link.connected
        link.stop()


@pytest.mark.parametrize("answer", ["030400010002", "0300", "030c" + "0001" * 6])
def test_client_takes_no_answer_of_another_length(answer: str) -> None:
    """Else a trigger in it would count as seen, and be lost."""

    def reply(connection: socket.socket, transaction: int, pdu: bytes) -> None:
        connection.sendall(frame(bytes.fromhex(answer), transaction))

    with Scripted(reply) as plc:
        link = connecting(plc.port)
        wait_for(lambda: "registers instead of 4" in (link._mirror.error or ""))
        assert not link.connected and link.next_trigger(0.05) is None
        link.stop()


# ------------------------------------------------------------------------------------------------ the two as peers


@pytest.mark.parametrize("runtime", ["mono", "coreclr"])
def test_csharp_client_and_python_server(port: int, runtime: str) -> None:
    with Program(runtime, "client", f"port={port}") as program:
        assert program.ask("f3 46 2").endswith(" ok 258,772")
        assert program.ask("f2 0 8").endswith(" ok 10000000")
        assert "ModbusResponseException 2" in program.ask("f6 3 1")
        assert program.ask("f15 0 1,0,0,0").endswith(" ok")
        assert program.ask("f1 0 18").endswith(" ok 100000000000000001")  # trigger; busy


def test_python_client_and_csharp_link() -> None:
    """What the C# server refuses, the Python client tells."""
    with Program("coreclr", "server") as program:
        link = connecting(int(program.until("listening")), results=0, control=CONTROL)
        wait_for(lambda: "exception 2" in (link._mirror.error or ""))  # results are not for peers to write there
        link.stop()
