# SPDX-License-Identifier: Apache-2.0
"""YoloQ.Modbus and its test program, for .NET Framework (run by Mono) and .NET (run by CoreCLR)."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import dotnet  # noqa: E402

RUNTIMES = ("mono", "coreclr")
FOLDER = dotnet.WORK / "modbus"
WAIT = 60.0  # s, for an answer that comes in milliseconds


def build(runtime: str) -> Path:
    """The test program for a runtime, compiled if a source has changed."""
    folder = FOLDER / runtime
    library, program = dotnet.sources("YoloQ.Modbus"), dotnet.sources("YoloQ.Modbus.Tests")
    if runtime == "mono":
        options = ["-langversion:7", "-debug"]
        built = dotnet.mcs(folder / "YoloQ.Modbus.dll", library, (), [*options, "-target:library"])
        return dotnet.mcs(folder / "YoloQ.Modbus.Tests.exe", program, [built], options)
    built = dotnet.csc(folder / "YoloQ.Modbus.dll", library, dotnet.NETSTANDARD)
    return dotnet.csc(folder / "YoloQ.Modbus.Tests.dll", program, dotnet.NETCORE, [built], ["-target:exe"])


def command(runtime: str, *arguments: object) -> list[str]:
    start = dotnet.mono_command if runtime == "mono" else dotnet.coreclr_command
    return start(build(runtime), *map(str, arguments))


class Program:
    """One run of the test program: lines in, lines out. Ends with the block."""

    def __init__(self, runtime: str, *arguments: object):
        self._process = subprocess.Popen(
            command(runtime, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self._process.stdin.close()
            self._process.wait(WAIT)
        finally:
            self._process.kill()
            self._process.wait()
        assert self._process.returncode == 0

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def write(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def line(self, wait: float = WAIT) -> str:
        """The next line."""
        return self._lines.get(timeout=wait)

    def until(self, start: str, wait: float = WAIT) -> str:
        """What follows `start` in the next line that begins with it; others are passed over."""
        while not (line := self.line(wait)).startswith(start):
            pass
        return line[len(start) :].strip()

    def ask(self, line: str, answer: str = "") -> str:
        """A command and its answer."""
        self.write(line)
        return self.until(answer)


def run(runtime: str, *arguments: object, text: str = "") -> list[str]:
    """Runs the test program to its end."""
    words = command(runtime, *arguments)
    done = subprocess.run(words, input=text, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stdout.splitlines()
