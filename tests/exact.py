# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as a reference for quantised graphs, on every CPU.

As it comes it runs pairs of QuantizeLinear and DequantizeLinear as integers, and without VNNI adds two products of
bytes in 16 bits that saturate: heads were 5 % of their deviation off on a Zen 3. Here it computes them in float32, as
ONNX defines them. (Its option x64quantprecision makes the sums exact too, but ends with an error on what its own
quantiser writes.)
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort


def exact_session(model: onnx.ModelProto | bytes | Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    source = str(source) if isinstance(source, Path) else source
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
