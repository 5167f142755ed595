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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ascend_double
import rockchip
import sophgo
from conftest import ROOT, dummy_manifest, write_package
from tiny_model import write_tiny_package

TIMEOUT_S = 300
# Faults of tests/native/planted.c, and what their sanitizer says: a run that cannot fail proves nothing.
PLANTED = {
    "asan": {
        "overflow": "heap-buffer-overflow",
        "leak": "detected memory leaks",
        "undefined": "signed integer overflow",
    },
    "tsan": {"race": "data race"},
}
DOUBLES = {"sophgo": sophgo, "rockchip": rockchip, "ascend": ascend_double}  # of vendors' runtimes
EXECUTABLES = (
    "yoloq_abuse",
    "yoloq_parts",
    "yoloq_sophgo_scenarios",
    "yoloq_rockchip_scenarios",
    "yoloq_ascend_scenarios",
)
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
    for name, double in DOUBLES.items():
        if name in scenario.options:
            return double.scenario_package(folder / f"{scenario.name}.yoloq", scenario.options)
    options = {key: value for key, value in scenario.options.items() if key.startswith("dummy.")}
    nms = scenario.options.get("nms") != "false"
    manifest = dummy_manifest(scenario.name, CLASSES, int(scenario.options.get("size", 320)), options, nms)
    return write_package(folder / f"{scenario.name}.yoloq", manifest, {"model.bin": b"none"})


def doubles(testing: Path) -> dict[str, str]:
    """Where the backends find the doubles of their SDKs in a build's folder for tests."""
    return {each.VARIABLE: str(testing / name) for name, each in DOUBLES.items()}


def sanitizer_environment(folder: Path) -> dict[str, str]:
    suppressions = folder / "engine-leaks.txt"
    suppressions.write_text(ENGINE_LEAKS)
    return {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1:"
        "intercept_tls_get_addr=0",  # up to GCC 13 it reads a heap block at offset 16 of a page as glibc 2.19's header
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


def check_planted(fault: str, words: str, command: list[str | Path], environment: dict[str, str]) -> Outcome:
    """A fault on purpose must be seen."""
    outcome = run([*command, fault], environment)
    missed = "" if words in outcome.failure else f"{fault}: the sanitizer did not say {words!r}\n{outcome.failure}"
    return Outcome(outcome.seconds, missed)


def outcomes(preset: str, folder: Path, only: list[str]) -> Iterator[tuple[str, Outcome]]:
    """Runs everything for a preset, or what is in `only`."""
    testing = Path(os.environ.get("YOLOQ_BUILD_DIR", ROOT / "build" / preset)) / "testing"
    prefix = fixed_addresses() if preset == "tsan" else []
    environment = sanitizer_environment(folder) | doubles(testing)
    for fault, words in PLANTED[preset].items():
        if not only or f"planted-{fault}" in only:
            yield f"planted-{fault}", check_planted(fault, words, [*prefix, testing / "yoloq_planted"], environment)
    for executable in (testing / name for name in EXECUTABLES):
        for scenario in scenarios(executable):
            if preset == "tsan" and "model" in scenario.options:
                continue  # the engine is not built for ThreadSanitizer: its own locks would be invisible
            if not only or scenario.name in only:
                package = scenario_package(folder, scenario)
                yield scenario.name, run([*prefix, executable, scenario.name, package], environment)


def sanitize(preset: str, only: list[str]) -> int:
    """Runs and prints; returns how many failed."""
    passed = failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name, outcome in outcomes(preset, Path(temporary), only):
            print(f"{preset}  {name:20} {'FAILED' if outcome.failure else 'ok':8} {outcome.seconds:6.1f} s", flush=True)
            if outcome.failure:
                print(outcome.failure, flush=True)
            failed += bool(outcome.failure)
            passed += not outcome.failure
    print(f"{preset}: {passed} passed, {failed} failed")
    return failed if passed else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=("asan", "tsan"))
    parser.add_argument("only", nargs="*", help="names of the scenarios to run; all if none is given")
    arguments = parser.parse_args()
    return 1 if sanitize(arguments.preset, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(main())
