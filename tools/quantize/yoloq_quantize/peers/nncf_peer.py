# SPDX-License-Identifier: Apache-2.0
"""NNCF (Apache-2.0) as a peer: its mixed preset on OpenVINO's reading of the model, run by OpenVINO in float32 where
it is not INT8. NNCF runs in a process of its own, from this environment or from another one's Python."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from yoloq_quantize.baselines import PictureReader
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.report import replacing

_WORKER = Path(__file__).with_name("nncf_worker.py")


def nncf_version(python: str) -> str | None:
    """The version of NNCF that this interpreter can import; None: it is not installed there."""
    probe = "import nncf, openvino; print(nncf.__version__)"
    try:
        done = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    except OSError as error:
        raise QuantizeError(f"{python}: cannot be run ({error.strerror}); give a Python with nncf") from None
    return done.stdout.split()[-1] if done.returncode == 0 and done.stdout.strip() else None


def quantize_nncf(model: Path, pictures: Sequence[Path], out: Path, python: str) -> None:
    """Writes `out` (.xml) and the .bin beside it."""
    with tempfile.TemporaryDirectory(prefix="yoloq-nncf-") as folder:
        stored, made = Path(folder) / "pictures.npy", Path(folder) / "model.xml"
        reader = PictureReader(model, pictures)
        images = [np.rint(next(iter(feed.values()))[0] * 255).astype(np.uint8) for feed in iter(reader.get_next, None)]
        np.save(stored, np.stack(images))
        command = [python, str(_WORKER), str(model), str(stored), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise QuantizeError(f"NNCF failed: {reason[:300]}")
        for source, target in ((made.with_suffix(".bin"), out.with_suffix(".bin")), (made, out)):
            with replacing(target) as part:
                part.write_bytes(source.read_bytes())


class OpenVinoSession:
    """Runs an OpenVINO model with the names of the ONNX model that it was made from; float32 where not INT8."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """threads: 0: OpenVINO's own choice."""
        config: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        self._request = ov.compile_model(ov.Core().read_model(path), "CPU", config).create_infer_request()

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self._request.infer(feeds)
        return [self._request.get_tensor(name).data.copy() for name in outputs]
