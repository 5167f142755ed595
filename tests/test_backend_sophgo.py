# SPDX-License-Identifier: Apache-2.0
"""The sophgo backend on the vendor's own runtime and simulator: the contract, and what is this backend's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sophgo
from backend_contract import (
    EPACKAGE,
    ArtifactContract,
    BackendError,
    Case,
    Module,
    Session,
    Tensor,
    ffi,
    pictures,
    refused,
    same,
)
from conftest import write_package


def case_of(batch: int) -> Case:
    image = Tensor("images_u8", (batch, sophgo.SIDE, sophgo.SIDE, 3), "input", "uint8")
    heads = tuple(Tensor(name, shape, role, level=level) for name, role, level, shape in sophgo.outputs(batch))
    return Case(sophgo.TINY, image, heads)


@pytest.fixture(scope="module")
def module_path(build_dir: Path) -> Path:
    return build_dir / "lib" / "libyoloq_sophgo.so"


@pytest.fixture(scope="module")
def module(module_path: Path) -> Iterator[Module]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(sophgo.VARIABLE, os.fspath(sophgo.runtime()))
        loaded = Module(module_path)
        loaded.call("probe")  # from here on the runtime stays
        yield loaded


@pytest.fixture
def case() -> Case:
    return case_of(1)


@pytest.fixture
def slow_case() -> Case:
    """Four pictures; the simulator looks for its end every 200 ms."""
    return case_of(4)


class TestContract(ArtifactContract):
    name, targets, unknown_option = "sophgo", "bm1684x bm1688 cv186x", "threads"
    lives = (2, 6)  # of about 2 s each


# Runs a .bmodel through another door of libbmrt, from host memory to host memory, and writes the outputs one after
# another: bmrt_run.py RUNTIME MODEL INPUT OUTPUT
PEER = """
import ctypes, pathlib, sys
folder, model, source, target = sys.argv[1:]
bmlib = ctypes.CDLL(folder + "/libbmlib.so.0", ctypes.RTLD_GLOBAL)
bmrt = ctypes.CDLL(folder + "/libbmrt.so.1.0")
Shape = ctypes.c_int * 9
handle = ctypes.c_void_p()
assert bmlib.bm_dev_request(ctypes.byref(handle), 0) == 0
bmrt.bmrt_create.restype = ctypes.c_void_p
runtime = ctypes.c_void_p(bmrt.bmrt_create(handle))
data = pathlib.Path(model).read_bytes()
bmrt.bmrt_load_bmodel_data.restype = bmrt.bmrt_launch_data.restype = ctypes.c_bool
assert bmrt.bmrt_load_bmodel_data(runtime, data, ctypes.c_size_t(len(data)))
bmrt.bmrt_get_network_name.restype = ctypes.c_char_p
name = bmrt.bmrt_get_network_name(runtime, 0)
sizes = [4 * 8 * 8, 3 * 8 * 8, 4 * 4 * 4, 3 * 4 * 4, 4 * 2 * 2, 3 * 2 * 2]
pixels = pathlib.Path(source).read_bytes()
inputs = (ctypes.c_void_p * 1)(ctypes.cast(pixels, ctypes.c_void_p))
shape = (Shape * 1)(Shape(4, 1, 64, 64, 3))
buffers = [(ctypes.c_float * size)() for size in sizes]
outputs = (ctypes.c_void_p * 6)(*[ctypes.addressof(buffer) for buffer in buffers])
shapes = (Shape * 6)()
assert bmrt.bmrt_launch_data(runtime, name, inputs, shape, 1, outputs, shapes, 6, ctypes.c_bool(True))
pathlib.Path(target).write_bytes(b"".join(bytes(buffer) for buffer in buffers))
bmrt.bmrt_destroy(runtime)
bmlib.bm_dev_free(handle)
"""


def test_bytes_of_the_vendors_own_call(module: Module, tmp_path: Path) -> None:
    case = case_of(1)
    pixels = pictures(case, 1)
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    command = [sys.executable, "-c", PEER, sophgo.runtime(), sophgo.TINY, tmp_path / "pixels", tmp_path / "heads"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    with module.session(case) as session:
        ours = session.run(pixels)
    assert any(head.any() for head in ours)
    assert b"".join(head.tobytes() for head in ours) == (tmp_path / "heads").read_bytes()


def test_batches(module: Module) -> None:
    """A model of batch 1 and 4: both give the same, and fewer pictures than four are no trouble."""
    four = case_of(4)
    pixels = pictures(four, 1)
    with module.session(case_of(1)) as session:
        alone = [session.run(pixels[i : i + 1]) for i in range(4)]
    assert len({heads[0].tobytes() for heads in alone}) == 4
    with module.session(four) as session:
        for count in (4, 1, 3):
            session.input()[:] = pixels
            session.submit(count=count)
            session.wait()
            for i in range(count):
                heads = [session.output(index)[i : i + 1] for index in range(len(four.outputs))]
                assert same(heads, alone[i]), f"picture {i} of {count}"
    with pytest.raises(BackendError, match=r"is \[4,64,64,3\], the package says \[3,64,64,3\]"):
        Session(module, case_of(3))


def test_two_sessions_at_once(module: Module) -> None:
    case = case_of(1)
    with module.session(case) as one, module.session(case) as other:
        expected = one.run(pictures(case, 1))
        for session in (one, other):
            session.input()[:] = pictures(case, 1)
            session.submit()
        for session in (one, other):
            session.wait()
            assert same([session.output(index) for index in range(len(case.outputs))], expected)


def test_another_chip(module: Module, tmp_path: Path) -> None:
    """What libbmrt says to this, "runtime arch[BM1688] is not the same with bmodel arch[BM1684]", in our words."""
    other = tmp_path / "model.bmodel"
    other.write_bytes(sophgo.TINY.read_bytes().replace(b"BM1688", b"BM1684"))
    text = refused(EPACKAGE, Session, module, replace(case_of(1), artifact=other))
    assert "compiled for BM1684, this device is a BM1688: build the package for this chip" in text


def test_damage_inside_does_not_end_the_process(module: Module, tmp_path: Path) -> None:
    """libbmrt's other way to load, bmrt_load_bmodel_data, calls exit on these."""
    whole = sophgo.TINY.read_bytes()
    damaged = tmp_path / "model.bmodel"
    rng = np.random.default_rng(1)
    for _ in range(6):
        data = np.frombuffer(whole, np.uint8).copy()
        flatbuffer = data[64 : 64 + int(data[8:12].view("<u4")[0])]
        flatbuffer[rng.integers(0, len(flatbuffer), 40)] = rng.integers(0, 256, 40)
        damaged.write_bytes(data.tobytes())
        refused(EPACKAGE, Session, module, replace(case_of(1), artifact=damaged))


def test_health_is_unknown_on_the_simulator(module: Module) -> None:
    with module.session(case_of(1)) as session:
        health = ffi.new("yqb_health *", {"size": ffi.sizeof("yqb_health")})
        module.call("health", session.handle, health)
        assert all(np.isnan([health.temperature_c, health.power_w, health.utilization_percent]))
        assert health.memory_used == health.memory_total == 2**64 - 1


# ------------------------------------------------------------------------------------------- the whole way, by command


def detect(package: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`yoloq detect` on a picture, with the runtime of `folder`."""
    picture = package.parent / "picture.png"
    Image.fromarray(pictures(case_of(1), 1)[0].repeat(3, 0).repeat(4, 1)).save(picture)
    command = [sys.executable, "-m", "yoloq", "detect", str(package), str(picture), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=sophgo.environment(folder), check=False)


def test_detect(tmp_path: Path, build_dir: Path) -> None:
    package = sophgo.package(tmp_path / "tiny.yoloq", sophgo.TINY.read_bytes())
    for path in package.iterdir():
        path.chmod(0o444)  # as installed; libbmrt itself wants to write
    found = tmp_path / "found.json"
    done = detect(package, sophgo.runtime(), "--score", "0.01", "--json", str(found))
    assert done.returncode == 0, done.stderr
    assert json.loads(found.read_text())


@pytest.mark.parametrize("damage", ["cut", "chip", "runtime", "no runtime", "sizes"])
def test_one_line_says_what_to_do(damage: str, tmp_path: Path) -> None:
    whole = sophgo.TINY.read_bytes()
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    cases = {
        "cut": (whole[:-5000], {}, f"cut short, {len(whole) - 5000} bytes of {len(whole)}"),
        "chip": (whole.replace(b"BM1688", b"BM1684"), {}, "compiled for BM1684, this device is a BM1688"),
        "sizes": (whole, {"batch": 3}, "the package says [3,64,64,3]: build the package anew"),
        "runtime": (whole, {}, "libbmrt.so"),
        "no runtime": (whole, {}, f"there is no libbmlib.so in {runtime}: install libsophon, or name its folder in"),
    }
    bmodel, kind, words = cases[damage]
    package = sophgo.package(tmp_path / "tiny.yoloq", bmodel, **kind)
    if damage == "runtime":  # half of it
        shutil.copy(sophgo.runtime() / "libbmlib.so.0", runtime)
    done = detect(package, runtime if "runtime" in damage else sophgo.runtime())
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and words in lines[0], done.stderr


def test_a_package_for_another_backends_chip(tmp_path: Path) -> None:
    package = tmp_path / "other.yoloq"
    manifest = sophgo.manifest()
    manifest["target"]["chip"] = "rk3588"
    write_package(package, manifest, {"model.bmodel": sophgo.TINY.read_bytes()})
    done = detect(package, sophgo.runtime())
    assert done.returncode == 1 and "rk3588" in done.stderr and "bm1688" in done.stderr, done.stderr
