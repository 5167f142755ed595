# SPDX-License-Identifier: Apache-2.0
"""The C# test program (bindings/csharp/YoloQ.Tests): compiled for each runtime, started, and what it works on."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import wine
import yoloq
from conftest import BUILD, ROOT

sys.path.insert(0, str(ROOT / "tools"))
dotnet: Any = importlib.import_module("dotnet")

PROGRAMS = ROOT / "build" / "dotnet" / "tests"
REGION = (100, 50, 400, 500)  # as in OverloadTests.cs
MakePackage = Callable[..., Path]


@dataclass(frozen=True)
class Runtime:
    """A .NET runtime, with programs compiled for it."""

    name: str
    folder: Path
    """Where its programs lie, with the assemblies that they use."""
    framework: str
    start: Callable[..., list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 0.0
    """How far scores may be from the Python binding's on Linux."""
    path: Callable[[Path], str] = str

    def run(
        self, program: str, *arguments: str | Path, time_limit_s: int = 180, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program, output and errors together. One that hangs is ended."""
        words = [self.path(word) if isinstance(word, Path) else word for word in arguments]
        env = {name: value for name, value in {**os.environ, **self.environment, **environment}.items() if value}
        command = ["timeout", "--kill-after=5", str(time_limit_s), *self.start(self.folder / program, *words)]
        return subprocess.run(
            command, cwd=self.folder, env=env, text=True, encoding="utf-8", errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip


def mono() -> Runtime:
    """The .NET Framework 4.6.2 assembly that we ship; the program compiled by Mono's own compiler."""
    library = dotnet.library(dotnet.NET462)
    folder = PROGRAMS / "mono"
    copy(folder, library)
    sources = dotnet.sources("YoloQ.Tests")
    dotnet.mcs(folder / "YoloQ.Tests.exe", sources, [folder / "YoloQ.Net.dll", "System.Drawing", "System.Core"])
    environment = {"YOLOQ_LIBRARY": str(BUILD / "lib" / "libyoloq.so")}
    return Runtime("mono", folder, dotnet.NET462, dotnet.mono_command, environment)


def coreclr() -> Runtime:
    """The netstandard2.1 assemblies on .NET 8."""
    folder = PROGRAMS / "coreclr"
    compile_for_core(folder, dotnet.drawing_common())
    # The collector's first generation is as large as the CPU's cache otherwise, and hides growth for a while.
    environment = {"YOLOQ_LIBRARY": str(BUILD / "lib" / "libyoloq.so"), "DOTNET_GCgen0size": "0x200000"}
    return Runtime("coreclr", folder, dotnet.NETCORE, dotnet.coreclr_command, environment)


def windows() -> Runtime:
    """The netstandard2.1 assemblies on .NET Core 3.1 for Windows in Wine, with Microsoft's System.Drawing.Common and
    our DLLs as NuGet lays them out. Not on .NET 8: in Wine 8 the second exception that it throws ends its thread."""
    folder = PROGRAMS / "windows"
    compile_for_core(folder, dotnet.drawing_common(windows=True))
    native = folder / "runtimes" / "win-x64" / "native"
    shutil.rmtree(native, ignore_errors=True)
    wine.lay_out(native)
    wine.start()
    return Runtime("windows", folder, dotnet.NETCORE, old_windows_command, wine_environment(), 0.01, wine.windows_path)


def windows8() -> Runtime:
    """As windows(), on .NET 8: for programs that throw nothing."""
    old = windows()
    return replace(old, name="windows8", start=windows_command)


def wine_environment() -> dict[str, str]:
    settings = {
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
        "COMPlus_GCgen0size": "0x200000",
        "WINEDLLOVERRIDES": wine.OVERRIDES.replace("mscoree,", ""),  # managed assemblies name it
        "YOLOQ_LIBRARY": "",
    }
    return wine.environment(**settings)


def windows_command(program: Path, *arguments: str) -> list[str]:
    dotnet.write_runtime_config(program)
    return ["wine", str(dotnet.runtime(windows=True) / "dotnet.exe"), "exec", wine.windows_path(program), *arguments]


def old_windows_command(program: Path, *arguments: str) -> list[str]:
    dotnet.write_runtime_config(program, "3.1")
    return ["wine", str(dotnet.old_windows_runtime() / "dotnet.exe"), "exec", wine.windows_path(program), *arguments]


def compile_for_core(folder: Path, drawing: list[Path]) -> None:
    """The test program for .NET in a folder, with everything it uses."""
    references = [dotnet.library(dotnet.NETSTANDARD), dotnet.drawing_library()]
    copy(folder, *references, *drawing)
    # The program is compiled against the reference that exists on every system.
    options = ["-target:exe", "-nowarn:1702"]
    sources = dotnet.sources("YoloQ.Tests")
    dotnet.csc(folder / "YoloQ.Tests.dll", sources, dotnet.NETCORE, [*references, *dotnet.drawing_common()], options)


def copy(folder: Path, *files: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def program_name(runtime: Runtime, name: str = "YoloQ.Tests") -> str:
    return f"{name}.exe" if runtime.framework == dotnet.NET462 else f"{name}.dll"


# -------------------------------------------------------------------------------------------------------------- inputs


def rows(result: yoloq.Result) -> bytes:
    """A result as an array of yq_detection."""
    return b"".join(
        struct.pack("<5fifI", d.x1, d.y1, d.x2, d.y2, d.score, d.class_id, d.angle, 0) for d in result.detections
    )


def nv12(picture: np.ndarray) -> np.ndarray:
    """BGR as NV12, by OpenCV's planar form."""
    height, width = picture.shape[:2]
    planar = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    y, u, v = np.split(planar, [height * width, height * width * 5 // 4])
    return np.concatenate([y, np.stack([u, v], axis=1).reshape(-1)]).reshape(height * 3 // 2, width)


def write_inputs(folder: Path, demo: Path, make: MakePackage) -> dict[str, str | Path | float]:
    """Packages, a picture, and what the Python binding finds in it. See Given.cs."""
    picture = cv2.imread(str(sorted((ROOT / "datasets/fasteners/images/val").glob("*.jpg"))[0]))
    height, width = picture.shape[:2]
    (folder / "pixels").write_bytes(picture.tobytes())
    planes = nv12(picture)
    (folder / "nv12").write_bytes(planes.tobytes())
    with yoloq.Detector(demo) as detector:
        results = {
            "whole": detector.detect(picture),
            "region": detector.detect(picture, roi=REGION),
            "gray": detector.detect(np.ascontiguousarray(picture[:, :, 1])),
            "nv12": detector.detect(planes, format="NV12"),
            "nv12.709": detector.detect(planes, format="NV12", color_space="BT709_FULL"),
        }
        classes = detector.class_names
    inputs: dict[str, str | Path | float] = {
        "width": width, "height": height, "pixels": folder / "pixels", "nv12": folder / "nv12",
        "demo": demo, "classes": ",".join(classes), **packages(folder, make),
    }  # fmt: skip
    for name, result in results.items():
        (folder / f"expected.{name}").write_bytes(rows(result))
        inputs[f"expected.{name}"] = folder / f"expected.{name}"
    return inputs


def packages(folder: Path, make: MakePackage) -> dict[str, Path]:
    """Packages for the dummy backend, and wrong ones."""
    made = {
        "dummy": make(),
        "tiny": make("tiny", size=32),
        "slow": make("slow", options={"dummy.delay_ms": "200"}),
        "healthy": make("healthy", options={"dummy.temperature_c": "61", "dummy.memory_used": str(1 << 40)}),
        "failing": make("failing", options={"dummy.fail_every": "2"}),
        "lost": make("lost", options={"dummy.lose_every": "2"}),
        "damaged": make("damaged"),
        "chinese": make("紧固件", classes=["螺丝", "螺母", "垫圈"]),
    }
    sdk = {"chip": "ascend310p", "backend": "cpu", "sdk": "CANN", "sdk_version": "8.0", "compiler": "the tests"}
    made["ascend"] = make("ascend", target=sdk)
    (made["damaged"] / "model.bin").write_bytes(b"damaged")
    chinese = folder / "车间 检测" / "紧固件.yoloq"
    shutil.copytree(made["chinese"], chinese)
    return {**made, "chinese": chinese}


def write_given(runtime: Runtime, inputs: Mapping[str, str | Path | float], folder: Path) -> Path:
    """The file that the test program reads, with paths as the runtime writes them."""
    values = {name: runtime.path(value) if isinstance(value, Path) else value for name, value in inputs.items()}
    file = folder / f"given.{runtime.name}"
    text = "".join(f"{name}={value}\n" for name, value in {**values, "tolerance": runtime.tolerance}.items())
    file.write_text(text, encoding="utf-8")
    return file


# ------------------------------------------------------------------------------------------------------------- results


def test_names(framework: str) -> list[str]:
    """The tests in the sources, as the test program names them."""
    names = []
    for path in sorted((ROOT / "bindings/csharp/YoloQ.Tests").glob("*Tests.cs")):
        text = path.read_text(encoding="utf-8")
        if framework == dotnet.NET462:
            text = re.sub(r"^#if NETCOREAPP$.*?^#endif$", "", text, flags=re.M | re.S)
        names += [f"{path.stem}.{name}" for name in re.findall(r"^        public static void (\w+)\(\)", text, re.M)]
    return names


test_names.__test__ = False  # type: ignore[attr-defined]


def results_of(output: str) -> dict[str, str]:
    """Test name -> "" if it passed, else why not."""
    found = {}
    for line in output.splitlines():
        if match := re.match(r"(not )?ok (\w+\.\w+) \(\d+ ms\)(?:: (.*))?", line):
            found[match[2]] = (match[3] or "failed") if match[1] else ""
    return found


class Outcomes:
    """What the test program says on each runtime; it runs once per runtime."""

    def __init__(self, inputs: Mapping[str, str | Path | float], folder: Path):
        self._inputs = inputs
        self._folder = folder
        self._done: dict[str, tuple[dict[str, str], str]] = {}

    def expect(self, make: Callable[[], Runtime], test: str) -> None:
        """Fails unless the test passed on the runtime that `make` gives."""
        if make.__name__ not in self._done:
            runtime = make()
            given = write_given(runtime, self._inputs, self._folder)
            output = runtime.run(program_name(runtime), "test", given).stdout
            self._done[make.__name__] = results_of(output), output
        results, output = self._done[make.__name__]
        assert test in results, f"{test} did not run; the program ended with:\n{output[-3000:]}"
        assert results[test] == "", results[test]
