# SPDX-License-Identifier: Apache-2.0
"""The C# binding against the header, the compilers, and the ways to find the native library."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest

import csharp
import wine
import yoloq
from csharp import Runtime, dotnet

VERSION = version("yoloq")
RUNTIMES = [csharp.mono, csharp.coreclr, csharp.windows]
LINUX = [csharp.mono, csharp.coreclr]


@pytest.fixture
def alone(tmp_path: Path) -> Callable[[Callable[[], Runtime]], Runtime]:
    """alone(make) -> the runtime with its programs in a folder of their own, and no native library anywhere."""

    def copy(make: Callable[[], Runtime]) -> Runtime:
        runtime = make()
        folder = tmp_path / "车间 host"
        shutil.copytree(runtime.folder, folder, ignore=shutil.ignore_patterns("runtimes", "*.xml", "*.inputs"))
        return csharp.replace(runtime, folder=folder, environment={**runtime.environment, "YOLOQ_LIBRARY": ""})

    return copy


def library(runtime: Runtime, *arguments: str | Path, **environment: str) -> list[str]:
    """What the program says of two attempts to use the library."""
    done = runtime.run(csharp.program_name(runtime), "library", *arguments, **environment)
    lines = done.stdout.strip().splitlines()
    assert done.returncode == 0 and len(lines) == 2, done.stdout[-2000:]
    return lines


def native(runtime: Runtime, build_dir: Path) -> list[Path]:
    """The files that make the native library, itself first."""
    if runtime.path is wine.windows_path:
        folder = wine.FOLDER / "bin"
        return [folder / "yoloq.dll", *(path for path in folder.glob("*.dll") if path.name != "yoloq.dll")]
    return [build_dir / "lib" / "libyoloq.so"]


# ------------------------------------------------------------------------------------------------------------- layouts


def golden(root: Path) -> set[str]:
    """The part of the golden file that is about yoloq.h, a line each; fields with the name of their struct."""
    text = (root / "tests" / "data" / "abi.txt").read_text()
    public, _, rest = text.partition("# yoloq_backend.h")
    exports = rest.partition("# exported by libyoloq.so")[2].split()
    return flat(public) | {f"import {name}" for name in exports}


def flat(text: str) -> set[str]:
    lines, struct = set(), ""
    for line in text.splitlines():
        if line.startswith("struct "):
            struct = line.split()[1]
        if line.strip() and not line.startswith("#"):
            lines.add(f"{struct}:{line.strip()}" if line.startswith("  ") else line)
    return lines


@pytest.mark.parametrize("make", RUNTIMES, ids=lambda make: make.__name__)
def test_layouts_are_those_of_the_header(root: Path, make: Callable[[], Runtime]) -> None:
    runtime = make()
    found = flat(runtime.run(csharp.program_name(runtime), "abi").stdout.replace("\r", ""))
    expected = golden(root)
    # Numbers that the binding does not need, and init functions, which zero a struct and set its size.
    unneeded = {line for line in expected if re.match(r"YQ_(VERSION|MAX)_|import yq_\w+_init$", line)}
    assert found == expected - unneeded


def test_limits_are_those_of_the_header(root: Path) -> None:
    pixels = (root / "bindings/csharp/YoloQ/PixelBlock.cs").read_text()
    sides = re.search(r"MaxSide = (\d+);", pixels)
    assert f"YQ_MAX_IMAGE_SIDE {sides[1]}" in golden(root)


def test_versions_agree(root: Path) -> None:
    project = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), flags=re.M)[1]
    expected = {"": f"{project}.0", "File": f"{project}.0", "Informational": project}
    for name in ("YoloQ", "YoloQ.Drawing", "YoloQ.WinForms"):
        text = (root / f"bindings/csharp/{name}/Properties/AssemblyInfo.cs").read_text()
        written = dict(re.findall(r'Assembly(\w*)Version\("(.+)"\)', text))
        assert {"", "File"} <= written.keys() and written.items() <= expected.items(), name


def test_the_mono_compiler_takes_the_sources(tmp_path: Path) -> None:
    """The library's language stays what a .NET Framework project has; every public member is documented."""
    out = tmp_path / "YoloQ.Net.dll"
    options = ["-target:library", f"-doc:{tmp_path / 'YoloQ.Net.xml'}"]
    dotnet.mcs(out, dotnet.framework_sources(), ["System.Drawing"], options)
    assert out.exists()
    broken = tmp_path / "Broken.cs"
    broken.write_text("public class Undocumented { }")
    with pytest.raises(dotnet.DotnetError, match="CS1591"):
        dotnet.mcs(tmp_path / "broken.dll", [broken], (), ["-target:library", f"-doc:{tmp_path / 'b.xml'}"])
    with pytest.raises(dotnet.DotnetError, match="CS1591"):
        dotnet.csc(tmp_path / "broken.dll", [broken], dotnet.NETSTANDARD)


def test_assemblies_are_deterministic(tmp_path: Path) -> None:
    again = dotnet.csc(tmp_path / "YoloQ.Net.dll", dotnet.sources("YoloQ"), dotnet.NETSTANDARD)
    assert again.read_bytes() == dotnet.library(dotnet.NETSTANDARD).read_bytes()
    assert os.fsencode(dotnet.ROOT) not in again.read_bytes()


# ------------------------------------------------------------------------------------------------- the native library


@pytest.mark.parametrize("make", RUNTIMES, ids=lambda make: make.__name__)
def test_a_missing_library_is_named(alone: Callable, make: Callable[[], Runtime]) -> None:
    runtime = alone(make)
    name = "yoloq.dll" if make is csharp.windows else "libyoloq.so"
    for line in library(runtime):
        assert line.startswith(f"NotFound {name} was not found. Copy the native files")
        assert runtime.path(runtime.folder / name) in line and "native" in line


@pytest.mark.parametrize("make", RUNTIMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("place", ["", "runtimes"])
def test_found_beside_the_assembly(alone: Callable, build_dir: Path, make: Callable[[], Runtime], place: str) -> None:
    """Also in a folder with a Chinese name; never in the current folder."""
    runtime = alone(make)
    identifier = "win-x64" if make is csharp.windows else "linux-x64"
    folder = runtime.folder / "runtimes" / identifier / "native" if place else runtime.folder
    csharp.copy(folder, *native(runtime, build_dir))
    expected = runtime.path(folder / native(runtime, build_dir)[0].name)
    assert library(runtime) == [f"{VERSION} {expected}"] * 2


@pytest.mark.parametrize("make", LINUX, ids=lambda make: make.__name__)
def test_found_by_name(alone: Callable, build_dir: Path, make: Callable[[], Runtime], tmp_path: Path) -> None:
    runtime = alone(make)
    file = build_dir / "lib" / "libyoloq.so"
    assert library(runtime, file) == [f"{VERSION} {file}"] * 2
    assert library(runtime, YOLOQ_LIBRARY=str(file)) == [f"{VERSION} {file}"] * 2
    for line in library(runtime, YOLOQ_LIBRARY=str(tmp_path / "none.so")):
        assert "named by YOLOQ_LIBRARY" in line and "none.so" in line
    for line in library(runtime, tmp_path / "none.so"):
        assert "named by Library.Load" in line


@pytest.mark.parametrize("make", RUNTIMES, ids=lambda make: make.__name__)
def test_a_wrong_library_is_refused(alone: Callable, build_dir: Path, make: Callable[[], Runtime]) -> None:
    runtime = alone(make)
    name = native(runtime, build_dir)[0].name
    (runtime.folder / name).write_text("no library")
    for line in library(runtime):
        assert line.startswith("NotFound cannot load") and name in line
    if make is csharp.windows:  # the core without OpenVINO's DLLs is fine: only its backend needs them
        csharp.copy(runtime.folder, native(runtime, build_dir)[0])
        assert library(runtime)[0].startswith(VERSION)
        return
    shutil.copyfile("/lib/x86_64-linux-gnu/libz.so.1", runtime.folder / name)
    for line in library(runtime):
        assert line.startswith(f"NotFound cannot use {runtime.folder / name}: "), line


@pytest.mark.parametrize("make", LINUX, ids=lambda make: make.__name__)
def test_two_copies_are_refused(alone: Callable, build_dir: Path, make: Callable[[], Runtime], tmp_path: Path) -> None:
    """Calls must not reach another copy than the one that was chosen."""
    runtime = alone(make)
    file = build_dir / "lib" / "libyoloq.so"
    csharp.copy(tmp_path / "other", file)
    for line in library(runtime, file, LD_PRELOAD=str(tmp_path / "other" / file.name)):
        assert line.startswith("NotFound another copy of libyoloq.so than") and str(file) in line


# ------------------------------------------------------------------------------------------------------------- example


def example(runtime: Runtime, root: Path) -> str:
    """examples/csharp/Detect.cs, compiled for a runtime; the program's file name."""
    source = [root / "examples" / "csharp" / "Detect.cs"]
    out = runtime.folder / csharp.program_name(runtime, "Detect")
    if runtime.framework == dotnet.NET462:
        dotnet.mcs(out, source, [runtime.folder / "YoloQ.Net.dll", "System.Drawing"])
    else:
        ours = [runtime.folder / "YoloQ.Net.dll", runtime.folder / "YoloQ.Drawing.dll"]
        dotnet.csc(out, source, runtime.framework, [*ours, *dotnet.drawing_common()], ["-target:exe", "-nowarn:1702"])
    return out.name


@pytest.mark.parametrize("make", [*RUNTIMES, csharp.windows8], ids=lambda make: make.__name__)
def test_the_example_finds_what_python_finds(
    root: Path, demo_package: Path, make: Callable[[], Runtime], tmp_path: Path
) -> None:
    picture = sorted((root / "datasets/fasteners/images/val").glob("*.jpg"))[0]
    pixels = cv2.imread(str(picture))
    lossless = tmp_path / "图片.png"  # the JPEG decoders of the systems differ a little
    cv2.imwrite(str(lossless), np.ascontiguousarray(pixels))
    runtime = make()
    done = runtime.run(example(runtime, root), demo_package, lossless)
    with yoloq.Detector(demo_package) as detector:
        expected = detector.detect(pixels).detections
    lines = done.stdout.strip().splitlines()
    assert len(lines) == len(expected) > 5, done.stdout[-2000:]
    for line, detection in zip(lines, expected, strict=True):
        name, score, x1, y1, x2, y2 = re.fullmatch(r"(\w+) ([\d.]+) \[(\d+) (\d+) (\d+) (\d+)\]\s*", line).groups()
        assert name == detection.name
        assert float(score) == pytest.approx(detection.score, abs=0.01)
        box = (detection.x1, detection.y1, detection.x2, detection.y2)
        assert [int(x1), int(y1), int(x2), int(y2)] == pytest.approx(box, abs=1.5)


def test_the_example_is_short(root: Path) -> None:
    text = (root / "examples" / "csharp" / "Detect.cs").read_text()
    assert len([line for line in text.splitlines() if line and not line.startswith("//")]) <= 15
