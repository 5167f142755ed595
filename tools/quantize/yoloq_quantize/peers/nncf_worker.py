# SPDX-License-Identifier: Apache-2.0
"""Quantises an ONNX model by NNCF, in an environment that needs nncf, openvino and numpy, and nothing of yoloq.

    python nncf_worker.py MODEL.onnx PICTURES.npy OUT.xml

PICTURES.npy: uint8 [n, 3, h, w], the network's input as bytes; they are scaled to 0..1. Writes OUT.xml and OUT.bin.
"""

from __future__ import annotations

import sys

import nncf
import numpy as np
import openvino as ov


def main(model: str, pictures: str, out: str) -> None:
    images = np.load(pictures, mmap_mode="r")
    dataset = nncf.Dataset(range(len(images)), lambda i: images[i : i + 1].astype(np.float32) / np.float32(255))
    preset = nncf.QuantizationPreset.MIXED
    quantised = nncf.quantize(ov.convert_model(model), dataset, preset=preset, subset_size=len(images))
    ov.save_model(quantised, out, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
