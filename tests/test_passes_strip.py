# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.passes import Strip, run_passes

MODEL = """
<ir_version: 8, opset_import: ["" : 17], producer_name: "exporter", doc_string: "made on my machine">
test (float[2] x) => (float[2] y)
{
  unused = Neg (x)
  y = Relu (x)
}
"""


def test_nothing_but_the_computation_is_left() -> None:
    model = ir.from_onnx_text(MODEL)
    model.metadata_props["date"] = "today"
    model.graph[1].doc_string = "File /home/someone/export.py, line 1"
    model.graph[1].metadata_props["trace"] = "/home/someone"
    proto = ir.to_proto(run_passes(model, Strip("yoloq", "1.2.3")))
    assert [node.op_type for node in proto.graph.node] == ["Relu"]
    assert (proto.producer_name, proto.producer_version) == ("yoloq", "1.2.3")
    assert b"someone" not in proto.SerializeToString()
    assert not proto.metadata_props
    assert not proto.doc_string
