# SPDX-License-Identifier: Apache-2.0
"""The WinForms sample host: compiled, started on a screen of its own, asked and clicked."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from conftest import BUILD, ROOT

sys.path.insert(0, str(ROOT / "tools"))
dotnet: Any = importlib.import_module("dotnet")

FOLDER = ROOT / "build" / "dotnet" / "winforms"
HOST = "YoloQ.WinForms"
FRAMEWORK = ("System.Runtime.Serialization", "System.Xml")
TIME_LIMIT_S = 240  # of a program; what is waited for comes in a fraction of it, unless the machine is busy
Place = tuple[int, int, int, int]


@cache
def libraries() -> list[Path]:
    """YoloQ.Net.dll and YoloQ.Modbus.dll for the .NET Framework, beside the programs."""
    modbus = dotnet.csc(dotnet.WORK / "net462" / "YoloQ.Modbus.dll", dotnet.sources("YoloQ.Modbus"), dotnet.NET462)
    FOLDER.mkdir(parents=True, exist_ok=True)
    copies = []
    for library in (dotnet.library(dotnet.NET462), modbus):
        copies.append(FOLDER / library.name)
        if not copies[-1].exists() or copies[-1].read_bytes() != library.read_bytes():
            copies[-1].write_bytes(library.read_bytes())
    return copies


def framework(*names: str) -> list[Path]:
    return [dotnet.MONO_API / f"{name}.dll" for name in names]


@cache
def host_program() -> Path:
    """The host, compiled by the official compiler for .NET Framework 4.6.2."""
    project = ROOT / "bindings" / "csharp" / HOST
    options = ["-target:winexe", f"-win32manifest:{project / 'app.manifest'}"]
    references = [*libraries(), *framework(*FRAMEWORK, "System.Windows.Forms")]
    return dotnet.csc(FOLDER / f"{HOST}.exe", dotnet.sources(HOST), dotnet.NET462, references, options)


def model_tests() -> Path:
    """Tests of what needs no screen; what they see of the host is compiled without System.Windows.Forms."""
    host = ROOT / "bindings" / "csharp" / HOST
    rooms = [
        host / "Texts.cs",
        host / "Views" / "LabelPlaces.cs",
        *(path for room in ("Model", "Inspection") for path in (host / room).glob("*.cs")),
    ]
    sources = [*sorted(rooms), *dotnet.sources(f"{HOST}.Tests")]
    references = [*libraries(), *framework(*FRAMEWORK)]
    return dotnet.csc(FOLDER / f"{HOST}.Tests.exe", sources, dotnet.NET462, references, ["-target:exe"])


def environment(display: str = "", **more: str) -> dict[str, str]:
    library = str(BUILD / "lib" / "libyoloq.so")
    return {**os.environ, "LANG": "C.UTF-8", "YOLOQ_LIBRARY": library, "DISPLAY": display, **more}


@contextmanager
def screen(width: int = 1280, height: int = 800) -> Iterator[str]:
    """An X server of our own, with a number that it chooses; gives its DISPLAY."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)


class Host:
    """The running program."""

    def __init__(self, display: str, settings: Path, *arguments: str | Path, size: str = "1280x800", **more: str):
        command = ["mono", host_program(), "--automation", "--size", size, "--settings", settings, *arguments]
        self.display = display
        self._errors = (settings.parent / "errors.txt").open("w+")
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            text=True, encoding="utf-8", env=environment(display, **more),
        )  # fmt: skip
        self._guard = threading.Timer(TIME_LIMIT_S, self._process.kill)
        self._guard.start()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._guard.cancel()
        self._errors.close()

    def write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def ask(self, line: str) -> Any:
        assert self._process.stdout
        try:
            self.write(line)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        assert answer, f"the program ended: {self.errors()}"
        return json.loads(answer)

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-3000:]

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def log(self, key: str) -> list[str]:
        """The texts of the events of one kind."""
        events = (event.split("|", 1) for event in self.status()["log"])
        return [text for found, text in events if found == key]

    def wait(self, condition: Callable[[dict[str, Any]], object], seconds: float = 60) -> dict[str, Any]:
        """The first status for which the condition holds."""
        end = time.monotonic() + seconds
        while not condition(status := self.status()):
            assert time.monotonic() < end, f"waited in vain; the last status: {status}"
            time.sleep(0.05)
        return status

    def controls(self) -> dict[str, dict[str, Any]]:
        return {control["name"]: control for control in self.ask("describe") if control["name"]}

    def control(self, name: str) -> dict[str, Any]:
        return self.controls()[name]

    def wait_for_control(self, name: str, enabled: bool = True) -> dict[str, Any]:
        end = time.monotonic() + 60
        while True:
            control = self.controls().get(name)
            if control and control["visible"] and control["enabled"] == enabled:
                return control
            assert time.monotonic() < end, f"{name}: {control}"
            time.sleep(0.05)

    def click(self, name: str) -> None:
        x, y, width, height = self.wait_for_control(name)["place"]
        self.xdotool("mousemove", x + width // 2, y + height // 2, "click", 1)

    def drag_slider(self, name: str, share: float) -> None:
        """Drags from wherever to a share of the track."""
        x, y, width, height = self.wait_for_control(name)["track"]
        middle = y + height // 2
        self.xdotool("mousemove", x + width // 2, middle, "mousedown", 1)
        self.xdotool("mousemove", x + round(width * share), middle, "mouseup", 1)

    def type_into(self, name: str, text: str) -> None:
        self.click(name)
        self.xdotool("key", "ctrl+a", "type", "--delay", 5, text)
        self.xdotool("key", "Return")

    def xdotool(self, *words: object) -> None:
        command = ["xdotool", *map(str, words)]
        subprocess.run(command, env=environment(self.display), check=True, timeout=20, stderr=subprocess.DEVNULL)

    def screenshot(self, file: Path) -> None:
        subprocess.run(["import", "-window", "root", str(file)], env=environment(self.display), check=True, timeout=20)

    def exit_code(self) -> int:
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program does not end:\n{self.stacks()}") from None

    def stacks(self) -> str:
        """Where its threads are: Mono says so when asked by a signal. The program is ended."""
        assert self._process.stdout
        self._process.send_signal(signal.SIGQUIT)
        time.sleep(2)
        self._process.kill()
        return self._process.stdout.read() + self.errors()

    def quit(self) -> None:
        self.ask("quit")
        assert self.exit_code() == 0, self.errors()


def write_settings(path: Path, **values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
    return path
