# SPDX-License-Identifier: Apache-2.0
"""Places that packages are pushed to: a folder of this machine, or one behind SSH. Both look the same:

NAME.yoloq                        the current version: a symbolic link, or a copy where links are not wanted
.NAME.yoloq.versions/000007-<id>  every version that is kept; <id>: 12 digits of its manifest's SHA-256
.NAME.yoloq.versions/current      the current version's name
.NAME.yoloq.versions/held         ids that were rolled back, one a line
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.cache import folder_digests
from yoloq_quantize.flow.plan import Destination

_VERSION = re.compile(r"\d{6,}-[0-9a-f]{12}")
_CLEANING_SECONDS = 20


@dataclass(frozen=True)
class State:
    """versions: names, oldest first. current: None if the stable name leads nowhere. held: ids rolled back."""

    versions: tuple[str, ...]
    current: str | None
    held: tuple[str, ...]


class Site(Protocol):
    """A destination for one package name. `entry` is a version's name or the name of a part; "" the stable name."""

    def state(self) -> State: ...
    def upload(self, package: Path, part: str) -> None: ...
    def digests(self, entry: str) -> dict[str, str]: ...
    def manifest(self, entry: str) -> bytes: ...
    def adopt(self, part: str, version: str) -> None: ...
    def point(self, version: str) -> None: ...
    def remove(self, entries: list[str]) -> None: ...
    def hold(self, ids: list[str]) -> None: ...


def open_site(destination: Destination, name: str) -> Site:
    """name: of the package, such as fasteners.yoloq."""
    return FolderSite(destination, name) if destination.host is None else SshSite(destination, name)


def _state(entries: list[str], current: str, held: list[str]) -> State:
    versions = tuple(sorted(e for e in entries if _VERSION.fullmatch(e)))
    return State(versions, current if current in versions else None, tuple(h for h in held if h))


class FolderSite:
    """A folder that this machine can write to, a network share included."""

    def __init__(self, destination: Destination, name: str) -> None:
        self.links = destination.links
        self.stable = Path(destination.folder) / name
        self.home = self.stable.with_name(f".{name}.versions")

    def state(self) -> State:
        if self.stable.exists() and not self.home.is_dir():
            raise QuantizeError(f"{self.stable}: exists and was not put there by a pipeline; move it away")
        entries = sorted(os.listdir(self.home)) if self.home.is_dir() else []
        named = self._read("current").strip() if self.stable.is_dir() else ""
        if self.stable.is_symlink():
            named = os.path.basename(os.readlink(self.stable))
        return _state(entries, named, self._read("held").split())

    def upload(self, package: Path, part: str) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        for old in self.home.glob(".part-*"):  # of a run that was killed
            shutil.rmtree(old)
        shutil.copytree(package, self.home / part)
        for path in (self.home / part).rglob("*"):
            if path.is_file():
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())

    def digests(self, entry: str) -> dict[str, str]:
        return folder_digests(self._place(entry))

    def manifest(self, entry: str) -> bytes:
        path = self._place(entry) / "manifest.json"
        return path.read_bytes() if path.is_file() else b""

    def adopt(self, part: str, version: str) -> None:
        (self.home / part).rename(self.home / version)

    def point(self, version: str) -> None:
        if self.links:
            beside = self.home / ".link"
            beside.unlink(missing_ok=True)
            beside.symlink_to(Path(self.home.name, version), target_is_directory=True)
            if self.stable.is_dir() and not self.stable.is_symlink():
                shutil.move(self.stable, self.home / ".old")  # it was a copy until now
            os.replace(beside, self.stable)
        else:
            self._copy(version)
        shutil.rmtree(self.home / ".old", ignore_errors=True)
        self._write("current", version + "\n")

    def _copy(self, version: str) -> None:
        """Two renames: in between, a reader finds no package, but never half of one."""
        fresh, old = self.home / ".new", self.home / ".old"
        for path in (fresh, old):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.home / version, fresh)
        if self.stable.is_symlink():
            self.stable.unlink()
        elif self.stable.exists():
            self.stable.rename(old)
        fresh.rename(self.stable)

    def remove(self, entries: list[str]) -> None:
        for entry in entries:
            shutil.rmtree(self._place(entry), ignore_errors=True)

    def hold(self, ids: list[str]) -> None:
        self._write("held", "".join(f"{i}\n" for i in ids))

    def _place(self, entry: str) -> Path:
        return self.home / entry if entry else self.stable

    def _read(self, name: str) -> str:
        path = self.home / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def _write(self, name: str, text: str) -> None:
        beside = self.home / f".{name}"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, self.home / name)


class SshSite:
    """A folder behind the system's `ssh` command. The far side needs a POSIX shell, tar, sha256sum and mv."""

    def __init__(self, destination: Destination, name: str) -> None:
        self.destination = destination
        self.links = destination.links
        self.stable = str(PurePosixPath(destination.folder) / name)
        self.home = str(PurePosixPath(destination.folder) / f".{name}.versions")

    def state(self) -> State:
        script = """
            if [ -e "$stable" ] && [ ! -d "$home" ]; then echo foreign; exit 0; fi
            [ -d "$home" ] || { echo none; exit 0; }
            echo known
            if [ -L "$stable" ]; then readlink "$stable"
            elif [ -d "$stable" ] && [ -f "$home/current" ]; then cat "$home/current"
            else echo; fi
            [ ! -f "$home/held" ] || tr '\\n' ' ' < "$home/held"
            echo
            ls "$home"
        """
        kind, *lines = self._text(script).split("\n")
        if kind == "foreign":
            raise QuantizeError(f"{self.destination}: {PurePosixPath(self.stable).name} is there and was not put there "
                                "by a pipeline; move it away")  # fmt: skip
        if kind != "known":
            return _state([], "", [])
        return _state(lines[2:], PurePosixPath(lines[0]).name, lines[1].split())

    def upload(self, package: Path, part: str) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(p for p in package.rglob("*") if p.is_file()):
                entry = tarfile.TarInfo(path.relative_to(package).as_posix())
                entry.size, entry.mode = path.stat().st_size, 0o644
                with path.open("rb") as stream:
                    tar.addfile(entry, stream)
        script = """
            mkdir -p "$home" && rm -rf "$home"/.part-* && mkdir "$home/$1" && cd "$home/$1" && tar -xf -
        """
        self._run(script, part, data=archive.getvalue())

    def digests(self, entry: str) -> dict[str, str]:
        script = 'cd "$home/$1" && find . -type f -exec sha256sum {} +'
        lines = self._text(script if entry else script.replace("$home/$1", "$stable"), entry).splitlines()
        return {line[66:].removeprefix("./"): line[:64] for line in sorted(lines)}

    def manifest(self, entry: str) -> bytes:
        return self._run('cat "$home/$1/manifest.json"', entry)

    def adopt(self, part: str, version: str) -> None:
        self._run('[ ! -e "$home/$2" ] && mv "$home/$1" "$home/$2"', part, version)

    def point(self, version: str) -> None:
        """A link is renamed over the old one, which POSIX makes atomic; -T (GNU, BusyBox) or -h (BSD) keeps mv from
        moving it into the folder that the old link leads to."""
        linked = """
            rm -f "$home/.link" && ln -s "${home##*/}/$1" "$home/.link" || exit 1
            if [ -d "$stable" ] && [ ! -L "$stable" ]; then rm -rf "$home/.old"; mv "$stable" "$home/.old" || exit 1; fi
            mv -fT "$home/.link" "$stable" 2>/dev/null || mv -fh "$home/.link" "$stable" || exit 1
        """
        copied = """
            rm -rf "$home/.new" "$home/.old" && cp -R "$home/$1" "$home/.new" || exit 1
            if [ -L "$stable" ]; then rm "$stable"; elif [ -e "$stable" ]; then mv "$stable" "$home/.old"; fi || exit 1
            mv "$home/.new" "$stable" || exit 1
        """
        named = 'rm -rf "$home/.old"; echo "$1" > "$home/.current" && mv -f "$home/.current" "$home/current"'
        self._run((linked if self.links else copied) + named, version)

    def remove(self, entries: list[str]) -> None:
        if entries:
            self._run('cd "$home" && rm -rf -- "$@"', *entries, seconds=_CLEANING_SECONDS)

    def hold(self, ids: list[str]) -> None:
        self._run(
            'cat > "$home/.held" && mv -f "$home/.held" "$home/held"', data="".join(f"{i}\n" for i in ids).encode()
        )

    def _text(self, script: str, *arguments: str) -> str:
        return self._run(script, *arguments).decode("utf-8", "replace").removesuffix("\n")

    def _run(self, script: str, *arguments: str, data: bytes = b"", seconds: float | None = None) -> bytes:
        """Runs a script on the far side, by sh whatever the login shell is; `$home` and `$stable` are set."""
        setting = f"home={shlex.quote(self.home)}; stable={shlex.quote(self.stable)}\n"
        remote = " ".join(shlex.quote(word) for word in ("sh", "-c", setting + script, "sh", *arguments))
        try:
            done = subprocess.run(
                [*self._command(), remote], input=data, capture_output=True, check=False, timeout=seconds
            )
        except FileNotFoundError:
            raise QuantizeError("the command ssh is not installed; install an OpenSSH client") from None
        except subprocess.TimeoutExpired:
            raise QuantizeError(f"{self.destination}: no answer within {seconds:g} s") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
            what = "ssh failed" if done.returncode == 255 else "the far side failed"
            raise QuantizeError(f"{self.destination}: {what}: {said[-1].strip()}")
        return done.stdout

    def _command(self) -> list[str]:
        """Never asks for anything, and notices a dead line within a minute."""
        given = self.destination
        options = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3")
        words = ["ssh", "-T", *(word for option in (*given.ssh_options, *options) for word in ("-o", option))]
        if given.port is not None:
            words += ["-p", str(given.port)]
        if given.identity is not None:
            words += ["-i", str(given.identity)]
        return [*words, "--", given.host]
