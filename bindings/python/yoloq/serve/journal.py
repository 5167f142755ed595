# SPDX-License-Identifier: Apache-2.0
"""What `yoloq serve` says while it runs: a line for each event, for people or as JSON."""

from __future__ import annotations

import io
import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any


class Journal:
    """Thread-safe. A reader of the output that has gone away stops nothing."""

    def __init__(self, as_json: bool):
        self._as_json = as_json
        self._lock = threading.Lock()
        if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name that the output cannot encode stops nothing either
            sys.stdout.reconfigure(errors="backslashreplace")

    def __call__(self, event: str, **values: Any) -> None:
        """One event; values that are None are left out."""
        now = datetime.now(UTC)
        told = {key: value for key, value in values.items() if value is not None}
        if self._as_json:
            stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = json.dumps({"time": stamp, "event": event, **told}, allow_nan=False)
        else:
            details = "  ".join(f"{key}={_plain(value)}" for key, value in told.items())
            line = f"{now.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {event:<10} {details}".rstrip()
        try:
            with self._lock:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
        except OSError:  # inspecting matters more than telling of it
            pass


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}:{_plain(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ",".join(_plain(item) for item in value) or "-"
    return str(value)
