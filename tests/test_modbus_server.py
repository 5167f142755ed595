# SPDX-License-Identifier: Apache-2.0
"""The C# Modbus server against pymodbus, and against peers that are slow, silent, greedy or malicious."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

import modbus_csharp
from modbus_csharp import RUNTIMES, Program
from modbus_peer import ask, client, dial, exchange_alone, frame, is_closed, receive, wait_for
from yoloq.serve.map import AT

READ_3 = struct.pack(">BHH", 3, 0, 3)


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared(runtime: str) -> Iterator[tuple[Program, int]]:
    """A bare server for all tests of protocol: 100 read-only registers 1000…, 50 writable ones from 100."""
    with Program(runtime, "server") as program:
        yield program, int(program.until("listening"))


@pytest.fixture
def port(shared: tuple[Program, int]) -> Iterator[int]:
    """The shared server's port; afterwards it must still answer."""
    yield shared[1]
    with dial(shared[1]) as peer:
        assert ask(peer, READ_3) == bytes.fromhex("030603e803e903ea")


def test_all_functions(port: int) -> None:
    with client(port) as plc:
        assert plc.read_holding_registers(0, count=100).registers == list(range(1000, 1100))
        assert plc.read_input_registers(98, count=3).registers == [1098, 1099, 0]
        assert not plc.write_register(100, 0x1234).isError()
        assert plc.read_coils(0, count=16).bits == [bool(0x1234 >> bit & 1) for bit in range(16)]
        assert not plc.write_coil(0, True).isError()
        assert plc.read_holding_registers(100, count=1).registers == [0x1235]
        values = [random.Random(1).randrange(65536) for _ in range(48)]
        assert not plc.write_registers(101, values).isError()
        assert plc.read_holding_registers(101, count=48).registers == values
        bits = [bool(value & 1) for value in values[:21]]
        assert not plc.write_coils(5, bits).isError()
        assert plc.read_coils(5, count=21).bits[:21] == bits
        assert plc.read_discrete_inputs(0, count=16).bits == [bool(1000 >> bit & 1) for bit in range(16)]
        assert plc.read_holding_registers(0, count=125).registers[124] == values[23]


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("07", 1),
        ("2b0e0100", 1),
        ("170000000100640001020000", 1),
        ("830000", 1),
        ("0300c80001", 2),  # one past the end
        ("0300000000", 3),
        ("030000007e", 3),  # 126
        ("01000007d1", 3),  # 2001
        ("0100300001", 2),
        ("0200100001", 2),
        ("0500000001", 3),  # neither 0000 nor ff00
        ("050020ff00", 2),  # a coil of a read-only register
        ("0600630001", 2),
        ("0600960001", 2),
        ("10006300020400010002", 2),  # half of it read-only: none is written
        ("100064000204000100", 3),  # too short
        ("1000640002030001000200", 3),
        ("1000640000", 3),
        ("10006400000000", 3),
        ("0f00000000", 3),
        ("0f001f00020103", 2),  # the second coil is read-only
        ("0f000000100100", 3),
        ("0f000007b1f7" + "00" * 246, 3),
        ("0300", 3),
        ("030000000100", 3),
        ("03", 3),
    ],
)
def test_refusals(port: int, pdu: str, code: int) -> None:
    with dial(port) as peer:
        before = ask(peer, struct.pack(">BHH", 3, 100, 40))
        request = bytes.fromhex(pdu)
        assert ask(peer, request) == bytes([request[0] | 0x80, code])
        assert ask(peer, struct.pack(">BHH", 3, 100, 40)) == before


def test_a_handler_that_fails_is_exception_4(port: int) -> None:
    with dial(port) as peer:
        assert ask(peer, struct.pack(">BHH", 6, 149, 0xDEAD)) == bytes([0x86, 4])
        assert ask(peer, READ_3)[0] == 3


def test_byte_by_byte(port: int) -> None:
    with dial(port) as slow, dial(port) as other:
        for byte in frame(READ_3, 5):
            slow.sendall(bytes([byte]))
            assert ask(other, READ_3)[0] == 3  # nobody waits for the slow one
        assert receive(slow) == (5, 1, bytes.fromhex("030603e803e903ea"))


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    requests = [struct.pack(">BHH", 3, number % 100, 1 + number % 100) for number in range(400)]
    with dial(port) as peer:
        data = b"".join(frame(pdu, number, number % 256) for number, pdu in enumerate(requests))
        sender = threading.Thread(target=peer.sendall, args=(data,))
        sender.start()
        for number in range(400):
            transaction, unit, answer = receive(peer)
            assert (transaction, unit, answer[1]) == (number, number % 256, 2 * (1 + number % 100))
            assert struct.unpack(">H", answer[2:4])[0] == 1000 + number % 100
        sender.join()


@pytest.mark.parametrize("header", ["000100010006", "000100000000", "000100000001", "0001000000ff", "474554202f20"])
def test_what_is_no_modbus_closes_that_connection_only(port: int, header: str) -> None:
    with dial(port) as good, dial(port) as bad:
        assert ask(good, READ_3)[0] == 3
        bad.sendall(frame(READ_3, 9) + bytes.fromhex(header) + b"\1" + READ_3)
        assert receive(bad)[0] == 9  # what came before it is answered
        assert is_closed(bad, 5)
        assert ask(good, READ_3)[0] == 3


def test_random_requests_get_wellformed_answers(port: int) -> None:
    dice = random.Random(6)
    codes = set()
    with dial(port) as peer:
        for number in range(3000):
            function = dice.choice([1, 2, 3, 4, 5, 6, 15, 16, 16, dice.randrange(256)])
            address = dice.choice([0, 90, 140, dice.randrange(65536)])
            body = struct.pack(">HH", address, dice.choice([1, 2, 9, 125, 60000]))
            body += bytes([dice.choice([1, 2, 4, 18])]) + dice.randbytes(dice.choice([1, 2, 4, 18, 0, 100]))
            pdu = bytes([function]) + body[: dice.choice([4, 4, len(body), dice.randrange(len(body) + 1)])]
            peer.sendall(frame(pdu, number))
            transaction, _, answer = receive(peer)
            assert transaction == number and answer[0] in (function, function | 0x80)
            if answer[0] & 0x80:
                codes.add(answer[1])
    assert {1, 2, 3} <= codes <= {1, 2, 3, 4}


def test_garbage_leaves_the_server_whole(shared: tuple[Program, int], port: int) -> None:
    dice = random.Random(7)
    before = int(shared[0].ask("memory"))
    for _ in range(150):
        with dial(port) as peer:
            data = bytearray(b"".join(frame(READ_3, n) for n in range(8)))
            for _ in range(dice.randrange(1, 12)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            try:
                peer.sendall(data[: dice.randrange(len(data))] if dice.random() < 0.5 else dice.randbytes(300))
                if dice.random() < 0.5:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            except ConnectionError:
                pass
    wait_for(lambda: shared[0].ask("connections") == "0")
    assert int(shared[0].ask("memory")) < before + 2_000_000


def test_unit_rule(runtime: str) -> None:
    with Program(runtime, "server", "unit=7") as program, dial(int(program.until("listening"))) as peer:
        assert ask(peer, READ_3, unit=7)[0] == 3
        for unit in (0, 1, 255):
            assert ask(peer, READ_3, unit=unit) == bytes([0x83, 11])


def test_idle_and_dribbling_connections_are_closed(runtime: str) -> None:
    with Program(runtime, "server", "idle=400") as program:
        port = int(program.until("listening"))
        with dial(port) as idle, dial(port) as dribble, dial(port) as busy:
            start = time.monotonic()
            try:
                for byte in bytes.fromhex("0001000000fe01") + bytes(150):  # a request that would take 5 s to arrive
                    dribble.sendall(bytes([byte]))
                    assert ask(busy, READ_3)[0] == 3
                    time.sleep(0.02)
            except ConnectionError:
                pass
            assert time.monotonic() - start < 2.5
            assert is_closed(dribble, 1) and is_closed(idle, 1)
            assert ask(busy, READ_3)[0] == 3


def test_one_too_many_closes_the_longest_silent(runtime: str) -> None:
    with Program(runtime, "server", "max=4") as program:
        port = int(program.until("listening"))
        peers = []
        for _ in range(4):
            peers.append(dial(port))
            assert ask(peers[-1], READ_3)[0] == 3
            time.sleep(0.02)
        assert ask(peers[0], READ_3)[0] == 3  # the second is now the longest silent
        peers.append(dial(port))
        assert ask(peers[4], READ_3)[0] == 3
        assert is_closed(peers[1], 5)
        wait_for(lambda: program.ask("connections") == "4")
        for number in (0, 2, 3, 4):
            assert ask(peers[number], READ_3)[0] == 3
            peers[number].close()


def test_a_peer_that_takes_no_answers_holds_nobody_up(port: int) -> None:
    big = struct.pack(">BHH", 3, 0, 125)
    with socket.create_connection(("127.0.0.1", port), 5) as greedy, dial(port) as other:
        greedy.setblocking(False)
        sent = 0
        try:
            while sent < 20_000_000:
                sent += greedy.send(frame(big) * 100)
        except BlockingIOError:
            pass
        start = time.monotonic()
        for _ in range(200):
            assert ask(other, READ_3)[0] == 3
        assert time.monotonic() - start < 2


def test_stop_and_start(shared: tuple[Program, int], port: int) -> None:
    with dial(port) as peer:
        assert ask(peer, READ_3)[0] == 3
        shared[0].ask("stop", "stopped")
        assert is_closed(peer, 5)
        with pytest.raises(ConnectionError):
            dial(port)
        assert int(shared[0].ask("start", "listening")) == port


def test_a_taken_port_is_told(runtime: str, port: int) -> None:
    (line,) = modbus_csharp.run(runtime, "server", f"port={port}")
    assert line.startswith(f"failed ModbusConnectionException cannot listen on 127.0.0.1:{port}: ")
    assert "is another program using the port" in line


def test_port_is_freed_and_reused_at_once(runtime: str) -> None:
    with Program(runtime, "server") as program:
        port = int(program.until("listening"))
        peer = dial(port)
        assert ask(peer, READ_3)[0] == 3
    with Program(runtime, "server", f"port={port}") as program:  # the old connection still lingers
        assert int(program.until("listening")) == port
    peer.close()


# --------------------------------------------------------------------------------------------------------- a whole link


def test_no_reader_ever_sees_half_a_result(runtime: str) -> None:
    with Program(runtime, "link", "ack=0") as program:
        port = int(program.until("listening"))
        seen: list[int] = []
        failures: list[str] = []
        stop = threading.Event()

        def read() -> None:
            last = 0
            with dial(port) as peer:
                while not stop.is_set():
                    words = struct.unpack(">114H", ask(peer, struct.pack(">BHH", 3, 0, 114))[2:])
                    sequence = words[6] << 16 | words[7]
                    value = sequence % 30000
                    places = {words[50 + i] for i in range(64)} | {words[11], words[9] if 64 * value > 65535 else value}
                    copy = words[48] << 16 | words[49]
                    if sequence and (places - {65535} != {value} or copy != sequence or sequence < last):
                        failures.append(str(words))
                        return
                    last = sequence
                    seen.append(sequence)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for _ in range(40):  # once, unless the machine is busy
            print(program.ask("spin ms=1500", "answer"))
            if failures or len(set(seen)) > 100:
                break
        stop.set()
        for reader in readers:
            reader.join()
        assert failures == []
        assert len(set(seen)) > 100


def test_the_handshake_over_the_wire(runtime: str) -> None:
    with Program(runtime, "link", "beat=50") as program, client(int(program.until("listening"))) as plc:

        def inputs() -> list[bool]:
            return plc.read_discrete_inputs(0, count=8).bits[:8]

        def words() -> list[int]:
            return plc.read_input_registers(0, count=114).registers

        assert inputs() == [True] + [False] * 7
        assert not plc.write_registers(128, [0, 0, 0x0001, 0x0002]).isError()  # the part's number, then the trigger
        assert not plc.write_coil(0, True).isError()
        assert inputs()[:3] == [False, True, False]  # busy is there with the very next request
        assert program.until("triggered") == "1 65538"
        assert not plc.write_coil(0, False).isError() and not plc.write_coil(0, True).isError()
        assert inputs()[7] and words()[AT["missed_triggers"]] == 1
        assert program.ask("publish trigger=1 ok=1 counts=3,4 best=1,0.5,10,20,30,40,5", "answer") == "True"
        assert inputs()[:5] == [False, False, True, True, False]
        assert words()[44:46] == [1, 2] and words()[50:53] == [3, 4, 0] and words()[6:9] == [0, 1, 1]
        assert not plc.write_coils(0, [False, True]).isError()
        assert inputs()[:3] == [True, False, False]
        beat = words()[AT["heartbeat"]]
        wait_for(lambda: words()[AT["heartbeat"]] >= beat + 3, 2)
        assert program.ask("state value=3 code=104", "answer") == ""
        assert inputs()[5:7] == [True, True] and words()[2:5:2] == [3, 104]


def test_a_connection_cut_in_mid_cycle(runtime: str) -> None:
    """The trigger's bit falls with its connection; the result waits; a new connection goes on."""
    with Program(runtime, "link") as program:
        port = int(program.until("listening"))
        with dial(port) as watcher:
            plc = dial(port)
            assert ask(plc, struct.pack(">BHH", 5, 0, 0xFF00))[0] == 5
            program.until("triggered 1")
            plc.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            plc.close()
            wait_for(lambda: ask(watcher, struct.pack(">BHH", 1, 0, 16)) == bytes([1, 2, 0, 0]))
            assert program.ask("publish trigger=1 ok=0", "answer") == "True"
        with client(port) as plc:
            assert plc.read_discrete_inputs(0, count=8).bits[2] is True
            for _ in range(2):  # a second acknowledgement does no harm
                plc.write_coil(1, True)
                plc.write_coil(1, False)
            plc.write_coil(0, True)
            program.until("triggered 2")


def test_a_connection_for_each_request(runtime: str) -> None:
    """Bits fall when the connection that wrote them goes, before its client can see that: pulses are enough."""
    with Program(runtime, "link", "reply=0") as program:
        port = int(program.until("listening"))
        for number in range(1, 101):
            exchange_alone(port, struct.pack(">BHHBHHHH", 16, 128, 4, 8, 1, 0, 0, number))
            assert exchange_alone(port, struct.pack(">BHH", 1, 0, 4)) == bytes([1, 1, 0])
            program.until(f"triggered {number} {number}")
            wait_for(lambda: exchange_alone(port, struct.pack(">BHH", 2, 0, 3))[2] & 4)
            exchange_alone(port, struct.pack(">BHH", 5, 1, 0xFF00))
        assert exchange_alone(port, struct.pack(">BHH", 3, AT["missed_triggers"], 2))[2:] == bytes(4)


def test_timeouts_of_the_handshake(runtime: str) -> None:
    with (
        Program(runtime, "link", "inspect_ms=150", "ack_ms=300") as program,
        client(int(program.until("listening"))) as plc,
    ):

        def status() -> list[int]:
            return plc.read_holding_registers(0, count=10).registers

        plc.write_coil(0, True)
        seen = wait_for(lambda: (words := status())[4] == 1 and words)
        assert seen[8] == 3 and seen[3] & 0x34 == 0x34  # judgement: error; valid, ng, error
        wait_for(lambda: status()[4] == 2)  # nobody acknowledges
        assert status()[2] == 1 and status()[3] & 5 == 1
        assert program.ask("publish trigger=1 ok=1", "answer") == "False"


def test_link_tells_whether_a_plc_is_there(runtime: str) -> None:
    with Program(runtime, "link") as program:
        port = int(program.until("listening"))
        assert program.ask("about", "answer") == "False no PLC has connected yet"
        with client(port) as plc:
            plc.read_coils(0, count=1)
            wait_for(lambda: program.ask("about", "answer") == "True")
        wait_for(lambda: program.ask("about", "answer") == "False no PLC is connected")
