# SPDX-License-Identifier: Apache-2.0
"""The double of Ascend's SDK sees mistakes: the module is built with one on purpose, and a session on it must fail."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ascend_double
from backend_contract import Module, pictures, same
from conftest import ROOT

SOURCES = ROOT / "src" / "backends"
HEADER, LANE, MODEL, SESSION = "ascend_api.h", "ascend_lane.h", "ascend_model.h", "ascend.cpp"

# What is changed, and what then happens.
MISTAKES = {
    "no wait for the stream": (LANE, "(const int code = stream_.sync(stop))", "(int code = 0)", "other heads"),
    "a run before its input": (
        LANE,
        re.compile(r"( +input_->upload.*\n)(.*ExecuteAsync.*\n)"),
        r"\2\1",
        "other heads",
    ),
    "a copy in the wrong direction": (HEADER, "HOST_TO_DEVICE, 1", "HOST_TO_DEVICE, 2", "memory of the device that is"),
    "outputs in the wrong order": (
        MODEL,
        "outputs[i], output_sizes_[i]",
        "outputs[at], output_sizes_[at]",
        "another size",
    ),
    "a tensor too large": (MODEL, "input, input_size_)", "input, input_size_ + 32)", "another size than its tensor"),
    "half of the output": (LANE, "count * output_bytes_[i]", "count * output_bytes_[i] / 2", "other heads"),
    "an end in another thread": (
        SESSION,
        "        job.end = [this](uint32_t slot) { lanes[slot].reset(); };\n",
        "",
        "memory freed without a context",
    ),
    "a device that is kept": (LANE, "~Hold() { runtime_.aclrtResetDevice(device_); }", "~Hold() {}", "1 left behind"),
    "a model that is kept": (MODEL, "        runtime_.aclmdlUnload(id_);\n", "", "a context ended that has streams or"),
    "a context that is shared": (
        LANE,
        "ASCEND_TRY(runtime, aclrtCreateContext(&context_, device));",
        "(void)device;",
        "a context that is not the caller's",
    ),
    "memory that is not pinned": (
        LANE,
        "ASCEND_TRY(runtime, aclrtMallocHost(&pinned_, roomy));",
        "pinned_ = std::malloc(roomy);",
        "memory freed that is not allocated",
    ),
}


def flip(facts: dict) -> None:
    """The model has the small heads first, and takes its time, so that whoever does not wait has nothing."""
    facts["outputs"].reverse()
    facts["delay_ms"] = 300


def session(library: str, folder: str) -> None:
    """A life of a session in a process of its own; prints what is wrong with it."""
    module = Module(Path(library))
    case = ascend_double.case_of(Path(folder), 2, change=flip)
    with module.session(case) as opened:
        for seed in (1, 2):
            pixels = pictures(case, seed)
            found = opened.run(pixels)
            if not same(found, ascend_double.expected(pixels, "float32", range(5, -1, -1))):
                print("other heads", flush=True)  # the double may end the process at the next run
    double = ctypes.CDLL(str(ascend_double.runtime() / "libascendcl.so"))
    print(f"{double.double_live()} left behind")


def build(folder: Path, mistake: str) -> Path:
    """The module, built with a mistake."""
    for path in (*SOURCES.glob("ascend*"), SOURCES / "module.h", SOURCES / "workers.h"):
        shutil.copy(path, folder)
    name, right, wrong, _ = MISTAKES[mistake]
    text = (folder / name).read_text()
    changed, times = right.subn(wrong, text) if isinstance(right, re.Pattern) else (text.replace(right, wrong), 1)
    assert times == 1 and changed != text, f"{name} has changed: write the mistake anew"
    (folder / name).write_text(changed)
    return compiled(folder)


def compiled(folder: Path) -> Path:
    library = folder / "libyoloq_ascend.so"
    command = ["g++", "-std=c++17", "-O0", "-shared", "-fPIC", f"-I{ROOT / 'include'}", "-o", library]
    subprocess.run([*command, folder / "ascend.cpp"], check=True)
    return library


def outcome(library: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, __file__, library, folder],
        capture_output=True, text=True, env=ascend_double.environment(ascend_double.runtime()), check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_no_mistake_is_no_complaint(build_dir: Path, tmp_path: Path) -> None:
    assert outcome(build_dir / "lib" / "libyoloq_ascend.so", tmp_path) == "0 left behind\n"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(mistake: str, tmp_path: Path) -> None:
    assert MISTAKES[mistake][3] in outcome(build(tmp_path, mistake), tmp_path)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    session(*sys.argv[1:])
