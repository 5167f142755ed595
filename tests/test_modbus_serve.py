# SPDX-License-Identifier: Apache-2.0
"""`yoloq serve` as it is run: pictures in, a PLC played by pymodbus at the other end."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pymodbus.client import ModbusTcpClient

import yoloq
from modbus_peer import HOST, Plc, client, wait_for
from modbus_pictures import put
from yoloq.cli import main
from yoloq.errors import InvalidArgument
from yoloq.files import read_picture
from yoloq.result import Detection
from yoloq.serve.map import AT, CONTROL
from yoloq.serve.rules import broken, parse_rule
from yoloq.serve.sources import open_source

NAMES = ["bolt", "nut", "washer"]


@pytest.fixture(scope="module")
def package(make_dummy_package: Callable[..., Path]) -> Path:
    return make_dummy_package(name="line", classes=NAMES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "图片"
    made.mkdir()
    return made


class Serve:
    """A running `yoloq serve --json`."""

    def __init__(self, *arguments: object):
        command = [sys.executable, "-m", "yoloq", "serve", *map(str, arguments), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.started = self.event("started")
        self.port = int(self.started["modbus"].rpartition(":")[2])

    def _read(self) -> None:
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": ""})

    def event(self, name: str, wait: float = 20.0) -> dict[str, Any]:
        """The next event of this name; others are passed over."""
        while (event := self._events.get(timeout=wait))["event"] != name:
            assert event["event"], f"it has ended without {name}: {self.process.stderr.read()}"
        return event

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def serve(package: Path, folder: Path) -> Iterator[Callable[..., Serve]]:
    """serve(*more) on the folder, as server on a free port, with the dummy backend."""
    running: list[Serve] = []

    def start(*more: object, address: tuple[object, ...] = ("--modbus", f"{HOST}:0")) -> Serve:
        running.append(Serve(package, "--source", folder, *address, "--backend", "dummy", *more))
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__()


def words(plc: ModbusTcpClient) -> list[int]:
    return plc.read_holding_registers(0, count=114).registers


def is_valid(plc: ModbusTcpClient) -> bool:
    return plc.read_discrete_inputs(2, count=1).bits[0]


def single(seen: list[int], name: str) -> float:
    return struct.unpack(">f", struct.pack(">2H", *seen[AT[name] : AT[name] + 2]))[0]


def test_triggered_inspections_step_by_step(package: Path, folder: Path, serve: Callable[..., Serve]) -> None:
    """What the PLC reads is what the detector says of the same file."""
    line = serve("--ng", "bolt>0", "--ng", "nut<1")
    with yoloq.Detector(package, backend="dummy") as detector, client(line.port) as plc:
        for number in (1, 2, 3):
            put(folder, f"stale{number}.png", seed=77)  # nobody asked for this one
            time.sleep(0.01)
            path = put(folder, f"零件{number}.png", seed=number)
            plc.write_registers(CONTROL, [1, 0, 0, 500 + number])
            wait_for(lambda: is_valid(plc))
            seen = words(plc)
            result = detector.detect(np.asarray(read_picture(path)), format="RGB")
            counts = [sum(found.class_id == each for found in result) for each in range(3)]
            assert seen[AT["class_counts"] : AT["class_counts"] + 4] == [*counts, 0]
            assert seen[AT["class_count"]] == 3 and seen[AT["detections"]] == len(result)
            assert seen[AT["part"] + 1] == 500 + number and seen[AT["sequence"] + 1] == number
            assert seen[AT["judgement"]] == (2 if counts[0] > 0 or counts[1] < 1 else 1)
            best = result[0]
            assert seen[AT["best_class"]] == best.class_id
            assert single(seen, "best_score_float") == pytest.approx(best.score, abs=1e-6)
            assert single(seen, "best_x_float") == pytest.approx((best.x1 + best.x2) / 2, abs=1e-4)
            assert single(seen, "best_height_float") == pytest.approx(best.y2 - best.y1, abs=1e-4)
            event = line.event("result")
            assert (event["picture"], event["part"], event["trigger"]) == (path.name, 500 + number, number)
            plc.write_register(CONTROL, 2)
            assert plc.read_discrete_inputs(0, count=3).bits[:3] == [True, False, False]
            plc.write_register(CONTROL, 0)


def test_the_demo_model(demo_package: Path, root: Path, folder: Path) -> None:
    """The real engine, end to end."""
    arguments = (demo_package, "--source", folder, "--modbus", f"{HOST}:0", "--ng", "scratch@0.5")
    picture = sorted((root / "datasets" / "fasteners" / "images" / "val").glob("*.jpg"))[0]
    with Serve(*arguments) as line, client(line.port) as plc, yoloq.Detector(demo_package) as detector:
        plc.write_coil(0, True)
        (folder / ".now").write_bytes(picture.read_bytes())
        (folder / ".now").rename(folder / "now.jpg")
        wait_for(lambda: is_valid(plc), 20)
        result = detector.detect(np.asarray(read_picture(picture)), format="RGB")
        seen = words(plc)
        assert seen[AT["detections"]] == len(result) > 3
        names = list(detector.class_names)
        scratches = sum(found.class_id == names.index("scratch") and found.score >= 0.5 for found in result)
        assert seen[AT["judgement"]] == (2 if scratches else 1)
        assert seen[AT["class_counts"] + names.index("scratch")] == sum(found.name == "scratch" for found in result)


def test_at_a_set_rate_each_picture_once(folder: Path, serve: Callable[..., Serve]) -> None:
    put(folder, "old.png")
    line = serve("--rate", 50)
    with client(line.port) as plc:
        assert words(plc)[AT["state"]] == 2
        for number in range(5):
            put(folder, f"{number}.png", seed=number)
            assert line.event("result")["picture"] == f"{number}.png"
        put(folder, "3.png", seed=99)  # written anew
        assert line.event("result")["picture"] == "3.png"
        with pytest.raises(queue.Empty):
            line.event("result", 0.3)
        assert words(plc)[AT["sequence"] + 1] == 6 and is_valid(plc)


def test_a_trigger_beside_the_clock_gets_its_own_answer(make_dummy_package: Callable[..., Path], folder: Path) -> None:
    """A picture that the clock took before the trigger came, and is still inspected, is no answer to it."""
    package = make_dummy_package(name="slow", classes=NAMES, options={"dummy.delay_ms": "300"})
    arguments = (package, "--source", folder, "--modbus", f"{HOST}:0", "--backend", "dummy", "--rate", 100)
    with Serve(*arguments) as line, client(line.port) as plc:
        for part in (1, 2, 3):
            put(folder, f"clock{part}.png")
            time.sleep(0.1)  # the clock has taken it
            plc.write_registers(CONTROL, [1, 0, 0, part])
            put(folder, f"asked{part}.png")
            wait_for(lambda: is_valid(plc))
            shown = words(plc)
            while "part" not in (event := line.event("result")):
                assert event["picture"].startswith("clock")
            assert (event["part"], shown[AT["part"] + 1], shown[AT["sequence"] + 1]) == (part, part, event["sequence"])
            plc.write_register(CONTROL, 2)


def test_existing_pictures_on_demand(folder: Path, serve: Callable[..., Serve]) -> None:
    for number in range(3):
        put(folder, f"{number}.png", seed=number)
        time.sleep(0.01)
    line = serve("--rate", 100, "--existing")
    assert [line.event("result")["picture"] for _ in range(3)] == ["0.png", "1.png", "2.png"]


def test_no_picture_and_broken_pictures_are_errors(folder: Path, serve: Callable[..., Serve]) -> None:
    line = serve("--picture-timeout", 0.2)
    with client(line.port) as plc:
        plc.write_coil(0, True)
        wait_for(lambda: is_valid(plc))
        assert (words(plc)[AT["judgement"]], words(plc)[AT["error"]]) == (3, 10)
        assert plc.read_discrete_inputs(0, count=6).bits[3:6] == [False, True, True]
        assert "no picture within 0.2 s" in line.event("error")["reason"]
        plc.write_register(CONTROL, 2)
        path = folder / "broken.png"
        path.write_bytes(b"this is no picture")
        os.utime(path, (time.time() - 10, time.time() - 10))  # not half written: nobody writes it any more
        plc.write_register(CONTROL, 1)
        assert "broken.png" in line.event("error")["reason"]
        plc.write_register(CONTROL, 2)
        put(folder, "good.png")
        plc.write_register(CONTROL, 1)
        assert line.event("result")["sequence"] == 3


def test_a_failing_detector_is_an_error_and_the_line_goes_on(
    make_dummy_package: Callable[..., Path], folder: Path
) -> None:
    package = make_dummy_package(name="failing", classes=NAMES, options={"dummy.fail_every": "2"})
    arguments = (package, "--source", folder, "--modbus", f"{HOST}:0", "--backend", "dummy", "--rate", 50)
    with Serve(*arguments) as line, client(line.port) as plc:
        events = []
        for number in range(4):
            put(folder, f"{number}.png", seed=number)
            wait_for(lambda: words(plc)[AT["sequence"] + 1] > len(events))
            events.append(words(plc)[AT["error"]])
        assert sorted(events) == [0, 0, 11, 11]


def test_ng_pictures_are_kept(folder: Path, tmp_path: Path, serve: Callable[..., Serve]) -> None:
    line = serve("--rate", 200, "--ng", "*>0", "--save-ng", tmp_path / "ng")
    events = []
    for number in range(8):
        put(folder, f"{number}.png", seed=number)
        events.append(line.event("result"))
        assert events[-1]["judgement"] == "NG" and events[-1]["reasons"] == ["*>0"]
    assert line.stop() == 0
    for event in events:
        (kept,) = (tmp_path / "ng").glob(f"*-{event['sequence']}.png")
        assert kept.read_bytes() == (folder / event["picture"]).read_bytes()
        about = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        assert about["file"] == kept.name and about["picture"] == event["picture"]
        assert len(about["detections"]) == sum(event["counts"].values()) > 0
    assert len(list((tmp_path / "ng").iterdir())) == 16  # and nothing half written


def test_a_signal_at_any_moment_ends_it(folder: Path, serve: Callable[..., Serve]) -> None:
    """Also one that comes while another is handled, or in the middle of a wait."""
    line = serve("--rate", 1000)
    for _ in range(50):
        line.process.send_signal(signal.SIGTERM)
        time.sleep(0.0005)
    assert line.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_with_a_plc_connected(folder: Path, serve: Callable[..., Serve], number: int) -> None:
    line = serve()
    with client(line.port) as plc:
        assert words(plc)[AT["state"]] == 1
        start = time.monotonic()
        assert line.stop(number) == 0
        assert time.monotonic() - start < 5
        assert line.event("stopped") and line.process.stderr.read() == ""


def test_it_survives_a_plc_that_is_cut_off(folder: Path, serve: Callable[..., Serve]) -> None:
    line = serve()
    plc = client(line.port)
    plc.write_coil(0, True)
    plc.socket.close()
    assert line.event("plc")["connected"] is True
    assert line.event("plc")["connected"] is False
    put(folder, "a.png")
    assert line.event("result")["trigger"] == 1
    with client(line.port) as plc:
        assert is_valid(plc)  # it has waited
        plc.write_coil(1, True)
        plc.write_coil(0, True)
        put(folder, "b.png")
        assert line.event("result")["trigger"] == 2


def test_as_client_of_the_plc(folder: Path, serve: Callable[..., Serve]) -> None:
    with Plc() as plc:
        line = serve("--results-at", 10, "--control-at", 200, address=("--plc", f"{HOST}:{plc.port}"))
        wait_for(lambda: plc.words[10 + AT["status"]] & 1)
        put(folder, "a.png")
        plc.words[200:204] = [1, 0, 0, 42]
        wait_for(lambda: plc.words[10 + AT["status"]] & 4)
        assert plc.words[10 + AT["part"] + 1] == 42
        assert line.stop() == 0
        assert plc.words[10 + AT["state"]] == 0


def test_a_video_file_to_its_end(package: Path, tmp_path: Path) -> None:
    video = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for seed in range(4):
        writer.write(np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8))
    writer.release()
    arguments = (package, "--source", video, "--modbus", f"{HOST}:0", "--backend", "dummy", "--rate", 100)
    with Serve(*arguments) as line:
        assert [line.event("result")["picture"] for _ in range(4)] == [f"line.avi-{n}" for n in (1, 2, 3, 4)]
        assert line.event("ended") and line.process.wait(20) == 0


class Camera:
    """A network camera: motion JPEG over HTTP, the frame's number as its gray value."""

    def __init__(self, port: int = 0):
        self._listener = socket.create_server((HOST, port))
        self.port = self._listener.getsockname()[1]
        self.number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
                with connection:
                    self._send(connection)
            except OSError:
                pass

    def _send(self, connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        while not self._stop.wait(0.02):
            self.number += 1
            frame = np.full((120, 160, 3), self.number % 256, np.uint8)
            data = cv2.imencode(".jpg", frame)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data + b"\r\n")


def test_a_camera_gives_new_frames_and_comes_back() -> None:
    with Camera() as camera:
        source = open_source(f"http://{HOST}:{camera.port}/video.mjpg", existing=False)
        assert wait_for(lambda: source.take(0.5, newest=True))
        numbers = []
        for _ in range(5):
            asked = camera.number % 256
            gray = int(source.take(2, newest=True).pixels[60, 80, 0])
            assert (gray - asked + 4) % 256 < 128, "not a new one"  # the stream's decoder is a frame or two late
            numbers.append(gray)
            time.sleep(0.2)  # ten frames that nobody takes
        assert len(set(numbers)) == 5
    assert wait_for(lambda: source.take(0.3, newest=True) is None)
    with Camera(camera.port):
        assert wait_for(lambda: source.take(0.5, newest=True), 20)
    source.close()


# ---------------------------------------------------------------------------------------------------------------- parts


def seen(*scores_of: tuple[int, float]) -> list[Detection]:
    return [Detection(0, 0, 1, 1, score, class_id, NAMES[class_id]) for class_id, score in scores_of]


@pytest.mark.parametrize(
    ("rule", "found", "is_ng"),
    [
        ("bolt", [], False),
        ("bolt", [(0, 0.3)], True),
        ("bolt", [(1, 0.9)], False),
        ("0", [(0, 0.3)], True),
        ("*", [(2, 0.3)], True),
        ("bolt@0.5", [(0, 0.3)], False),
        ("bolt@.5", [(0, 0.5)], True),
        ("bolt>1", [(0, 0.3)], False),
        ("bolt>1", [(0, 0.3), (0, 0.4)], True),
        ("bolt!=2", [(0, 0.3), (0, 0.4)], False),
        ("bolt!=2@0.35", [(0, 0.3), (0, 0.4)], True),
        ("nut<1", [(0, 0.3)], True),
        ("nut<=1", [(1, 0.3), (1, 0.3)], False),
        (" nut >= 2", [(1, 0.3), (1, 0.3)], None),
        ("nut=0", [], True),
    ],
)
def test_ng_rules(rule: str, found: list[tuple[int, float]], is_ng: bool | None) -> None:
    if is_ng is None:
        with pytest.raises(InvalidArgument):
            parse_rule(rule, NAMES)
        return
    assert broken([parse_rule(rule, NAMES)], seen(*found)) == ([rule] if is_ng else [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--modbus 1 --plc x", "not allowed with argument --modbus"),
        ("--modbus x:y", "write it as 1502 or 192.168.0.10:502"),
        ("--plc 10.0.0.1:0", "write it as 192.168.0.10"),
        ("--modbus 0 --unit 300", "300 is not between 0 and 255"),
        ("", "one of the arguments --modbus --plc is required"),
    ],
)
def test_bad_usage_is_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "p.yoloq", "--source", "x", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ng", "scrach", "--modbus", "0"], "names 'scrach', which is no class of this package: bolt, nut, washer"),
        (["--plc", "127.0.0.1", "--control-at", "50"], "--control-at lies within the results"),
        (["--modbus", "0", "--picture-timeout", "10"], "--picture-timeout must be below --inspection-timeout"),
    ],
)
def test_errors_are_one_line(
    package: Path, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(package), "--source", str(folder), "--backend", "dummy", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
