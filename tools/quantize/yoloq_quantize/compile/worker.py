# SPDX-License-Identifier: Apache-2.0
"""A vendor's compiler or simulator in a process of its own, which answers on stdout and says the rest on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yoloq_quantize.errors import QuantizeError

Failure = Callable[[str, int], QuantizeError]  # what it said and its exit code -> the error


class Worker:
    """Made when the process has said "ready"; raises `failure` where it does not. close() it.

    command: takes `folder`/job.json, which holds `job`, as its last argument. variables: all that the process sees.
    vendor: for people.
    """

    def __init__(
        self,
        vendor: str,
        command: Sequence[str | Path],
        job: Mapping[str, Any],
        folder: Path,
        variables: Mapping[str, str],
        failure: Failure,
    ) -> None:
        self._folder, self._failure = folder, failure
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        self._stderr = (folder / "said").open("w", encoding="utf-8")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._stderr, "text": True}
        try:  # in a session of its own, so that programs that it starts can be ended with it
            self._process = subprocess.Popen(
                [*map(str, command), "job.json"], cwd=folder, env=dict(variables), start_new_session=True, **pipes
            )
        except OSError as error:
            self._stderr.close()
            raise QuantizeError(f"{vendor}'s compiler cannot be started: {error.strerror or error}") from error
        self._expect("ready")

    def said(self) -> str:
        return (self._folder / "said").read_text(encoding="utf-8", errors="replace")

    def run(self, picture: np.ndarray) -> list[np.ndarray]:
        """The raw tensors of a picture, uint8 [1, h, w, 3], on the simulator: float32, in the model's order."""
        np.save(self._folder / "in.npy", picture)
        with contextlib.suppress(OSError):  # it has ended: its words say why
            self._process.stdin.write("in.npy out.npz\n")
            self._process.stdin.flush()
        self._expect("done")
        with np.load(self._folder / "out.npz") as found:
            return [found[name] for name in found.files]

    def close(self) -> None:
        """Ends the process; it does so by itself when nobody asks any more."""
        if self._stderr.closed:
            return
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._kill()
        self._stderr.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._stderr.close()

    def _expect(self, answer: str) -> None:
        try:
            if self._process.stdout.readline().strip() == answer:
                return
            code = self._process.wait()
        except BaseException:
            self._kill()
            raise
        self._kill()
        raise self._failure(self.said(), code)


def threads() -> str:
    """For OMP_NUM_THREADS."""
    return os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))


def exit_reason(code: int) -> str:
    """Of a process that did not say why it failed."""
    if code < 0:
        return f"it was ended by signal {-code}" + (", for want of memory" if code == -signal.SIGKILL else "")
    return f"exit code {code}, and it does not say why"
