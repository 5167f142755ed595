#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The one command of this repository: sets up what it needs, then builds, tests, measures or demonstrates.

    python3 build.py demo       FP32 -> INT8 -> package -> C library -> pictures and a table, under out/demo/
                                (--docs: the table goes into the READMEs too)
    python3 build.py test       all tests: style, Python, native, sanitizers
    python3 build.py build      the native libraries, the wheel, and .venv with the wheel installed
    python3 build.py bench      speed against baselines, ratios in one run, docs/bench.json
    python3 build.py windows    yoloq.dll and all that it needs, cross-compiled into dist/windows/
    python3 build.py nuget      the same and the C# library as a NuGet package, dist/YoloQ.VERSION.nupkg
    python3 build.py sanitize   the native tests under ASan+UBSan and TSan
    python3 build.py prove      the long proofs (soak), results in docs/proof/
    python3 build.py clean      removes build/, dist/ and out/

Needs Debian or Ubuntu, Python 3.11 or newer, and root or sudo the first time. Everything else it installs itself.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
RELEASE = ROOT / "build" / "release"
PYTHONS = ("python3.13", "python3.12", "python3.11")
OLDEST_PYTHON = (3, 11)

# Debian packages by what needs them: a command to look for, or a file.
APT_BUILD = {
    "g++": "g++",
    "pkg-config": "pkg-config",
    "/usr/include/nlohmann/json.hpp": "nlohmann-json3-dev",
    "/usr/include/mbedtls/md.h": "libmbedtls-dev",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc": "fonts-wqy-microhei",
}
APT_TEST = {
    "clang-format": "clang-format",
    "git": "git",
    "ssh": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
}
APT_WINDOWS = {
    "x86_64-w64-mingw32-g++-posix": "g++-mingw-w64-x86-64-posix",
    "llvm-dlltool": "llvm",
    "/usr/include/nlohmann/json.hpp": "nlohmann-json3-dev",
}
APT_DOTNET = {
    "mono": "mono-runtime",
    "mcs": "mono-mcs",
    "npm": "npm",
    "/usr/lib/mono/4.6.2-api": "mono-devel",
    "/usr/lib/mono/gac/System.Drawing": "libmono-system-drawing4.0-cil",
    "/usr/lib/mono/gac/System.Windows.Forms": "libmono-system-windows-forms4.0-cil",
    "/usr/lib/mono/gac/System.Runtime.Serialization": "libmono-system-runtime-serialization4.0-cil",
}
APT_HOST_TEST = {
    "wine": "wine",
    "/usr/lib/wine/wine64": "wine64",
    "lld-link": "lld",
    "Xvfb": "xvfb",
    "xdotool": "xdotool",
    "import": "imagemagick",
}


class BuildError(Exception):
    """A step failed; the text says what to do."""


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Runs a command, its output shown; raises BuildError if it fails."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    merged = {**os.environ, **(env or {})}
    try:
        code = subprocess.run(words, cwd=cwd, env=merged, check=False).returncode
    except FileNotFoundError as error:
        raise BuildError(f"{words[0]} is not installed") from error
    if code != 0:
        raise BuildError(f"exit code {code}: {' '.join(words)}")


# --------------------------------------------------------------------------------------------------------------- set-up


def missing_packages(wanted: dict[str, str]) -> list[str]:
    def there(probe: str) -> bool:
        return Path(probe).exists() if probe.startswith("/") else shutil.which(probe) is not None

    return [package for probe, package in wanted.items() if not there(probe)]


def apt_install(packages: list[str]) -> None:
    if not packages:
        return
    say(f"installing {', '.join(packages)}")
    if shutil.which("apt-get") is None:
        raise BuildError(f"install these with your system's package manager: {' '.join(packages)}")
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    run(*prefix, "apt-get", "update", "-qq", env=environment)
    run(*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, env=environment)


def find_python() -> str:
    """An interpreter that the pinned packages support; installs one if the system's is too old."""
    if sys.version_info >= OLDEST_PYTHON:
        return sys.executable
    for name in PYTHONS:
        if found := shutil.which(name):
            return found
    apt_install(["python3.11", "python3.11-venv"])
    return "python3.11"


def venv_bin(name: str) -> Path:
    return VENV / "bin" / name


def make_venv() -> None:
    """The virtual environment with exactly the pinned packages."""
    if not venv_bin("python").exists():
        say("setting up .venv")
        python = find_python()
        shutil.rmtree(VENV, ignore_errors=True)
        try:
            run(python, "-m", "venv", VENV)
        except BuildError:  # Debian splits venv off Python
            shutil.rmtree(VENV, ignore_errors=True)
            apt_install([f"{Path(python).resolve().name}-venv"])
            run(python, "-m", "venv", VENV)
    install_pinned("requirements.txt")


def install_pinned(name: str) -> None:
    """Installs a file of pinned packages into .venv, unless exactly this was installed before."""
    requirements = ROOT / name
    stamp = VENV / f"{requirements.stem}.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"installing {name}")
    run(venv_bin("python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements)
    stamp.write_text(digest)


def set_up(tests: bool = False) -> None:
    apt_install(missing_packages(APT_BUILD | (APT_TEST | APT_WINDOWS | APT_DOTNET | APT_HOST_TEST if tests else {})))
    make_venv()
    if tests:
        install_pinned("requirements-train.txt")


# ---------------------------------------------------------------------------------------------------------------- build


def site_packages() -> Path:
    return next((VENV / "lib").glob("python3.*/site-packages"))


def tool_environment() -> dict[str, str]:
    """.venv's commands first, so that CMake finds its Ninja and tests find `yoloq`."""
    return {"PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(VENV)}


def build_native(preset: str) -> None:
    say(f"native build: {preset}")
    environment = tool_environment()
    openvino = site_packages() / "openvino" / "cmake"
    run(venv_bin("cmake"), "--preset", preset, f"-DOpenVINO_DIR={openvino}", "--log-level=WARNING", env=environment)
    run(venv_bin("cmake"), "--build", "--preset", preset, env=environment)


def build_wheel() -> None:
    say("wheel")
    for old in (ROOT / "dist").glob("*.whl"):
        old.unlink()
    run(venv_bin("python"), "-m", "hatchling", "build", "-t", "wheel", "-d", "dist", env=tool_environment())
    wheel = next((ROOT / "dist").glob("yoloq-*.whl"))
    pip = [venv_bin("python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-index", "--force-reinstall", wheel)


def build() -> None:
    set_up()
    build_native("release")
    build_wheel()


# ------------------------------------------------------------------------------------------------------------- commands


def python(*arguments: str | Path, env: dict[str, str] | None = None) -> None:
    run(venv_bin("python"), *arguments, env={**tool_environment(), **(env or {})})


def demo(arguments: argparse.Namespace) -> None:
    build()
    say("demo")
    python("-m", "yoloq_quantize.demo", "--out", "out/demo")
    if arguments.rest == ["--docs"]:
        python("bench/readme.py", "accuracy", "out/demo/table.md")


def own_sources(*patterns: str) -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [name for name in listing.stdout.split() if (ROOT / name).exists()]


def style() -> None:
    say("style")
    run("clang-format", "--dry-run", "--Werror", *own_sources("*.c", "*.h", "*.cpp"))
    run(venv_bin("ruff"), "check", "-q", ".")
    run(venv_bin("ruff"), "format", "-q", "--check", ".")


def test(arguments: argparse.Namespace) -> None:
    set_up(tests=True)
    build()
    python("tools/windows.py")
    style()
    say("tests")
    python("-m", "pytest", *arguments.rest)
    if not arguments.rest:
        sanitize(arguments)


def windows(arguments: argparse.Namespace) -> None:
    apt_install(missing_packages(APT_WINDOWS))
    make_venv()
    say("windows")
    python("tools/windows.py", *arguments.rest)


def nuget(arguments: argparse.Namespace) -> None:
    apt_install(missing_packages(APT_WINDOWS | APT_DOTNET))
    build()
    python("tools/windows.py")
    say("nuget")
    python("tools/nuget.py", *arguments.rest)


def sanitize(_: argparse.Namespace) -> None:
    set_up(tests=True)
    for preset in ("asan", "tsan"):
        build_native(preset)
        say(f"sanitizer: {preset}")
        python("tests/sanitize.py", preset)


def bench(arguments: argparse.Namespace) -> None:
    build()
    say("bench")
    python("bench/run.py", *arguments.rest)


def prove(arguments: argparse.Namespace) -> None:
    set_up(tests=True)
    build()
    say("proofs")
    python("tests/prove.py", *arguments.rest)


def clean(_: argparse.Namespace) -> None:
    for name in ("build", "dist", "out"):
        shutil.rmtree(ROOT / name, ignore_errors=True)


COMMANDS = {
    "demo": demo,
    "test": test,
    "build": lambda _: build(),
    "bench": bench,
    "windows": windows,
    "nuget": nuget,
    "sanitize": sanitize,
    "prove": prove,
    "clean": clean,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="handed to pytest, the benchmark or the proofs")
    arguments = parser.parse_args()
    try:
        COMMANDS[arguments.command](arguments)
    except BuildError as error:
        print(f"build.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
