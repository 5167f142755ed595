# SPDX-License-Identifier: Apache-2.0
"""The rockchip backend over its double: the contract, and what is this backend's own. No board has run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import rockchip
from backend_contract import EPACKAGE, ArtifactContract, Case, Module, Session, Tensor, pictures, refused, same
from conftest import write_manifest


def case_of(folder: Path, batch: int = 1, slow_ms: int = 0) -> Case:
    artifact = folder / "model.rknn"
    artifact.write_bytes(rockchip.container(batch=batch, slow_ms=slow_ms))
    image = Tensor("images_u8", (batch, rockchip.SIDE, rockchip.SIDE, 3), "input", "uint8")
    heads = tuple(Tensor(name, shape, role, level=level) for name, role, level, shape in rockchip.outputs(batch))
    return Case(artifact, image, heads)


@pytest.fixture(scope="module")
def module_path(build_dir: Path) -> Path:
    return build_dir / "lib" / "libyoloq_rockchip.so"


@pytest.fixture(scope="module")
def module(module_path: Path, build_dir: Path) -> Iterator[Module]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(rockchip.VARIABLE, os.fspath(build_dir / "testing" / "rockchip"))
        loaded = Module(module_path)
        loaded.call("probe")  # from here on the runtime stays
        yield loaded


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_of(tmp_path)


@pytest.fixture
def slow_case(tmp_path: Path) -> Case:
    return case_of(tmp_path, slow_ms=60)


class TestContract(ArtifactContract):
    name, targets, unknown_option = "rockchip", "rk3588 rk3576 rk3568 rk3566", "threads"

    def test_wrong_outputs(self, module: Module, case: Case) -> None:
        super().test_wrong_outputs(module, case)
        refused(EPACKAGE, Session, module, case.with_output(0, dtype="uint8"))


def test_the_runtime_is_told_in_the_log(module: Module, case: Case) -> None:
    with module.session(case) as session:
        assert session.log == [(1, "librknnrt 1.0 (double), driver 0.9.8")]


def test_a_batch_is_one_run(module: Module, tmp_path: Path) -> None:
    alone, four = tmp_path / "alone", tmp_path / "four"
    alone.mkdir()
    four.mkdir()
    case = case_of(four, batch=4)
    pixels = pictures(case, 1)
    with module.session(case_of(alone)) as one, module.session(case) as all_four:
        together = all_four.run(pixels)
        for index in range(4):
            assert same([head[index : index + 1] for head in together], one.run(pixels[index : index + 1]))


@pytest.mark.parametrize("value", ["all", "0_2", "", "7"])
def test_cores_that_are_none(module: Module, case: Case, value: str) -> None:
    text = refused(1, Session, module, replace(case, options={"cores": value}))
    assert "option cores" in text and "use auto, 0, 1, 2, 0_1 or 0_1_2" in text


def test_cut_anywhere(module: Module, case: Case) -> None:
    """The runtime itself is not asked."""
    whole = case.artifact.read_bytes()
    for length in (3, 63, 64, 100, len(whole) - 70, len(whole) - 1):
        case.artifact.write_bytes(whole[:length])
        text = refused(EPACKAGE, Session, module, case)
        assert "no .rknn" in text if length < 64 else f"cut short, {length} bytes of" in text


def test_absurd_sizes_in_the_file(module: Module, case: Case) -> None:
    whole = case.artifact.read_bytes()
    body = int.from_bytes(whole[16:24], "little")
    for offset in (16, 64 + body):
        for number in (2**64 - 1, 2**63, 2**32):
            case.artifact.write_bytes(whole[:offset] + number.to_bytes(8, "little") + whole[offset + 8 :])
            assert "cut short" in refused(EPACKAGE, Session, module, case)


# ------------------------------------------------------------------------------------------- the whole way, by command


def detect(package: Path, runtime: Path) -> subprocess.CompletedProcess[str]:
    picture = package.parent / "picture.png"
    Image.new("RGB", (80, 64), (90, 120, 30)).save(picture)
    command = [sys.executable, "-m", "yoloq", "detect", str(package), str(picture)]
    return subprocess.run(command, capture_output=True, text=True, env=rockchip.environment(runtime), check=False)


def test_detect(tmp_path: Path, build_dir: Path) -> None:
    package = rockchip.package(tmp_path / "tiny.yoloq", rockchip.container())
    done = detect(package, build_dir / "testing" / "rockchip")
    assert done.returncode == 0, done.stderr


def test_a_chip_without_a_module_is_told_before_a_missing_runtime(tmp_path: Path) -> None:
    """A library to copy would not help."""
    package = rockchip.package(tmp_path / "tiny.yoloq", rockchip.container())
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    manifest["target"]["chip"] = "rv1106"
    write_manifest(package, manifest)
    empty = tmp_path / "runtime"
    empty.mkdir()
    done = detect(package, empty)
    assert done.returncode == 1
    assert "compiled for rv1106, backend rockchip runs rk3588" in done.stderr


@pytest.mark.parametrize("fault", ["chip", "cut", "no runtime", "another library"])
def test_one_line_says_what_to_do(fault: str, tmp_path: Path, build_dir: Path) -> None:
    double, empty = build_dir / "testing" / "rockchip", tmp_path / "runtime"
    empty.mkdir()
    whole = rockchip.container()
    cases = {
        "chip": (rockchip.container("rk3576"), double, "is compiled for rk3576, this board has another chip"),
        "cut": (whole[:-9], double, f"cut short, {len(whole) - 9} bytes of {len(whole)}"),
        "no runtime": (whole, empty, "copy librknnrt.so to /usr/lib, or name its folder in YOLOQ_ROCKCHIP_RUNTIME"),
        "another library": (whole, empty, "Rockchip's runtime has no rknn_run: install a newer librknnrt.so"),
    }
    if fault == "another library":
        (empty / "librknnrt.so").symlink_to(build_dir / "testing" / "libyoloq_testing.so")
    rknn, runtime, words = cases[fault]
    done = detect(rockchip.package(tmp_path / "tiny.yoloq", rknn), runtime)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and words in lines[0], done.stderr
