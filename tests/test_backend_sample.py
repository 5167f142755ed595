# SPDX-License-Identifier: Apache-2.0
"""examples/backend: built outside of our build against yoloq_backend.h alone, it passes the contract and works."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend_contract import EPACKAGE, ArtifactContract, Case, Module, Session, Tensor, refused


@pytest.fixture(scope="module")
def module_path(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from copies in a folder of their own: nothing else of the repository is in reach."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(root / "examples" / "backend", folder / "source")
    (folder / "include").mkdir()
    shutil.copy(root / "include" / "yoloq_backend.h", folder / "include")
    build = folder / "build"
    include = f"-DYOLOQ_INCLUDE_DIR={folder / 'include'}"
    flags = "-DCMAKE_C_FLAGS=-Wpedantic -Werror"
    for command in (["-S", folder / "source", "-B", build, include, flags], ["--build", build]):
        done = subprocess.run(["cmake", *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "libyoloq_bright.so"


@pytest.fixture(scope="module")
def module(module_path: Path) -> Module:
    return Module(module_path)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    artifact = tmp_path_factory.mktemp("bright") / "threshold.txt"
    artifact.write_text("threshold 200\n")
    image = Tensor("images_u8", (2, 64, 96, 3), "input", "uint8")
    return Case(artifact, image, (Tensor("boxes", (2, 10, 6), "end2end"),))


@pytest.fixture(scope="module")
def slow_case(case: Case) -> Case:
    return replace(case, input=replace(case.input, shape=(2, 4096, 4096, 3)))


class TestContract(ArtifactContract):
    name, targets, unknown_option = "bright", "bright", "no_such_option"


def test_finds_the_bright_box(module: Module, case: Case) -> None:
    pixels = np.full(case.input.shape, 199, np.uint8)
    pixels[0, 10:20, 30:50] = 230
    with module.session(case) as session:
        (boxes,) = session.run(pixels)
    assert boxes[0, 0].tolist() == [30, 10, 50, 20, 1, 0]
    assert not boxes[0, 1:].any() and not boxes[1].any()


@pytest.mark.parametrize("text", ["threshold 0", "threshold 256", "threshold", "200"])
def test_bad_threshold(module: Module, case: Case, tmp_path: Path, text: str) -> None:
    artifact = tmp_path / "threshold.txt"
    artifact.write_text(text)
    refused(EPACKAGE, Session, module, replace(case, artifact=artifact))
