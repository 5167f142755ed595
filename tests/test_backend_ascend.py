# SPDX-License-Identifier: Apache-2.0
"""The ascend backend on the double of its SDK: the contract, and what is this backend's own."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ascend_double
from ascend_double import Change, case_of, expected
from backend_contract import (
    EBACKEND,
    EPACKAGE,
    ArtifactContract,
    Case,
    Module,
    Session,
    pictures,
    refused,
    same,
)
from conftest import write_package


@pytest.fixture(scope="module")
def module_path(build_dir: Path) -> Path:
    return build_dir / "lib" / "libyoloq_ascend.so"


@pytest.fixture(scope="module")
def module(module_path: Path) -> Iterator[Module]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ascend_double.VARIABLE, os.fspath(ascend_double.runtime()))
        loaded = Module(module_path)
        loaded.call("probe")  # from here on the runtime stays
        yield loaded


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_of(tmp_path)


@pytest.fixture
def slow_case(tmp_path: Path) -> Case:
    return case_of(tmp_path, delay_ms=60)


class TestContract(ArtifactContract):
    name, targets, unknown_option = "ascend", "ascend310p ascend310b ascend910b", "threads"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_pixels_in_and_heads_out(module: Module, tmp_path: Path, dtype: str) -> None:
    case = case_of(tmp_path, 2, dtype)
    with module.session(case) as session:
        assert same(session.run(pictures(case, 1)), expected(pictures(case, 1), dtype))


def reorder(facts: dict) -> None:
    facts["outputs"].reverse()
    for each in facts["outputs"]:
        each["name"] = each["name"].rpartition(":")[2]  # plain names, too


def test_outputs_are_found_by_name(module: Module, tmp_path: Path) -> None:
    case = case_of(tmp_path, change=reorder)
    with module.session(case) as session:
        assert same(session.run(pictures(case, 1)), expected(pictures(case, 1), "float32", range(5, -1, -1)))


REFUSED: dict[str, tuple[Change, str]] = {
    "two inputs": (lambda f: f["inputs"].append(dict(f["inputs"][0])), "it has 2: compile it without dynamic"),
    "float input": (
        lambda f: f["inputs"].__setitem__(0, ascend_double.tensor("images_u8", "float32", (1, 64, 64, 3))),
        "'images_u8' of the model is float32, the package says uint8",
    ),
    "planes": (lambda f: f["inputs"][0].update(format=0), "is in format 0, the package says in NHWC"),
    "input size": (
        lambda f: f["inputs"][0].update(dims=[1, 64, 32, 3]),
        "is [1,64,32,3], the package says [1,64,64,3]",
    ),
    "batch": (lambda f: f["inputs"][0].update(dims=[4, 64, 64, 3]), "is [4,64,64,3], the package says [1,64,64,3]"),
    "head type": (
        lambda f: f["outputs"].__setitem__(1, ascend_double.tensor("score_0", "int8", (1, 3, 8, 8))),
        "'score_0' of the model is int8, the package says float32",
    ),
    "head name": (
        lambda f: f["outputs"][1].update(name="other"),
        "has no output 'score_0'; it has Conv_0:0:box_0,",
    ),
    "head shape": (lambda f: f["outputs"][2].update(dims=[1, 4, 3, 4]), "is [1,4,3,4], the package says [1,4,4,4]"),
    "short head": (lambda f: f["outputs"][2].update(size=100), "is 100 bytes long, the package says 256 bytes long"),
    "one more": (
        lambda f: f["outputs"].append(ascend_double.tensor("more", "float32", (1, 1))),
        "has 7 outputs, the package names 6",
    ),
    "another chip": (lambda f: f.update(soc="Ascend310B4"), "507008 (ACL_ERROR_RT_SOC_VERSION): the runtime, AscendCL"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_another_model_is_refused(module: Module, tmp_path: Path, what: str) -> None:
    change, words = REFUSED[what]
    assert words in refused(EPACKAGE, Session, module, case_of(tmp_path, change=change))


def test_chips_are_named(module: Module, tmp_path: Path) -> None:
    case = case_of(tmp_path, change=lambda facts: facts.update(soc="Ascend310B4"))
    for key in ("soc", "ascend.soc"):
        text = refused(EPACKAGE, Session, module, replace(case, options={key: "Ascend310B4"}))
        assert text == (
            "the model is compiled for Ascend310B4, this device is Ascend310P3: build the package for this chip"
        )


# ---------------------------------------------------------------------------------------------- models run by a command

# The other side of the double's pipes: the outputs are the first pixels, byte by byte. By the text of the model it
# refuses it, refuses a request, or dies.
EXECUTOR = """
import struct, sys
source, target = sys.stdin.buffer, sys.stdout.buffer
def take():
    head = source.read(8)
    return source.read(struct.unpack("<Q", head)[0]) if head else None
def give(data):
    target.write(struct.pack("<Q", len(data)) + data)
    target.flush()
def refuse(text):
    target.write(struct.pack("<Q", 2**64 - 1))
    give(text.encode())
model = take()
refuse("no weights") if b"no weights" in model else give(b"")
while (pixels := take()) is not None:
    if b"dies" in model:
        break
    refuse("no node Conv_3") if b"no node" in model else give(pixels[:{bytes}])
"""


def commanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mood: str) -> Case:
    size = sum(int(np.prod(shape)) * 4 for _, _, _, shape in ascend_double.outputs())
    script = tmp_path / "executor.py"
    script.write_text(EXECUTOR.replace("{bytes}", str(size)))
    monkeypatch.setenv("YOLOQ_ASCEND_EXECUTOR", f"'{sys.executable}' '{script}'")
    return case_of(tmp_path, change=lambda facts: facts.update(kind="graph", mood=mood))


def test_a_model_run_by_a_command(module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = commanded(tmp_path, monkeypatch, "willing")
    with module.session(case) as session:
        for seed in (1, 2):
            heads = b"".join(head.tobytes() for head in session.run(pictures(case, seed)))
            assert heads == pictures(case, seed).tobytes()[: len(heads)]


def test_a_command_that_fails(module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = commanded(tmp_path, monkeypatch, "no weights")
    assert "no weights" in refused(EPACKAGE, Session, module, case)
    for mood, words in (("no node", "no node Conv_3"), ("dies", "507011 (ACL_ERROR_RT_MODEL_EXECUTE)")):
        with module.session(commanded(tmp_path, monkeypatch, mood)) as session:
            session.submit()
            assert words in refused(7, session.wait)


# -------------------------------------------------------------------------------------------------- runtimes there are


def detect(package: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`yoloq detect` on a picture, with the runtime of `folder`."""
    picture = package.parent / "picture.png"
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(picture)
    command = [sys.executable, "-m", "yoloq", "detect", str(package), str(picture), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ascend_double.environment(folder), check=False)


def split_runtime(folder: Path) -> Path:
    """As newer releases install it: what was one library is two."""
    folder.mkdir()
    for name in ("libacl_rt.so", "libacl_mdl.so"):
        (folder / name).symlink_to(ascend_double.runtime() / "libascendcl.so")
    return folder


def test_every_age_of_the_runtime_finds_the_same(tmp_path: Path) -> None:
    package = ascend_double.package(tmp_path / "tiny.yoloq")
    for path in package.iterdir():
        path.chmod(0o444)
    found = []
    for folder in (ascend_double.runtime(), ascend_double.runtime("-old"), split_runtime(tmp_path / "split")):
        done = detect(package, folder, "--json", str(tmp_path / "found.json"))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found.append(json.loads((tmp_path / "found.json").read_text())["images"][0]["detections"])
    assert found[0] and found.count(found[0]) == 3


def half_a_runtime(folder: Path) -> Path:
    folder.mkdir()
    (folder / "libascendcl.so").symlink_to(ascend_double.runtime() / "libdcmi.so")
    return folder


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_one_line_says_what_to_do(tmp_path: Path) -> None:
    package = ascend_double.package(tmp_path / "tiny.yoloq")
    assert "the runtime has no acl" in one_line(detect(package, half_a_runtime(tmp_path / "half")))
    nothing = one_line(detect(package, tmp_path / "none"))
    assert "libascendcl.so" in nothing and "install CANN and run its set_env.sh, or name its lib64 in" in nothing
    other = ascend_double.package(tmp_path / "other.yoloq", facts={"soc": "Ascend910B4"})
    assert "refuses" in one_line(detect(other, ascend_double.runtime()))


def test_a_package_for_another_chip(tmp_path: Path) -> None:
    manifest = ascend_double.manifest()
    manifest["target"]["chip"] = "rk3588"
    package = write_package(tmp_path / "other.yoloq", manifest, {"model_b1.om": b"none"})
    line = one_line(detect(package, ascend_double.runtime()))
    assert "rk3588" in line and "ascend310p" in line


def test_an_unknown_option_of_a_package(module: Module, tmp_path: Path) -> None:
    case = case_of(tmp_path)
    with pytest.raises(Exception, match="the ascend backend has no option 'batches'; it has soc"):
        Session(module, replace(case, options={"batches": "1,4"}))


def test_no_device(module: Module) -> None:
    """A machine with CANN and without a card."""
    double = ctypes.CDLL(str(ascend_double.runtime() / "libascendcl.so"))
    double.double_set_devices(0, b"")
    try:
        assert "there is no Ascend device: load the driver" in refused(EBACKEND, module.call, "probe")
    finally:
        double.double_set_devices(1, ascend_double.SOC.encode())
