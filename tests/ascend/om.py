# SPDX-License-Identifier: Apache-2.0
"""The .om of the doubles: what the double of atc writes, the double of the runtime loads, and serve.py executes.

"YQDBL_OM", uint64 length of a JSON header, the header (what a runtime tells of a model), a zip (what it executes)
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass

import numpy as np

from ascend.aipp import Aipp
from ascend.interpreter import Interpreter, Mode

MAGIC = b"YQDBL_OM"
TYPES = {0: np.float32, 1: np.float16, 2: np.int8, 4: np.uint8}  # aclDataType
FIXED = (1980, 1, 1, 0, 0, 0)  # the zip's time: equal inputs give equal bytes


def pack(header: dict, files: dict[str, bytes]) -> bytes:
    text = json.dumps(header).encode()
    payload = io.BytesIO()
    with zipfile.ZipFile(payload, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, FIXED), data)
    return MAGIC + len(text).to_bytes(8, "little") + text + payload.getvalue()


def unpack(om: bytes) -> tuple[dict, dict[str, bytes]]:
    if om[:8] != MAGIC:
        raise ValueError("no .om of the double")
    end = 16 + int.from_bytes(om[8:16], "little")
    with zipfile.ZipFile(io.BytesIO(om[end:])) as archive:
        return json.loads(om[16:end]), {name: archive.read(name) for name in archive.namelist()}


@dataclass
class Executor:
    """A model of the double, ready to run."""

    header: dict
    interpreter: Interpreter
    aipp: Aipp | None

    @staticmethod
    def load(om: bytes, mode: Mode) -> Executor:
        header, files = unpack(om)
        keep = json.loads(files["options.json"])["keep_dtype"]
        aipp = Aipp.parse(files["aipp.cfg"].decode()) if "aipp.cfg" in files else None
        return Executor(header, Interpreter(files["model.onnx"], mode, keep), aipp)

    def run(self, data: bytes) -> bytes:
        """The input's bytes to all outputs', one after another."""
        (given,) = self.header["inputs"]
        pixels = np.frombuffer(data, TYPES[given["dtype"]]).reshape(given["dims"])
        x = self.aipp.run(pixels) if self.aipp else pixels
        found = self.interpreter.run({given["name"]: x})
        parts = []
        for output in self.header["outputs"]:
            array = found[output["name"].rsplit(":", 1)[-1]]
            if list(array.shape) != output["dims"]:
                raise ValueError(f"{output['name']} has shape {array.shape}, not {output['dims']}")
            parts.append(array.astype(TYPES[output["dtype"]]).tobytes())
        return b"".join(parts)
