# SPDX-License-Identifier: Apache-2.0
"""Runs the native tests of a sanitizer build: python tests/sanitize.py asan|tsan

A line for each scenario, then "N passed, N failed". No finding with a frame of ours is suppressed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from conftest import ROOT, dummy_manifest, write_package
from tiny_model import write_tiny_package

TIMEOUT_S = 300
CLASSES = ["bolt", "nut", "washer"]
# Memory that the engine keeps by its own design, and only where its own frames hold it.
ENGINE_LEAKS = "".join(f"leak:{library}\n" for library in ("libopenvino", "libtbb"))


@dataclass(frozen=True)
class Scenario:
    """A run of an executable. `options` describe the package it wants; tests/native/check.h says how."""

    name: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: seconds it took, and the reason if it failed."""

    seconds: float
    failure: str = ""


def scenarios(executable: Path) -> list[Scenario]:
    """What an executable can do, by its own account."""
    listing = subprocess.run([executable], check=True, capture_output=True, text=True).stdout
    found = []
    for line in listing.splitlines():
        name, _, options = line.partition("\t")
        found.append(Scenario(name, dict(option.split("=", 1) for option in options.split())))
    return found


def scenario_package(folder: Path, scenario: Scenario) -> Path:
    """Writes the package that a scenario wants."""
    if scenario.options.get("model") == "real":
        return write_tiny_package(folder / f"{scenario.name}.yoloq")
    options = {key: value for key, value in scenario.options.items() if key.startswith("dummy.")}
    nms = scenario.options.get("nms") != "false"
    manifest = dummy_manifest(scenario.name, CLASSES, int(scenario.options.get("size", 320)), options, nms)
    return write_package(folder / f"{scenario.name}.yoloq", manifest, {"model.bin": b"none"})


def sanitizer_environment(folder: Path) -> dict[str, str]:
    suppressions = folder / "engine-leaks.txt"
    suppressions.write_text(ENGINE_LEAKS)
    return {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1",
        "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "TBB_ENABLE_SANITIZERS": "1",  # else oneTBB binds symbols so that no sanitizer can run
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:history_size=4",
    }


def run(command: list[str | Path], environment: dict[str, str]) -> Outcome:
    """Runs a command to its end; the failure is what it wrote."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(TIMEOUT_S, f"did not end within {TIMEOUT_S} s")
    text = "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return Outcome(time.monotonic() - began, text)


def fixed_addresses() -> list[str]:
    """Address space randomisation that is too wide for ThreadSanitizer's shadow memory is switched off."""
    setarch = shutil.which("setarch")
    works = setarch and subprocess.run([setarch, "-R", "true"], capture_output=True).returncode == 0
    return [setarch, "-R"] if works else []


def sanitize(preset: str, only: list[str]) -> int:
    """Runs everything for a preset; returns how many failed."""
    testing = Path(os.environ.get("YOLOQ_BUILD_DIR", ROOT / "build" / preset)) / "testing"
    prefix = fixed_addresses() if preset == "tsan" else []
    results: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environment = sanitizer_environment(folder)
        jobs: list[tuple[str, list[str | Path]]] = []
        for executable in (testing / "yoloq_abuse", testing / "yoloq_parts"):
            for scenario in scenarios(executable):
                if preset == "tsan" and "model" in scenario.options:
                    continue  # the engine is not built for ThreadSanitizer: its own locks would be invisible
                jobs.append((scenario.name, [executable, scenario.name, scenario_package(folder, scenario)]))
        for name, command in jobs:
            if only and name not in only:
                continue
            outcome = run(prefix + command, environment)
            results.append(outcome)
            print(f"{preset}  {name:20} {'FAILED' if outcome.failure else 'ok':8} {outcome.seconds:6.1f} s", flush=True)
            if outcome.failure:
                print(outcome.failure, flush=True)
    failed = sum(1 for outcome in results if outcome.failure)
    print(f"{preset}: {len(results) - failed} passed, {failed} failed")
    return failed if results else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=("asan", "tsan"))
    parser.add_argument("only", nargs="*", help="names of the scenarios to run; all if none is given")
    arguments = parser.parse_args()
    return 1 if sanitize(arguments.preset, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(main())
