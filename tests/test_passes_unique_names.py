# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.passes import UniqueNames, run_passes

TEXT = '<ir_version: 8, opset_import: ["" : 17]> t (float[2] x) => (float[2] y) { a = Neg(x) b = Neg(a) y = Neg(b) }'


def test_names_become_unique_and_given_ones_stay() -> None:
    model = ir.from_onnx_text(TEXT)
    for node, name in zip(model.graph, ("Neg_1", None, "Neg_1"), strict=True):
        node.name = name
    names = [node.name for node in run_passes(model, UniqueNames()).graph]
    assert names[0] == "Neg_1"
    assert len(set(names)) == 3
    assert None not in names
    assert not UniqueNames()(model).modified
