# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from yoloq_quantize.passes import Uint8Input, run_passes

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 3, 4, 6] picture) => (float[1, 3, 4, 6] answer)
{
  answer = Neg (picture)
}
"""


@pytest.mark.parametrize("scale", [1 / 255, 1.0])
def test_bytes_in_are_the_floats_of_before(scale: float) -> None:
    model = run_passes(ir.from_onnx_text(MODEL), Uint8Input(scale))
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("images_u8", "tensor(uint8)", [1, 4, 6, 3])
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 6, 3), dtype=np.uint8)
    answer = session.run(None, {"images_u8": pixels})[0]
    np.testing.assert_allclose(answer, -(pixels.transpose(0, 3, 1, 2) * np.float32(scale)), rtol=1e-6)


def test_an_open_shape_is_refused() -> None:
    model = ir.from_onnx_text(MODEL.replace("float[1, 3, 4, 6] picture", "float[n, 3, 4, 6] picture"))
    with pytest.raises(ir.passes.PreconditionError):
        run_passes(model, Uint8Input())
