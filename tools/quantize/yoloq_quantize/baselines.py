# SPDX-License-Identifier: Apache-2.0
"""What people get from ONNX Runtime's own quantiser: the two baselines of the demo."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from yoloq_quantize.dataset import read_image
from yoloq_quantize.reference import Letterbox
from yoloq_quantize.report import replacing


class PictureReader(CalibrationDataReader):
    """Feeds letterboxed pictures as float32 (1, 3, h, w) RGB, 0 to 1."""

    def __init__(self, model: Path, pictures: Sequence[Path]) -> None:
        value = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0]
        self._name, self._size = value.name, (value.shape[3], value.shape[2])
        self._pictures, self._next = list(pictures), 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        if self._next == len(self._pictures):
            return None
        image = read_image(self._pictures[self._next])
        self._next += 1
        boxed = Letterbox.fit((image.shape[1], image.shape[0]), self._size).apply(image, self._size)
        planes = cv2.cvtColor(boxed, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)[None]
        return {self._name: planes.astype(np.float32) / np.float32(255)}


def quantize_generic(model: Path, pictures: Sequence[Path], out: Path) -> None:
    """`quantize_static` with all its defaults: what people try first."""
    with replacing(out) as part, _quiet():
        quantize_static(str(model), str(part), PictureReader(model, pictures))


def quantize_conv_only(model: Path, pictures: Sequence[Path], out: Path) -> None:
    """The honest baseline: convolutions only, a scale per output channel, everything else left in float."""
    with replacing(out) as part, _quiet():
        quantize_static(
            str(model),
            str(part),
            PictureReader(model, pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the quantiser's advice on the root logger (run pre-processing first): baselines are taken as they are."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
