#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes dist/YoloQ.VERSION.nupkg: the .NET assemblies, and the native files for Windows and Linux.

    python tools/nuget.py [--out DIR]

`python3 build.py build` must have run, and `python3 build.py windows` if the package is to serve Windows. The same
inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import xml.sax.saxutils
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import dotnet

ROOT = dotnet.ROOT
PROJECT = ROOT / "bindings" / "csharp" / "YoloQ"
WINDOWS, LINUX = "win-x64", "linux-x64"
DESKTOP = "net8.0-windows7.0"  # what a Windows Forms or WPF program of .NET 8 or newer takes
OLDEST_TIME = (1980, 1, 1, 0, 0, 0)  # what a zip can hold
Files = dict[str, bytes]


def version() -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.+)"$', text, flags=re.M)[1]


# -------------------------------------------------------------------------------------------------------------- inputs


def installed(build: Path) -> Path:
    """The native library as its own build installs it, with what it needs at run time."""
    folder = dotnet.WORK / "installed"
    shutil.rmtree(folder, ignore_errors=True)
    dotnet.run("cmake", "--install", build, "--prefix", folder, "--strip")
    return folder


def natives(build: Path, windows: Path) -> dict[str, list[Path]]:
    """Runtime identifier -> native files. Windows only if its build is there."""
    found = {LINUX: sorted((installed(build) / "lib").glob("*.so*"))}
    if (windows / "bin" / "yoloq.dll").exists():
        found[WINDOWS] = sorted((windows / "bin").glob("*.dll"))
    return found


def licences(folders: Iterable[tuple[str, Path]]) -> Files:
    """What the native files' parts ask to be shipped with them."""
    found = {}
    for name, folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                found[f"licences/{name}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return found


def assemblies() -> Files:
    standard, drawing = dotnet.library(dotnet.NETSTANDARD), dotnet.drawing_library()
    folders = {
        dotnet.NET462: [dotnet.library(dotnet.NET462)],
        dotnet.NETSTANDARD: [standard],
        DESKTOP: [standard, drawing],
    }
    return {
        f"lib/{folder}/{file.name}": file.read_bytes()
        for folder, libraries in folders.items()
        for library in libraries
        for file in (library, library.with_suffix(".xml"))
    }


# ------------------------------------------------------------------------------------------------------------- package


def manifest(number: str) -> str:
    groups = "".join(
        f'\n      <group targetFramework="{name}" />' for name in (".NETFramework4.6.2", ".NETStandard2.1")
    )
    desktop = f'\n      <group targetFramework="{DESKTOP}" />'
    about = "Quantised YOLO detectors on CPUs and NPUs, behind one class: bitmaps and camera buffers in, boxes out."
    return f"""<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
  <metadata minClientVersion="3.3">
    <id>YoloQ</id>
    <version>{number}</version>
    <authors>yoloq</authors>
    <description>{xml.sax.saxutils.escape(about)}</description>
    <license type="expression">Apache-2.0</license>
    <readme>README.md</readme>
    <tags>yolo int8 npu inference object-detection winforms</tags>
    <dependencies>{groups}{desktop}
    </dependencies>
    <frameworkReferences>
      <group targetFramework="{DESKTOP}">
        <frameworkReference name="Microsoft.WindowsDesktop.App.WindowsForms" />
      </group>
    </frameworkReferences>
  </metadata>
</package>
"""


def envelope(names: Iterable[str]) -> Files:
    """What makes a zip an OPC package."""
    endings = sorted({name.rsplit(".", 1)[-1] for name in names if "." in name.rsplit("/", 1)[-1]} | {"rels"})
    kinds = {"rels": "application/vnd.openxmlformats-package.relationships+xml"}
    defaults = "".join(
        f'<Default Extension="{ending}" ContentType="{kinds.get(ending, "application/octet")}" />' for ending in endings
    )
    others = [f"/{name}" for name in names if "." not in name.rsplit("/", 1)[-1]]
    overrides = "".join(f'<Override PartName="{name}" ContentType="application/octet" />' for name in others)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    office = "http://schemas.openxmlformats.org/package/2006"
    types = f'{head}<Types xmlns="{office}/content-types">{defaults}{overrides}</Types>\n'
    kind = "http://schemas.microsoft.com/packaging/2010/07/manifest"
    relation = f'<Relationship Type="{kind}" Target="/YoloQ.nuspec" Id="R1" />'
    rels = f'{head}<Relationships xmlns="{office}/relationships">{relation}</Relationships>\n'
    return {"[Content_Types].xml": types.encode(), "_rels/.rels": rels.encode()}


def contents(native_files: Mapping[str, Iterable[Path]], notices: Files) -> Files:
    files: Files = assemblies()
    targets = (PROJECT / "package" / "YoloQ.targets").read_bytes()
    # "build" serves packages.config, "buildTransitive" also those who reference a project that uses the package.
    files |= {f"{place}/{dotnet.NET462}/YoloQ.targets": targets for place in ("build", "buildTransitive")}
    for identifier, paths in native_files.items():
        files |= {f"runtimes/{identifier}/native/{path.name}": path.read_bytes() for path in paths}
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files["README.md"] = (PROJECT / "package" / "README.md").read_bytes()
    files |= notices
    files["YoloQ.nuspec"] = manifest(version()).encode()
    return envelope(sorted(files)) | dict(sorted(files.items()))


def write(out: Path, files: Files) -> Path:
    """Writes the package beside and renames it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, OLDEST_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return beside.replace(out)


def pack(folder: Path, native_files: Mapping[str, Iterable[Path]], notices: Files | None = None) -> Path:
    """Makes YoloQ.VERSION.nupkg in `folder`."""
    return write(folder / f"YoloQ.{version()}.nupkg", contents(native_files, notices or {}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    arguments = parser.parse_args()
    build, windows = ROOT / "build" / "release", ROOT / "dist" / "windows"
    try:
        native_files = natives(build, windows)
        folders = [(LINUX, dotnet.WORK / "installed" / "share" / "doc" / "yoloq")]
        if WINDOWS in native_files:
            folders.append((WINDOWS, windows / "share" / "doc" / "yoloq"))
        print(pack(arguments.out.resolve(), native_files, licences(folders)))
    except dotnet.DotnetError as error:
        print(f"nuget.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
