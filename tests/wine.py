# SPDX-License-Identifier: Apache-2.0
"""Runs Windows programs in Wine: dist/windows/ as a factory's PC would have it, beside programs of the tests."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import shutil
import subprocess
from pathlib import Path

from conftest import ROOT

FOLDER = ROOT / "dist" / "windows"
PROGRAMS = ROOT / "build" / "windows" / "cmake" / "testing"
PREFIX = ROOT / "build" / "windows" / "wine"
# The shipped MSVC runtime, not Wine's; no .NET, no browser.
OVERRIDES = "mscoree,mshtml=;msvcp140,vcruntime140,vcruntime140_1=n,b"


def environment(**extra: str) -> dict[str, str]:
    values = {
        "PATH": "/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",  # else Chinese file names do not arrive
        "WINEPREFIX": str(PREFIX),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": OVERRIDES,
    }
    if "amx_tile" in Path("/proc/cpuinfo").read_text():
        values["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_FP16"  # Linux keeps AMX from programs that do not ask; Windows not
    return values | extra


def make_prefix() -> None:
    """Wine's own Windows folder, made once for a Wine version."""
    version = subprocess.run(["wine", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    stamp = PREFIX / "yoloq-wine-version"
    if stamp.exists() and stamp.read_text() == version:
        return
    scratch = PREFIX.with_name(f".{PREFIX.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    settings = environment(WINEPREFIX=str(scratch))
    subprocess.run(["wineboot", "-i"], check=True, env=settings, capture_output=True, timeout=300)
    subprocess.run(["wineserver", "-w"], check=True, env=settings, timeout=60)  # until the registry is written
    (scratch / stamp.name).write_text(version)
    shutil.rmtree(PREFIX, ignore_errors=True)
    scratch.rename(PREFIX)


@functools.cache
def start() -> None:
    """Makes the prefix this process's own, and keeps Wine's services up until it ends: each run starts in 0.1 s
    instead of 2.5 s. A Wine that starts while another in the same prefix ends would hang."""
    PREFIX.parent.mkdir(parents=True, exist_ok=True)
    lock = PREFIX.with_suffix(".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    make_prefix()
    shell = subprocess.Popen(
        ["wine", "cmd.exe", "/k", "echo ready"], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert "ready" in shell.stdout.readline().decode(), "Wine does not start: see `wine cmd /c ver`"

    def end() -> None:
        shell.stdin.close()
        shell.wait(timeout=30)
        subprocess.run(["wineserver", "-w"], env=environment(), timeout=30)
        lock.close()

    atexit.register(end)


def windows_path(path: Path) -> str:
    return "Z:" + str(path.resolve()).replace("/", "\\")


def run(
    program: Path, *arguments: str | Path, cwd: Path | None = None, timeout: float = 120, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; a Path among the arguments becomes a Windows path. `extra`: environment variables."""
    start()
    words = [windows_path(word) if isinstance(word, Path) else word for word in arguments]
    return subprocess.run(
        ["wine", str(program), *words], env=environment(**extra), cwd=cwd or program.parent, timeout=timeout,
        capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip


def must(program: Path, *arguments: str | Path, **options: object) -> str:
    """What a program that has to succeed prints."""
    done = run(program, *arguments, **options)
    assert done.returncode == 0, f"{program.name} {arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.replace("\r\n", "\n")


def programs() -> list[str]:
    """What the Windows build made for the tests."""
    return [path.name for path in PROGRAMS.glob("*.*")]


def lay_out(folder: Path, *programs: str) -> Path:
    """A copy of the DLLs in a new folder, with programs of the tests beside them, as a host's installer would do."""
    assert (FOLDER / "bin" / "yoloq.dll").exists(), f"{FOLDER} is missing: run python3 build.py windows"
    shutil.copytree(FOLDER / "bin", folder)
    for name in programs:
        shutil.copy(PROGRAMS / name, folder)
    return folder
