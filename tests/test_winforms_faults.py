# SPDX-License-Identifier: Apache-2.0
"""The sample host when things are wrong, when it runs for long, and with a PLC."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from modbus_peer import Plc, client, free_port, wait_for
from winforms import Host, screen, write_settings
from yoloq.serve.map import AT, CONTROL, CONTROLS, STATUS

MakePackage = Callable[..., Path]
FRAMES = 3000


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    with screen() as name:
        yield name


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small pictures of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(1)
    for number in range(10):
        assert cv2.imwrite(str(folder / f"{number}.png"), noise.integers(0, 256, (60, 80, 3), np.uint8))
    return folder


def settings_for(folder: Path, **values: object) -> Path:
    values = {"Language": "en", "Backend": "dummy", "NgFolder": str(folder / "ng"), **values}
    return write_settings(folder / "settings.json", **values)


def test_damaged_settings_do_not_stop_the_start(display: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"Rate": 7, "Rules": [', encoding="utf-8")
    with Host(display, settings, "--language", "en") as host:
        assert host.wait(lambda status: status["log"])["state"] == "Empty"
        assert "defaults are used" in host.log("log.settings_damaged")[0]
        host.quit()
    assert json.loads(settings.read_text(encoding="utf-8"))["Rate"] == 10
    assert (tmp_path / "settings.json.damaged").read_text(encoding="utf-8") == '{"Rate": 7, "Rules": ['


def test_what_cannot_be_opened_is_said_in_the_log(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    """And the next good package and source work."""
    package = make_dummy_package()
    altered = tmp_path / "altered.yoloq"
    shutil.copytree(package, altered)
    (altered / "model.bin").write_bytes(b"other bytes than the manifest's")
    empty = tmp_path / "empty"
    empty.mkdir()
    with Host(display, settings_for(tmp_path), "--package", tmp_path / "absent.yoloq", "--source", empty) as host:
        host.wait(lambda status: len([line for line in status["log"] if "_failed|" in line]) == 2)
        assert "absent.yoloq" in host.log("log.package_failed")[0] and "no pictures" in host.log("log.source_failed")[0]
        host.wait_for_control("run", enabled=False)
        host.ask(f"open-package {altered}")
        host.wait(lambda _: len(host.log("log.package_failed")) == 2)
        assert "model.bin" in host.log("log.package_failed")[1]
        host.ask(f"open-package {package}")
        host.ask(f"open-source {pictures}")
        host.wait(lambda status: status["state"] == "Ready" and status["inspected"])
        host.click("run")
        host.wait(lambda status: status["ok"] > 3)
        host.ask(f"open-package {altered}")  # while it runs
        host.wait(lambda status: status["state"] == "Empty" and status["model"] == "" and not status["inspected"])
        host.quit()


def test_a_missing_native_library_is_said_in_the_log(display: str, tmp_path: Path) -> None:
    with Host(
        display, settings_for(tmp_path), "--package", tmp_path, YOLOQ_LIBRARY=str(tmp_path / "libyoloq.so")
    ) as host:
        host.wait(lambda _: host.log("log.package_failed"))
        host.click("openSettings")  # lists the backends, of which there are none
        host.wait_for_control("settingsOk")
        host.quit()


def test_a_failing_device_raises_a_fault_and_recovers(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    options = {"dummy.fail_every": "5", "dummy.temperature_c": "61", "dummy.power_w": "12"}
    package = make_dummy_package(name="failing", options=options)
    settings = settings_for(tmp_path, Rate=50)
    with Host(display, settings, "--package", package, "--source", pictures, "--start") as host:
        status = host.wait(lambda status: status["errors"] >= 2 and status["ok"] >= 5)
        assert status["alarm"] == "Active" and status["state"] == "Running"
        assert host.log("log.inspection_failed") and host.log("log.recovered")
        host.wait(lambda _: "health.temperature=61.0 °C" in host.control("health")["value"])
        assert "health.load=;" in host.control("health")["value"], "a sensor that is not there shows no number"
        host.quit()


def test_unreadable_pictures_are_skipped(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    (folder / "3.png").write_bytes(b"no picture")
    settings = settings_for(tmp_path, Rate=100, Loop=False)
    with Host(display, settings, "--package", make_dummy_package(), "--source", folder, "--start") as host:
        host.wait(lambda _: host.log("log.end"))
        status = host.wait(lambda status: status["state"] == "Ready")
        assert (status["ok"] + status["ng"], status["errors"]) == (9, 1)
        assert "3.png" in host.log("log.picture_failed")[0]
        host.quit()


def test_thousands_of_frames_leave_nothing_behind(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every picture is NG and saved, the limit reached early: memory stays where it was after the first thousand."""
    package = make_dummy_package(name="busy", size=64)
    rules = [{"ClassName": "", "Count": 1, "MinScore": 0, "Enabled": True}]
    settings = settings_for(tmp_path, Rate=500, Rules=rules, NgLimitMegabytes=1)
    with Host(display, settings, "--package", package, "--source", pictures, "--start") as host:
        host.wait(lambda status: status["ng"] > FRAMES / 3, seconds=80)
        host.ask("collect")
        before = host.status()
        host.wait(lambda status: status["ng"] > FRAMES, seconds=120)
        host.ask("collect")
        after = host.status()
        host.quit()
    growth = {key: (after[key] - before[key]) / 2**20 for key in ("managed_bytes", "process_bytes")}
    with capsys.disabled():
        print(f"\n  {after['ng'] - before['ng']} frames: managed {growth['managed_bytes']:+.1f} MB,", end=" ")
        print(f"process {growth['process_bytes']:+.1f} MB", end=" ")
    assert growth["managed_bytes"] < 3 and growth["process_bytes"] < 24
    assert after["saved"] > 0 and len(after["log"]) <= 500
    assert sum(file.stat().st_size for file in (tmp_path / "ng").iterdir()) <= 2**20


def test_a_plc_triggers_and_gets_the_result(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    port = free_port()
    plc = {"Enabled": True, "Server": True, "Host": "127.0.0.1", "Port": port, "Triggered": True}
    settings = settings_for(tmp_path, Plc=plc, Rules=[{"ClassName": "", "Count": 1, "MinScore": 0}])
    with Host(display, settings, "--package", make_dummy_package(), "--source", pictures) as host:
        host.wait(lambda status: status["inspected"] and status["plc"] == "Waiting" and host.log("log.plc_serving"))
        with client(port) as peer:
            host.wait(lambda status: status["plc"] == "Connected")
            host.wait(lambda _: host.control("plcLamp")["value"] == "Connected")
            host.click("run")
            wait_for(lambda: register(peer, "status") & STATUS["ready"])
            assert host.status()["ng"] == 0, "nothing is inspected before the PLC asks"
            for number in (1, 2, 3):
                write_control(peer, CONTROLS["trigger"])
                wait_for(lambda: register(peer, "status") & STATUS["valid"])
                assert register(peer, "status") & STATUS["ng"] and register(peer, "detections") > 0
                write_control(peer, CONTROLS["acknowledge"])
                wait_for(lambda: not register(peer, "status") & STATUS["valid"])
                write_control(peer, 0)
                wait_for(lambda: register(peer, "status") & STATUS["ready"])
                assert host.status()["ng"] == number
        host.wait(lambda status: status["plc"] == "Waiting")
        host.quit()


def test_a_plc_asks_while_the_line_runs_by_itself(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    """A picture taken before the trigger is no answer to it: its part's number comes with one taken after."""
    port = free_port()
    plc = {"Enabled": True, "Server": True, "Host": "127.0.0.1", "Port": port, "Triggered": False}
    settings = settings_for(tmp_path, Plc=plc, Rate=0.1)
    package = make_dummy_package(name="slow", options={"dummy.delay_ms": "300"})
    with Host(display, settings, "--package", package, "--source", pictures, "--start") as host:
        host.wait(lambda status: host.log("log.plc_serving") and status["ok"] + status["ng"] > 0)
        with client(port) as peer:
            for part in (1, 2, 3):
                assert not peer.write_registers(CONTROL, [CONTROLS["trigger"], 0, 0, part]).isError()
                wait_for(lambda: register(peer, "status") & STATUS["valid"], 20)
                seen = peer.read_holding_registers(0, count=50).registers
                assert (seen[AT["part"] + 1], seen[AT["error"]]) == (part, 0) and seen[AT["latency"]] >= 3000
                write_control(peer, CONTROLS["acknowledge"])
        host.quit()


def test_as_client_of_a_plc_that_goes_and_comes(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    """The host connects to the PLC's own server, is triggered there, writes there; the PLC is cut off and returns."""
    port = free_port()
    settings = settings_for(
        tmp_path,
        Plc={"Enabled": True, "Server": False, "Host": "127.0.0.1", "Port": port, "Unit": 1, "Triggered": True},
        Rules=[{"ClassName": "", "Count": 1, "MinScore": 0}],
    )
    with Host(display, settings, "--package", make_dummy_package(), "--source", pictures) as host:
        host.wait(lambda status: status["inspected"] and status["plc"] == "Waiting" and host.log("log.plc_connecting"))
        for round in (0, 1):
            with Plc(port) as plc:  # all zero each time: a PLC that has lost its power
                host.wait(lambda status: status["plc"] == "Connected")
                host.wait(lambda _: host.control("plcLamp")["value"] == "Connected")
                if round == 0:
                    host.click("run")
                wait_for(lambda: plc.words[AT["status"]] & STATUS["ready"])
                for number in (1, 2):
                    part = 10 * round + number
                    plc.words[CONTROL : CONTROL + 4] = [CONTROLS["trigger"], 0, 0, part]
                    wait_for(lambda: plc.words[AT["status"]] & STATUS["valid"])
                    assert plc.words[AT["status"]] & STATUS["ng"] and plc.words[AT["detections"]] > 0
                    assert plc.words[AT["part"] + 1] == part and plc.words[AT["judgement"]] == 2
                    plc.words[CONTROL] = CONTROLS["acknowledge"]
                    wait_for(lambda: not plc.words[AT["status"]] & STATUS["valid"])
                    plc.words[CONTROL] = 0
                    wait_for(lambda: plc.words[AT["status"]] & STATUS["ready"])
                    assert host.status()["ng"] == 2 * round + number
            host.wait(lambda status: status["plc"] == "Waiting")
            assert len(host.log("log.plc_on")) == len(host.log("log.plc_off")) == round + 1
        host.quit()


def test_a_disk_that_hangs_does_not_hold_up_the_window(display: str, tmp_path: Path) -> None:
    """The settings are written into a pipe that nobody reads."""
    settings = settings_for(tmp_path)
    pipe = settings.with_name("settings.json.part")
    os.mkfifo(pipe)
    with Host(display, settings) as host:
        host.wait(lambda status: status["log"])
        host.click("language")
        time.sleep(2)  # it saves a second later
        host.ask("reset-heartbeat")
        host.wait(lambda status: status["beats"] > 20)
        assert host.wait_for_control("run", enabled=False)["text"] == "启动"
        with pipe.open("rb") as reader:
            assert json.loads(reader.read())["Language"] == "zh"
        pipe.unlink(missing_ok=True)
        host.quit()


def test_commands_after_the_window_has_closed(
    display: str, make_dummy_package: MakePackage, pictures: Path, tmp_path: Path
) -> None:
    """A supervisor that still asks while the last picture is being finished does not bring the program down."""
    package = make_dummy_package(name="last", options={"dummy.delay_ms": "1500"})
    settings = settings_for(tmp_path, Rate=100)
    with Host(display, settings, "--package", package, "--source", pictures, "--start") as host:
        host.wait(lambda status: status["ok"] + status["ng"] > 0)
        host.write("quit")
        with suppress(BrokenPipeError):
            while host.is_running():
                host.write("reset-heartbeat")
                time.sleep(0.005)
        assert host.exit_code() == 0, host.errors()
        assert "Exception" not in host.errors()


def register(peer: object, name: str) -> int:
    return peer.read_holding_registers(AT[name], count=1).registers[0]


def write_control(peer: object, value: int) -> None:
    assert not peer.write_register(CONTROL, value).isError()


def test_wrong_words_are_answered_with_the_usage(display: str, tmp_path: Path) -> None:
    for words in (["--nonsense", "1"], ["--package"], ["--size", "large"]):
        with Host(display, tmp_path / "settings.json", *words) as host:
            assert host.exit_code() == 2 and "usage: YoloQ.WinForms" in host.errors()
