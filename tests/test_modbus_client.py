# SPDX-License-Identifier: Apache-2.0
"""The C# Modbus client, and the link in client mode, against a PLC played by pymodbus and against bad servers."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from modbus_csharp import RUNTIMES, Program
from modbus_peer import HOST, Plc, Scripted, frame, free_port, receive_exactly, wait_for
from yoloq.serve.map import AT, CONTROL


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


def test_all_functions(runtime: str) -> None:
    with Plc() as plc, Program(runtime, "client", f"port={plc.port}") as program:

        def ask(command: str) -> str:
            return program.ask(command).split(" ", 1)[1]

        assert ask("f16 10 1,2,65535") == "ok"
        assert plc.words[10:13] == [1, 2, 65535]
        assert ask("f6 13 4") == "ok" and plc.words[13] == 4
        assert ask("f3 9 6") == "ok 0,1,2,65535,4,0"
        assert ask("f4 0 125") == "ok " + ",".join(["0"] * 125)
        assert ask("f16 20 " + ",".join(map(str, range(123)))) == "ok" and plc.words[20:143] == list(range(123))
        assert ask("f15 3 1,0,1,1,0,0,0,0,0,1") == "ok"
        assert ask("f5 4 1") == "ok"
        assert ask("f1 0 16") == "ok 0001111000001000"
        assert ask("f2 0 9") == "ok 000000000"
        assert ask("f3 290 20").startswith("error ModbusResponseException 2 the peer refused function 3")
        assert ask("f3 0 126").startswith("error ArgumentOutOfRangeException")
        assert ask("f3 65535 2").startswith("error ArgumentOutOfRangeException")
        assert ask("about 0 0") == "ok True 0"


def value(pdu: bytes) -> bytes:
    """The right answer to a read of one register: its address."""
    return bytes([3, 2]) + pdu[1:3]


def test_an_answer_byte_by_byte(runtime: str) -> None:
    def answer(connection: socket.socket, transaction: int, pdu: bytes) -> None:
        for byte in frame(value(pdu), transaction):
            connection.sendall(bytes([byte]))
            time.sleep(0.005)

    with Scripted(answer) as server, Program(runtime, "client", f"port={server.port}") as program:
        assert program.ask("f3 77 1").endswith(" ok 77")


def test_late_answers_are_dropped(runtime: str) -> None:
    def answer(connection: socket.socket, transaction: int, pdu: bytes) -> None:
        if pdu[2] == 1:  # the first request: too late, and a stray one with it
            time.sleep(0.35)
            connection.sendall(frame(bytes([3, 2, 0xDE, 0xAD]), 4711))
        connection.sendall(frame(value(pdu), transaction))

    with Scripted(answer) as server, Program(runtime, "client", f"port={server.port}", "timeout=200") as program:
        first = program.ask("f3 1 1")
        assert "error ModbusTimeoutException - 127.0.0.1" in first and 180 <= int(first.split()[0]) < 600
        time.sleep(0.3)
        assert program.ask("f3 2 1").endswith(" ok 2")
        assert program.ask("f3 3 1").endswith(" ok 3")
        assert program.ask("about 0 0").endswith(" ok True 2")
        assert server.connections == 1


def test_a_silent_server_is_connected_anew(runtime: str) -> None:
    with (
        Scripted(lambda *_: None) as server,
        Program(runtime, "client", f"port={server.port}", "timeout=60") as program,
    ):
        kinds = [program.ask("f3 1 1").split()[2] for _ in range(3)]
        assert kinds == ["ModbusTimeoutException", "ModbusTimeoutException", "ModbusConnectionException"]
        wait_for(lambda: "Timeout" in program.ask("f3 1 1"))
        assert server.connections == 2


@pytest.mark.parametrize("bad", ["00070001000401030200", "0007000000000103", "close", "half"])
def test_a_broken_answer_breaks_the_connection_only(runtime: str, bad: str) -> None:
    broken = []

    def answer(connection: socket.socket, transaction: int, pdu: bytes) -> None:
        if broken:
            connection.sendall(frame(value(pdu), transaction))
            return
        broken.append(True)
        if bad == "half":
            connection.sendall(frame(value(pdu), transaction)[:8])
        if bad in ("close", "half"):
            connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.sendall(bytes.fromhex(bad))

    with Scripted(answer) as server, Program(runtime, "client", f"port={server.port}") as program:
        assert " error ModbusConnectionException" in program.ask("f3 5 1")
        wait_for(lambda: program.ask("f3 5 1").endswith(" ok 5"))
        assert server.connections == 2


@pytest.mark.parametrize("answer", ["030400010002", "0304", "04020001", "03020001ff", "83"])
def test_an_answer_to_another_question_is_refused(runtime: str, answer: str) -> None:
    def reply(connection: socket.socket, transaction: int, pdu: bytes) -> None:
        connection.sendall(frame(bytes.fromhex(answer) if pdu[2] == 1 else value(pdu), transaction))

    with Scripted(reply) as server, Program(runtime, "client", f"port={server.port}") as program:
        assert " error ModbusException" in program.ask("f3 1 1")
        assert program.ask("f3 2 1").endswith(" ok 2")


def test_no_server_fails_at_once_and_backs_off(runtime: str) -> None:
    port = free_port()
    with Program(runtime, "client", f"port={port}", "backoff=300") as program:
        first = program.ask("f3 1 1")
        assert f"error ModbusConnectionException - cannot connect to 127.0.0.1:{port}" in first
        again = program.ask("f3 1 1")
        assert "next attempt in" in again and int(again.split()[0]) < 50
        attempts = sum("next attempt" not in (time.sleep(0.01), program.ask("f3 1 1"))[1] for _ in range(80))
        assert 1 <= attempts <= 5
        with Scripted(lambda c, t, p: c.sendall(frame(value(p), t)), port):
            wait_for(lambda: program.ask("f3 9 1").endswith(" ok 9"))


def test_a_server_that_never_accepts_is_given_up(runtime: str) -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        full = []
        for _ in range(4):  # its queue is full: the system answers nobody any more
            probe = socket.socket()
            probe.setblocking(False)
            probe.connect_ex(listener.getsockname())
            full.append(probe)
        time.sleep(0.1)
        with Program(runtime, "client", f"port={listener.getsockname()[1]}", "timeout=300") as program:
            answer = program.ask("f3 1 1")
        assert "error Modbus" in answer and 250 <= int(answer.split()[0]) < 3000
        for probe in full:
            probe.close()


# ---------------------------------------------------------------------------------------------------- link as client


@pytest.fixture
def plc() -> Iterator[Plc]:
    with Plc() as made:
        yield made


def test_link_writes_results_into_the_plc(runtime: str, plc: Plc) -> None:
    options = ["results=10", "control=200", "order=CDAB", "beat=50", "reply=0"]
    with Program(runtime, "link", f"connect={plc.port}", *options) as program:
        wait_for(lambda: plc.words[10 + AT["map_version"]] == 1)
        program.until("connected")
        assert plc.words[10 + AT["order_check"] :][:2] == [0x0304, 0x0102]
        wait_for(lambda: plc.words[10 + AT["status"]] & 1)
        for number in (1, 2, 3):
            plc.words[202] = number  # part_in, low word first
            plc.words[200] = 1
            program.until(f"triggered {number} {number}")
            wait_for(lambda: plc.words[10 + AT["status"]] & 4)
            assert plc.words[10 + AT["part"]] == number and plc.words[10 + AT["sequence"]] == number
            assert plc.words[10 + AT["class_counts"] :][:3] == [number, 1, 0]
            assert plc.words[10 + AT["judgement"]] == (1 if number % 2 == 0 else 2)
            plc.words[200] = 2
            wait_for(lambda: plc.words[10 + AT["status"]] & 5 == 1)
            plc.words[200] = 0
            time.sleep(0.06)  # so that the next trigger is a new edge, as a PLC's program waits too
        beat = plc.words[10 + AT["heartbeat"]]
        wait_for(lambda: plc.words[10 + AT["heartbeat"]] > beat)
    assert plc.words[10 + AT["state"]] == 0  # its last word: idle
    assert {address for address, _ in plc.writes} == {10, 15}


def test_the_result_is_there_before_valid(runtime: str, plc: Plc) -> None:
    """The PLC reads, like a scan, whenever it likes: valid with an old result must never be seen."""
    with Program(runtime, "link", f"connect={plc.port}", "reply=0", "ack=1"):
        wait_for(lambda: plc.words[AT["status"]] & 1)
        for number in range(1, 30):
            plc.words[131] = number
            plc.words[CONTROL] = 1
            wait_for(lambda: plc.words[AT["status"]] & 4)
            assert plc.words[AT["part"] + 1] == number and plc.words[AT["sequence_copy"] + 1] == number
            plc.words[CONTROL] = 2
            wait_for(lambda: plc.words[AT["status"]] & 5 == 1)
            plc.words[CONTROL] = 0
            time.sleep(0.045)  # two polls: the bits must have been seen to fall


def test_link_survives_a_plc_that_goes_and_comes(runtime: str) -> None:
    port = free_port()
    with Program(runtime, "link", f"connect={port}", "timeout=300") as program:
        assert program.ask("publish ok=1 counts=5", "answer") == "True"  # at once, though nobody is there
        wait_for(lambda: program.ask("about", "answer").startswith("False cannot connect to"))
        for number in (1, 2):
            with Plc(port) as plc:  # a fresh one, all zero: everything is written again
                wait_for(lambda: plc.words[AT["class_counts"]] == 5)
                assert plc.words[AT["sequence"] + 1] == 1
                wait_for(lambda: program.ask("about", "answer") == "True")
                plc.words[CONTROL] = 1
                assert program.until("triggered").startswith(str(number))
                # busy is only answered with an error later: the bit must not trigger twice after the cut
            wait_for(lambda: program.ask("about", "answer").startswith("False"))
            with Plc(port) as plc:
                plc.words[CONTROL] = 1
                wait_for(lambda: plc.words[AT["status"]] & 2)
                time.sleep(0.1)
                assert plc.words[AT["missed_triggers"]] == 0
                assert program.ask(f"publish trigger={number} ok=1 counts=5 sequence=1", "answer") == "True"
                wait_for(lambda: plc.words[AT["status"]] & 4)
                plc.words[CONTROL] = 2
                wait_for(lambda: plc.words[AT["status"]] & 1)
                plc.words[CONTROL] = 0
                time.sleep(0.06)
            wait_for(lambda: program.ask("about", "answer").startswith("False"))


def test_publishing_never_waits_for_a_plc_that_hangs(runtime: str) -> None:
    with (
        Scripted(lambda *_: None) as server,
        Program(runtime, "link", f"connect={server.port}", "timeout=2000", "ack=0") as program,
    ):
        wait_for(lambda: server.connections)
        longest = float(program.ask("spin ms=500", "answer").split(", ")[1].split()[0])
        assert longest < 1000  # ms; a busy machine, not the network's 2000


def test_receive_exactly_reads_the_rest() -> None:
    """The helper that the tests above believe."""
    left, right = socket.socketpair()
    left.sendall(struct.pack(">H", 7))
    assert receive_exactly(right, 2) == b"\0\7"
    left.close()
    with pytest.raises(ConnectionError):
        receive_exactly(right, 1)
