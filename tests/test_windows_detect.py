# SPDX-License-Identifier: Apache-2.0
"""examples/detect.c, built against dist/windows as a customer would, detects on Windows (Wine) what Linux detects."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wine
from native_abi import RGB24
from test_docs import blocks
from test_install import expected, write_ppm

MakePackage = Callable[..., Path]


@pytest.fixture(scope="module")
def detect(root: Path, windows_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """detect.exe beside the DLLs, by find_package(yoloq)."""
    scratch = tmp_path_factory.mktemp("detect")
    configure = ["cmake", "-S", root / "examples", "-B", scratch, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
    toolchain = ["--toolchain", root / "cmake" / "mingw.cmake", f"-DCMAKE_PREFIX_PATH={wine.FOLDER}"]
    subprocess.run([*configure, *toolchain], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", scratch], check=True, capture_output=True)
    return Path(shutil.copy(scratch / "detect.exe", windows_host))


@pytest.fixture(scope="module")
def picture(root: Path) -> np.ndarray:
    """A validation picture, uint8 RGB."""
    path = min((root / "datasets" / "fasteners" / "images" / "val").iterdir())
    return np.asarray(Image.open(path).convert("RGB")).copy()


def parse(printed: str) -> list[tuple[str, np.ndarray]]:
    """Lines of `class score x1 y1 x2 y2`."""
    rows = [line.split() for line in printed.splitlines()]
    return [(row[0], np.array(row[1:], float)) for row in rows]


def same(windows: str, linux: str) -> bool:
    """The same classes in the same order; scores within 0.01, boxes within half a pixel."""
    ours, theirs = parse(windows), parse(linux)
    return [name for name, _ in ours] == [name for name, _ in theirs] and all(
        abs(a[0] - b[0]) <= 0.01 and np.abs(a[1:] - b[1:]).max() <= 0.5
        for (_, a), (_, b) in zip(ours, theirs, strict=True)
    )


def test_detects_what_linux_detects(detect: Path, demo_package: Path, picture: np.ndarray, tmp_path: Path) -> None:
    printed = wine.must(detect, demo_package, write_ppm(tmp_path / "picture.ppm", picture))
    linux = expected(demo_package, picture, RGB24, None)
    assert len(linux.splitlines()) >= 3, "the picture shows several parts"
    assert same(printed, linux), f"Windows:\n{printed}\nLinux:\n{linux}"


def test_a_difference_is_seen() -> None:
    line = "bolt 0.5000 1.00 2.00 3.00 4.00\n"
    assert same(line, line.replace("0.5000", "0.5090"))
    assert not same(line, line.replace("0.5000", "0.5110"))
    assert not same(line, line.replace("bolt", "nut"))
    assert not same(line, line.replace("4.00", "4.60"))
    assert not same(line, line * 2)


def test_chinese_paths_from_another_folder_without_path(
    detect: Path, demo_package: Path, picture: np.ndarray, tmp_path: Path
) -> None:
    """The DLLs, the package and the picture in Chinese folders, another current folder, and an empty PATH."""
    host = shutil.copytree(detect.parent, tmp_path / "视觉 检测")
    package = shutil.copytree(demo_package, tmp_path / "检测 模型.yoloq")
    image = write_ppm(tmp_path / "图片.ppm", picture)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "go.cmd").write_text("@set PATH=\r\n@echo [%PATH%] 1>&2\r\n@%1 %2 %3\r\n", newline="")
    done = wine.run(Path("cmd.exe"), "/c", "go.cmd", host / "detect.exe", package, image, cwd=elsewhere)
    assert done.returncode == 0 and "[]" in done.stderr, done.stderr
    printed = done.stdout
    assert same(printed, expected(demo_package, picture, RGB24, None))


def test_wrong_packages_are_refused(
    detect: Path, demo_package: Path, make_dummy_package: MakePackage, picture: np.ndarray, tmp_path: Path
) -> None:
    image = write_ppm(tmp_path / "picture.ppm", picture)
    cut = shutil.copytree(demo_package, tmp_path / "cut.yoloq")
    model = next(path for path in cut.iterdir() if path.suffix == ".onnx")
    model.write_bytes(model.read_bytes()[:-1000])
    altered = shutil.copytree(demo_package, tmp_path / "altered.yoloq")
    (altered / "manifest.json").write_bytes((altered / "manifest.json").read_bytes() + b" ")
    target = {"chip": "ascend310p", "backend": "ascend", "sdk": "CANN", "sdk_version": "8", "compiler": "atc"}
    other = make_dummy_package(target=target)
    for words, arguments in (
        ("bytes, the manifest says", [cut, image]),
        ("manifest.json was altered", [altered, image]),
        ("compiled for ascend310p, backend cpu runs cpu", [other, image, "cpu"]),
        ("yoloq_ascend.dll", [other, image]),
        ("there is no package folder", [tmp_path / "不存在.yoloq", image]),
    ):
        done = wine.run(detect, *arguments)
        assert done.returncode == 1 and done.stdout == "", done.stdout
        assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_cache_folder_with_a_chinese_name(windows_host: Path, demo_package: Path, tmp_path: Path) -> None:
    """The engine writes its compiled model there, and a second detector reads it."""
    cache = tmp_path / "缓存"
    cache.mkdir()
    for _ in range(2):
        wine.must(windows_host / "yoloq_load.exe", windows_host / "yoloq.dll", demo_package, "cpu", cache)
    assert [path.suffix for path in cache.iterdir()] == [".blob"]


def test_commands_of_the_manual(root: Path, demo_package: Path, picture: np.ndarray, tmp_path: Path) -> None:
    """docs/windows.md's for Debian run as they stand, in a folder that looks like the repository; the Chinese manual
    has the same."""
    commands, chinese = (blocks(root / "docs" / name, "bash") for name in ("windows.md", "windows.zh-CN.md"))
    assert commands == chinese and len(commands) == 2
    for name in ("examples", "cmake", "dist"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "fasteners.yoloq").symlink_to(demo_package)
    write_ppm(tmp_path / "picture.ppm", picture)
    wine.start()
    done = subprocess.run(
        ["bash", "-e", "-c", "".join(commands)], cwd=tmp_path, env=wine.environment(PATH=os.environ["PATH"]),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^\S+ [01]\.\d{4}(?: -?\d+\.\d\d){4}\r?\n", done.stdout, flags=re.M)
    assert same("".join(found), expected(demo_package, picture, RGB24, None))
    assert (tmp_path / "detect.exe").exists()
