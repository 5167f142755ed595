# SPDX-License-Identifier: Apache-2.0
"""Executes models of the doubles for another program, over stdin and stdout; all numbers uint64, little endian.

    in:  n, the .om                  out: 0, or ERROR, n, a text
    in:  n, the inputs' bytes        out: n, the outputs' bytes, or ERROR, n, a text; again and again until stdin ends

YOLOQ_ASCEND_NUMBERS: float32 (default) or half, how floats are held.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ascend.interpreter import Mode
from ascend.om import Executor

ERROR = 2**64 - 1


def take(stream: BinaryIO) -> bytes | None:
    head = stream.read(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "little")
    data = stream.read(size)
    return data if len(data) == size else None


def answer(stream: BinaryIO, number: int, data: bytes = b"") -> None:
    stream.write(number.to_bytes(8, "little") + data)
    stream.flush()


def fail(stream: BinaryIO, error: Exception) -> None:
    text = " ".join(f"{type(error).__name__}: {error}".split()).encode()
    answer(stream, ERROR, len(text).to_bytes(8, "little") + text)


def serve(given: BinaryIO, out: BinaryIO) -> int:
    om = take(given)
    if om is None:
        return 1
    try:
        executor = Executor.load(om, Mode(half=os.environ.get("YOLOQ_ASCEND_NUMBERS") == "half"))
    except Exception as error:
        fail(out, error)
        return 1
    answer(out, 0)
    while (data := take(given)) is not None:
        try:
            result = executor.run(data)
        except Exception as error:
            fail(out, error)
            continue
        answer(out, len(result), result)
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.stdin.buffer, sys.stdout.buffer))
