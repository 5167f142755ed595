# SPDX-License-Identifier: Apache-2.0
"""A real sshd on a free loopback port: keys, port and configuration of its own, nothing of the machine's."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CONFIGURATION = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


@dataclass(frozen=True)
class Server:
    """identity: the private key that is let in; options: for `ssh -o`, so that no file of the user's is touched."""

    host: str
    port: int
    identity: Path
    options: tuple[str, ...]


@contextmanager
def ssh_server(folder: Path) -> Iterator[Server]:
    """Runs until the block ends. Needs Debian's openssh-server."""
    program = shutil.which("sshd", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}")
    assert program, "sshd is missing: install openssh-server"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copyfile(folder / "client_key.pub", folder / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(_CONFIGURATION.format(port=port, folder=folder))
    if os.geteuid() == 0:  # where sshd locks itself in; Debian's start script makes it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    key = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(key)}\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", folder / "config"], stderr=log)
    try:
        _wait(port, process, folder / "log")
        known = f"UserKnownHostsFile={folder / 'known_hosts'}"
        yield Server(f"{getpass.getuser()}@127.0.0.1", port, folder / "client_key", (known, "IdentitiesOnly=yes"))
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"sshd does not answer: {log.read_text()}")
