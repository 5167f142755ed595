# SPDX-License-Identifier: Apache-2.0
"""The NuGet package: what is in it, and fresh projects that MSBuild restores it into."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csharp import dotnet

nuget: Any = importlib.import_module("nuget")

PROGRAM = """
using System;
using YoloQ;

static class Program
{
    static void Main(string[] arguments)
    {
        using (var detector = new Detector(arguments[0], new DetectorOptions { Backend = "dummy" }))
        {
            DetectionResult result = detector.Detect(new byte[64 * 48 * 3], 64, 48, PixelFormat.Bgr24);
            Console.WriteLine(result.Count + " " + Library.Path);
        }
    }
}
"""
PROJECT = """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>{framework}</TargetFramework>
    <UseAppHost>false</UseAppHost>
    {more}
  </PropertyGroup>
  <ItemGroup><PackageReference Include="YoloQ" Version="{version}" /></ItemGroup>
</Project>
"""
CONFIG = """<configuration>
  <packageSources><clear /><add key="local" value="{source}" /></packageSources>
</configuration>
"""


@pytest.fixture(scope="module")
def package(build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the native files that the test programs use; the Windows ones are only looked for."""
    linux = sorted((build_dir / "lib").glob("libyoloq*.so"))
    folder = tmp_path_factory.mktemp("feed")
    windows = folder / "yoloq.dll"
    windows.write_bytes(b"MZ")
    made = nuget.pack(folder, {nuget.LINUX: linux, nuget.WINDOWS: [windows]})
    windows.unlink()
    return made


@pytest.fixture
def project(package: Path, tmp_path: Path) -> Callable[..., Path]:
    """project(framework, more="") -> a fresh project that uses the package, from a local folder alone."""

    def make(framework: str, more: str = "") -> Path:
        folder = tmp_path / "fresh"
        folder.mkdir()
        (folder / "Program.cs").write_text(PROGRAM)
        (folder / "nuget.config").write_text(CONFIG.format(source=package.parent))
        file = folder / "Fresh.csproj"
        file.write_text(PROJECT.format(framework=framework, version=nuget.version(), more=more))
        return file

    return make


def build(file: Path) -> Path:
    """Restores and builds; the folder of the program."""
    packages = file.parent / "packages"
    dotnet.msbuild(file, "-restore", "-p:Configuration=Release", f"-p:RestorePackagesPath={packages}")
    return next(file.parent.glob("bin/Release/*/Fresh.*")).parent


def found(command: list[str]) -> tuple[int, Path]:
    """What the program printed; no variable tells it where the library is."""
    env = {name: value for name, value in os.environ.items() if name != "YOLOQ_LIBRARY"}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    count, path = done.stdout.strip().split(" ", 1)
    return int(count), Path(path)


def test_contents(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = set(archive.namelist())
        manifest = ElementTree.fromstring(archive.read("YoloQ.nuspec"))
    assert {"lib/net462/YoloQ.Net.dll", "lib/net462/YoloQ.Net.xml", "lib/netstandard2.1/YoloQ.Net.dll"} <= names
    assert {"lib/net8.0-windows7.0/YoloQ.Net.dll", "lib/net8.0-windows7.0/YoloQ.Drawing.dll"} <= names
    assert {"runtimes/linux-x64/native/libyoloq.so", "runtimes/win-x64/native/yoloq.dll"} <= names
    assert {"build/net462/YoloQ.targets", "buildTransitive/net462/YoloQ.targets", "LICENSE", "README.md"} <= names
    space = {"n": "http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"}
    assert manifest.findtext("n:metadata/n:version", namespaces=space) == nuget.version()
    assert manifest.findtext("n:metadata/n:license", namespaces=space) == "Apache-2.0"
    assert manifest.findtext("n:metadata/n:readme", namespaces=space) in names


def test_the_same_bytes_again(package: Path, build_dir: Path, tmp_path: Path) -> None:
    linux = sorted((build_dir / "lib").glob("libyoloq*.so"))
    windows = tmp_path / "yoloq.dll"
    windows.write_bytes(b"MZ")
    again = nuget.pack(tmp_path, {nuget.WINDOWS: [windows], nuget.LINUX: linux})
    assert again.read_bytes() == package.read_bytes()


def test_the_real_package_is_complete(build_dir: Path, root: Path) -> None:
    """Every file that the native builds install is in it, with the licences of its parts."""
    windows = root / "dist" / "windows"
    files = nuget.natives(build_dir, windows)
    names = {path.name for path in files[nuget.LINUX]}
    assert {"libyoloq.so", "libyoloq_cpu.so", "libopenvino_intel_cpu_plugin.so", "libtbb.so.12"} <= names
    assert {"yoloq.dll", "yoloq_cpu.dll", "openvino.dll", "tbb12.dll"} <= {p.name for p in files[nuget.WINDOWS]}
    for identifier, folder in ((nuget.LINUX, dotnet.WORK / "installed"), (nuget.WINDOWS, windows)):
        notices = nuget.licences([(identifier, folder / "share" / "doc" / "yoloq")])
        assert any(name.startswith(f"licences/{identifier}/openvino/") for name in notices)


def test_dotnet_framework_project(project: Callable[..., Path], dummy_package: Path) -> None:
    """The native files are copied beside the program."""
    folder = build(project("net472", "<PlatformTarget>x64</PlatformTarget>"))
    count, path = found(["mono", str(folder / "Fresh.exe"), str(dummy_package)])
    assert count > 0 and path == folder / "libyoloq.so"


def test_dotnet_framework_project_of_32_bits(project: Callable[..., Path]) -> None:
    with pytest.raises(dotnet.DotnetError, match="YoloQ is 64-bit: set PlatformTarget to x64"):
        build(project("net472", "<PlatformTarget>x86</PlatformTarget>"))


def test_dotnet_project(project: Callable[..., Path], dummy_package: Path) -> None:
    """The native files are found where the SDK puts them."""
    folder = build(project("netcoreapp3.1"))
    host = [str(dotnet.runtime() / "dotnet"), "exec", "--roll-forward", "Major"]
    count, path = found([*host, str(folder / "Fresh.dll"), str(dummy_package)])
    assert count > 0 and path == folder / "runtimes" / "linux-x64" / "native" / "libyoloq.so"


def test_official_project_files(root: Path, tmp_path: Path) -> None:
    """They build the same public faces that the tests run."""
    copy = tmp_path / "csharp"
    for name in ("YoloQ", "YoloQ.Drawing"):
        shutil.copytree(root / "bindings" / "csharp" / name, copy / name, ignore=shutil.ignore_patterns("obj", "bin"))
    feed_drawing(tmp_path)
    (copy / "nuget.config").write_text(CONFIG.format(source=tmp_path))
    arguments = ["-restore", "-p:Configuration=Release", f"-p:RestorePackagesPath={tmp_path / 'packages'}"]
    dotnet.msbuild(copy / "YoloQ.Drawing" / "YoloQ.Drawing.csproj", *arguments)
    dotnet.msbuild(copy / "YoloQ" / "YoloQ.csproj", *arguments)
    ours = [dotnet.library(dotnet.NET462), dotnet.library(dotnet.NETSTANDARD), dotnet.drawing_library()]
    projects = [("YoloQ", dotnet.NET462), ("YoloQ", dotnet.NETSTANDARD), ("YoloQ.Drawing", dotnet.NETCORE)]
    for library, (name, framework) in zip(ours, projects, strict=True):
        built = copy / name / "bin" / "Release" / framework / library.name
        assert built.exists()
        assert members(built.with_suffix(".xml")) == members(library.with_suffix(".xml"))


def feed_drawing(folder: Path) -> None:
    """A package of the System.Drawing.Common that comes with the SDK; the project files ask for it by name."""
    manifest = """<package><metadata><id>System.Drawing.Common</id><version>4.7.0</version><authors>-</authors>
        <description>-</description></metadata></package>"""
    (library,) = dotnet.drawing_common()
    files = {"lib/netcoreapp3.1/System.Drawing.Common.dll": library.read_bytes(), "a.nuspec": manifest.encode()}
    nuget.write(folder / "system.drawing.common.4.7.0.nupkg", nuget.envelope(sorted(files)) | files)


def members(documentation: Path) -> set[str]:
    return {member.get("name") for member in ElementTree.parse(documentation).iter("member")}
