# SPDX-License-Identifier: Apache-2.0
"""A vendor's compiler in a Python environment of its own, made once and kept in the user's cache folder.

YOLOQ_CACHE names another folder. Nothing of the environment is seen by this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from yoloq_quantize.errors import QuantizeError


def cache_folder() -> Path:
    """YOLOQ_CACHE, or yoloq in XDG_CACHE_HOME or ~/.cache."""
    if given := os.environ.get("YOLOQ_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yoloq"


def find_python(version: str) -> Path | None:
    """An interpreter of a version such as "3.10" that runs: on PATH, of pyenv, of uv."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "uv" / "python"
    candidates = [Path(found)] if (found := shutil.which(name)) else []
    candidates += sorted(pyenv.glob(f"{version}.*/bin/{name}"), reverse=True)
    candidates += sorted(uv.glob(f"cpython-{version}*/bin/{name}"), reverse=True)
    return next((path for path in candidates if _is_version(path, version)), None)


def _is_version(python: Path, version: str) -> bool:
    """Shims of pyenv exist for versions that are not chosen; they fail when they run."""
    command = [str(python), "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def environment(name: str, version: str, requirements: Path, unwanted: tuple[str, ...] = ()) -> Path:
    """The folder of an environment that has exactly `requirements` (a pip file with hashes), made if it is not there.

    unwanted: files to remove from it, by patterns from its site-packages. YOLOQ_WHEELS may name a folder of wheels
    that need no download. Processes may call this at the same time.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise QuantizeError(f"the compiler {name} runs on x86-64 Linux only; compile there")
    python = find_python(version)
    if python is None:
        raise QuantizeError(
            f"the compiler {name} needs Python {version}, which is neither on PATH nor in pyenv; get it with "
            f"`pyenv install {version}`, `uv python install {version}` or your system's package python{version}-venv"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _install(python, folder, _with_wheels(requirements), unwanted)
    except OSError as error:
        raise QuantizeError(
            f"{folder.parent}: {error.strerror or error}; name another folder in YOLOQ_CACHE"
        ) from error
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # here: Linux only, as every vendor's compiler is

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _with_wheels(requirements: Path) -> str:
    """The requirements, with the file's path where YOLOQ_WHEELS has the wheel; pip checks its hash all the same."""
    text, wheels = requirements.read_text(encoding="utf-8"), os.environ.get("YOLOQ_WHEELS")
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.M) if wheels else ():
        found = sorted(Path(wheels).glob(f"{name.replace('-', '_')}-{version}-*.whl"))
        text = text.replace(f"{name}=={version} ", f"{found[0].resolve()} ") if found else text
    return text


def _install(python: Path, folder: Path, requirements: str, unwanted: tuple[str, ...]) -> None:
    """Makes it beside its place, then renames it there."""
    print(f"yoloq: installing {folder.name} into {folder.parent}, once; this downloads a lot", file=sys.stderr)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _run([str(python), "-m", "venv", str(scratch)], folder)
        pip = [
            str(scratch / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        wanted = scratch / "requirements.txt"
        wanted.write_text(requirements, encoding="utf-8")
        _run([*pip, "--require-hashes", "--only-binary=:all:", "--no-compile", "-r", str(wanted)], folder)
        packages = next(scratch.glob("lib/python*/site-packages"))
        for pattern in unwanted:
            for path in packages.glob(pattern):
                path.unlink()
        scratch.chmod(0o755)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return
    log = folder.with_name(f"{folder.name}.log")
    log.write_text(done.stdout, encoding="utf-8")
    lines = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or done.stdout.splitlines()[-1:]
    reason = lines[-1].removeprefix("ERROR: ").strip()[:300] if lines else f"exit code {done.returncode}"
    raise QuantizeError(f"{folder.name} could not be installed: {reason}; all that was said is in {log}")
