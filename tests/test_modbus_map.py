# SPDX-License-Identifier: Apache-2.0
"""The register map and the handshake: the same in Python, in C# and in the manual."""

from __future__ import annotations

import random
import re
import shlex
import struct
from pathlib import Path

import pytest

import modbus_csharp
from modbus_csharp import dotnet
from yoloq import cli
from yoloq.serve import map as registers
from yoloq.serve.bank import Bank
from yoloq.serve.handshake import Handshake, Rules
from yoloq.serve.inspection import NO_TRIGGER, Best, Inspection, LinkState
from yoloq.serve.map import AT, CONTROLS, STATUS


@pytest.mark.parametrize("runtime", modbus_csharp.RUNTIMES)
def test_csharp_has_the_same_map(runtime: str) -> None:
    lines = modbus_csharp.run(runtime, "map")
    fields = [f"{f.name}|{f.address}|{f.type}|{f.count}|{f.unit}" for f in registers.FIELDS]
    assert lines[: len(fields)] == fields
    numbers = (registers.VERSION, registers.SIZE, registers.MAX_CLASSES, registers.CONTROL_COUNT)
    assert lines[len(fields) :] == [
        "status:" + ",".join(registers.STATUS_BITS),
        "control:" + ",".join(registers.CONTROL_BITS),
        "numbers:" + ",".join(map(str, numbers)),
    ]


def test_fields_lie_side_by_side() -> None:
    end = 0
    for field in registers.FIELDS:
        assert field.address >= end, field
        end = field.address + field.count * (2 if field.type.endswith("32") else 1)
    assert end == registers.SIZE
    assert AT["class_counts"] + registers.MAX_CLASSES <= 123  # one request of function 16 writes all results


@pytest.mark.parametrize("manual", ["modbus.md", "modbus.zh-CN.md"])
def test_manual_has_the_same_map(root: Path, manual: str) -> None:
    text = (root / "docs" / manual).read_text(encoding="utf-8")
    row = r"^\| (\d+)(?:–\d+)? \| (\d{5})(?:–\d+)? \| `(\w+)` \| (\w+)(?: × (\d+))? \| ([^|]*)\|"
    rows = re.findall(row, text, flags=re.M)
    documented = [(name, int(at), kind, unit.strip(), int(count or 1)) for at, _, name, kind, count, unit in rows]
    assert documented == [tuple(field) for field in registers.FIELDS]
    assert all(int(other) == 40001 + int(at) for at, other, *_ in rows)
    for first, names in ((0, registers.CONTROL_BITS), (16, registers.STATUS_BITS)):
        for bit, name in enumerate(names):
            assert re.search(rf"^\| {bit} \| {first + bit} \| {first + bit + 1:05} \|.* `{name}` \|", text, re.M), name


@pytest.mark.parametrize("manual", ["modbus.md", "modbus.zh-CN.md"])
def test_manual_examples_are_right(root: Path, tmp_path: Path, manual: str) -> None:
    """The C# compiles, the command lines are understood."""
    text = (root / "docs" / manual).read_text(encoding="utf-8")
    (code,) = re.findall(r"```csharp\n(.+?)```", text, flags=re.S)
    source = tmp_path / "Example.cs"
    body = f"static class Example {{ static void Main() {{ {code} }} }}"
    source.write_text(f"using System; using System.Net; using YoloQ.Modbus;\n{body}", encoding="utf-8")
    library = modbus_csharp.build("mono").with_name("YoloQ.Modbus.dll")
    dotnet.mcs(tmp_path / "Example.exe", [source], [library])
    lines = re.findall(r"^yoloq (serve .+)$", text, flags=re.M)
    assert len(lines) == 3
    for line in lines:
        arguments = shlex.split(line)
        assert cli._parser(arguments).parse_args(arguments).package == "fasteners.yoloq"


def test_only_the_wire_knows_pymodbus(root: Path) -> None:
    """The map, the bank and the handshake know no network; only what says so needs the extra."""
    folder = root / "bindings/python/yoloq/serve"
    found = {path.stem for path in folder.glob("*.py") if re.search(r"^(from|import) pymodbus", path.read_text(), re.M)}
    assert found == {"modbus_server", "modbus_client"}
    for name in ("map", "handshake", "inspection", "rules"):
        assert not re.search(r"import (socket|threading|asyncio|time)\b", (folder / f"{name}.py").read_text()), name


@pytest.mark.parametrize("order", registers.WORD_ORDERS)
def test_word_orders(order: str) -> None:
    """Against the definition: letters name the bytes of the value, most significant first."""
    values = [1.5, -123456.79, 3.4e38, 1e-30, 0.0]
    lines = modbus_csharp.run("mono", "words", text="".join(f"{order} {value}\n" for value in values))
    for value, line in zip(values, lines, strict=True):
        named = dict(zip("ABCD", struct.pack(">f", value), strict=True))
        expected = bytes(named[letter] for letter in order).hex()
        words = [0, 0]
        registers.put32(words, 0, struct.pack(">f", value), order)
        assert "".join(f"{word:04x}" for word in words) == expected
        assert registers.get32(words, 0, order) == struct.pack(">f", value)
        assert line == f"{expected[:4]} {expected[4:]} True"


# ------------------------------------------------------------------------------------------------------------ handshake


class Line:
    """A handshake and how it is looked at."""

    def __init__(self, **rules: object):
        self.bank = Bank(str(rules.get("order", "ABCD")))
        self.handshake = Handshake(self.bank, Rules(**rules))
        self.triggers: list[tuple[int, int]] = []
        self.handshake.on_trigger = lambda trigger, part: self.triggers.append((trigger, part))
        self.handshake.set_state(LinkState.READY)

    def control(self, now: int, *bits: str, part: int = 0) -> None:
        self.bank.words[registers.CONTROL] = sum(CONTROLS[bit] for bit in bits)
        self.bank.words[AT["part_in"] + 1] = part
        self.handshake.control_written(now)

    def bits(self) -> set[str]:
        return {name for name, bit in STATUS.items() if self.bank.words[AT["status"]] & bit}

    def __getitem__(self, name: str) -> int:
        at = AT[name]
        kind = next(field.type for field in registers.FIELDS if field.name == name)
        return self.bank.words[at] if kind == "uint16" else self.bank.words[at] << 16 | self.bank.words[at + 1]


def test_a_cycle_step_by_step() -> None:
    line = Line()
    assert line.bits() == {"ready"} and line["state"] == 1
    line.control(10, "trigger", part=77)
    assert line.triggers == [(1, 77)]
    assert line.bits() == {"busy"} and line["state"] == 2 and line["judgement"] == 0
    best = Best(1, 0.875, 100.25, 50, 20, 10, -12.5)
    assert line.handshake.publish(Inspection(ok=True, counts=[2, 3], best=best, trigger=1), 35)
    assert line.bits() == {"valid", "ok"} and line["state"] == 2
    assert (line["judgement"], line["sequence"], line["sequence_copy"], line["part"]) == (1, 1, 1, 77)
    assert (line["detections"], line["latency"], line["best_score"], line["best_x"]) == (5, 250, 8750, 10025)
    assert line.bank.words[AT["class_counts"] : AT["class_counts"] + 3] == [2, 3, 0]
    line.control(40, "trigger", "acknowledge")
    assert line.bits() == {"ready", "ok"} and line["state"] == 1
    line.control(50)
    assert line.bits() == {"ready", "ok"} and line.triggers == [(1, 77)]


def test_double_trigger_is_counted_not_taken() -> None:
    line = Line()
    line.control(0, "trigger")
    line.control(1)
    line.control(2, "trigger")
    assert line.triggers == [(1, 0)] and line.bits() == {"busy", "missed"} and line["missed_triggers"] == 1
    line.handshake.publish(Inspection(ok=False), 3)
    line.control(4)
    line.control(5, "trigger")  # not acknowledged yet
    assert line["missed_triggers"] == 2 and line.bits() == {"valid", "ng", "missed"}
    line.control(6)
    line.control(7, "acknowledge", "trigger")  # both at once: the old one ends, the new one begins
    assert line.triggers == [(1, 0), (2, 0)] and line.bits() == {"busy"}


def test_an_acknowledgement_left_on_does_not_hide_the_next_result() -> None:
    line = Line()
    line.control(0, "trigger", "acknowledge")
    line.handshake.publish(Inspection(ok=True), 1)
    assert "valid" in line.bits()


def test_missing_acknowledgement() -> None:
    line = Line(acknowledge_ms=100)
    line.control(0, "trigger")
    line.handshake.publish(Inspection(ok=True), 10)
    line.handshake.tick(109)
    assert "valid" in line.bits()
    line.handshake.tick(110)
    assert line.bits() == {"ready", "ok", "error"} and (line["error"], line["unread_results"]) == (2, 1)
    line.control(111)
    line.control(112, "trigger")
    assert line["error"] == 0 and line.bits() == {"busy"}


def test_no_result_in_time_is_an_error_and_the_late_one_is_dropped() -> None:
    line = Line(inspection_ms=100)
    line.control(0, "trigger", part=5)
    line.handshake.tick(100)
    assert line.bits() == {"valid", "ng", "error"} and (line["judgement"], line["error"], line["part"]) == (3, 1, 5)
    line.control(101, "acknowledge")
    line.control(102, "trigger", part=6)
    assert not line.handshake.publish(Inspection(ok=True, trigger=1), 103)
    assert line.bits() == {"busy"} and line["unread_results"] == 1
    assert line.handshake.publish(Inspection(ok=True, trigger=2), 104)
    assert line["part"] == 6 and line["inspected"] == 2 and line["error_total"] == 1 and line["ok_total"] == 1


def test_a_result_of_the_clock_never_answers_a_trigger() -> None:
    line = Line()
    assert line.handshake.publish(Inspection(ok=True, trigger=NO_TRIGGER), 0)
    assert line.bits() == {"ready", "valid", "ok"} and line["sequence"] == 1
    line.control(1, "trigger", part=7)
    before = list(line.bank.words)
    assert not line.handshake.publish(Inspection(ok=True, counts=[5], trigger=NO_TRIGGER), 2)
    assert line.bank.words == before and line.bits() == {"busy"}
    assert line.handshake.publish(Inspection(ok=False, trigger=1), 3)
    before = list(line.bank.words)
    assert not line.handshake.publish(Inspection(ok=True, counts=[5], trigger=NO_TRIGGER), 4)  # not read yet
    assert line.bank.words == before and line.bits() == {"valid", "ng"} and line["part"] == 7
    line.control(5, "acknowledge")
    assert line.handshake.publish(Inspection(ok=True, trigger=NO_TRIGGER), 6)
    assert line.bits() == {"ready", "valid", "ok"} and line["sequence"] == 3 and line["unread_results"] == 0


def test_without_acknowledgement_triggers_follow_each_other() -> None:
    line = Line(require_acknowledge=False)
    for number in (1, 2, 3):
        line.control(10 * number, "trigger")
        assert line.handshake.publish(Inspection(ok=True), 10 * number + 1)
        assert line.bits() == {"ready", "valid", "ok"} and line["sequence"] == number
        line.control(10 * number + 2)


def test_idle_and_alarm_refuse_triggers() -> None:
    line = Line()
    for state, bits in ((LinkState.IDLE, {"missed"}), (LinkState.ALARM, {"missed", "alarm", "error"})):
        line.handshake.set_state(state, 104)
        line.control(1, "trigger")
        line.control(2)
        assert line.triggers == [] and line.bits() == bits
    assert line["error"] == 104 and line["state"] == 3
    line.control(3, "reset_error", "reset_counters")
    assert line["missed_triggers"] == 0 and line.bits() == {"alarm", "error"}  # the host's alarm is the host's to end


def test_released_control_falls_silently() -> None:
    line = Line()
    line.control(0, "trigger")
    line.handshake.control_released()
    assert line.bank.words[registers.CONTROL] == 0 and line.bits() == {"busy"}
    line.handshake.publish(Inspection(ok=True), 1)
    line.control(2, "acknowledge")
    line.control(3, "acknowledge", "trigger")
    assert [trigger for trigger, _ in line.triggers] == [1, 2]


def random_event(dice: random.Random) -> tuple[str, dict[str, object]]:
    kind = dice.choices(["control", "released", "state", "result", "tick", "beat"], [8, 1, 1, 6, 4, 1])[0]
    if kind == "control":
        return kind, {"value": dice.getrandbits(4) & dice.getrandbits(4), "part": dice.randrange(65536)}
    if kind == "state":
        return kind, {"value": dice.choice([0, 1, 1, 1, 2, 3]), "code": dice.choice([0, 104, 70000])}
    if kind != "result":
        return kind, {}
    values: dict[str, object] = {"ok": dice.randrange(2), "error": dice.choice([0, 0, 0, 10])}
    values["trigger"] = dice.choice([0, 0, NO_TRIGGER, 1, 2, 3, 5, 8])
    values["sequence"] = dice.choice([0, 0, 0, 4000000000])
    if dice.random() < 0.7:
        values["counts"] = ",".join(str(dice.choice([0, 1, 7, 70000, -3])) for _ in range(dice.choice([1, 3, 64, 70])))
    if dice.random() < 0.7:
        edges = [dice.uniform(-1e3, 1e5), 1e12, -1e12, 0.005, 12.345]
        numbers = [round(dice.choice(edges), 3) for _ in range(4)]
        values["best"] = ",".join(map(str, [dice.choice([0, 5, 40000]), round(dice.random(), 5), *numbers, -179.99]))
    if dice.random() < 0.3:
        values["latency"] = dice.choice([0.04, 12.25, 99999])
    if dice.random() < 0.1:
        values["state"] = dice.choice([1, 3])
    return kind, values


def result_of(values: dict[str, object]) -> Inspection:
    best = None
    if "best" in values:
        numbers = [float(text) for text in str(values["best"]).split(",")]
        best = Best(int(numbers[0]), *numbers[1:])
    return Inspection(
        ok=bool(values["ok"]),
        error=values["error"],
        counts=[int(text) for text in str(values["counts"]).split(",")] if "counts" in values else [],
        best=best,
        trigger=values["trigger"],
        sequence=values["sequence"],
        latency_ms=values.get("latency"),
        state=LinkState(values["state"]) if "state" in values else None,
    )


def apply(line: Line, events: list[str], now: int, kind: str, values: dict[str, object]) -> None:
    if kind == "control":
        line.bank.words[registers.CONTROL] = values["value"]
        line.bank.words[AT["part_in"]] = values["part"]
        line.handshake.control_written(now)
    elif kind == "released":
        line.handshake.control_released()
    elif kind == "state":
        line.handshake.set_state(LinkState(values["value"]), values["code"])
    elif kind == "result":
        events.append("shown" if line.handshake.publish(result_of(values), now) else "dropped")
    elif kind == "tick":
        line.handshake.tick(now)
    else:
        line.handshake.beat()


@pytest.mark.parametrize(
    ("runtime", "seed", "order", "ack"),
    [("mono", 1, "ABCD", 1), ("coreclr", 2, "CDAB", 1), ("mono", 3, "DCBA", 0), ("coreclr", 4, "BADC", 0)],
)
def test_csharp_and_python_do_the_same(runtime: str, seed: int, order: str, ack: int) -> None:
    dice = random.Random(seed)
    line = Line(order=order, require_acknowledge=bool(ack), acknowledge_ms=80, inspection_ms=120)
    line.handshake.set_state(LinkState.IDLE)
    events: list[str] = []
    line.handshake.on_trigger = lambda trigger, part: events.append(f"triggered:{trigger}:{part}")
    line.handshake.on_reset = lambda: events.append("reset")
    now, script, expected = 0, [], []
    for _ in range(3000):
        now += dice.choice([0, 1, 5, 40])
        kind, values = random_event(dice)
        script.append(" ".join([str(now), kind, *(f"{key}={value}" for key, value in values.items())]))
        events.clear()
        apply(line, events, now, kind, values)
        expected.append(" ".join(["".join(f"{word:04x}" for word in line.bank.words), *events]))
    rules = (f"order={order}", f"ack={ack}", "ack_ms=80", "inspect_ms=120")
    answers = modbus_csharp.run(runtime, "handshake", *rules, text="\n".join(script) + "\n")
    for step, answer, wanted in zip(script, answers, expected, strict=True):
        assert answer == wanted, step
    for what in ("triggered", "reset", "shown", "dropped"):
        assert sum(what in answer for answer in answers) > 50, what
