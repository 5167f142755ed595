# SPDX-License-Identifier: Apache-2.0
"""Blocks by structure, on a network whose blocks are known by construction."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from mixed_subject import network
from yoloq_quantize.mixed.blocks import find_blocks
from yoloq_quantize.passes import UniqueNames, run_passes

ATTENTION = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1,4,8,8] x) => (float[1,4,8,8] y)
<float[4,4,1,1] w1, float[4,4,1,1] w2, float[4,4,1,1] w3, float[4,4,1,1] w4,
 int64[3] flat = {1, 4, 64}, int64[4] map = {1, 4, 8, 8}>
{
    a = Conv(x, w1)
    q = Conv(a, w2)
    k = Conv(a, w3)
    qf = Reshape(q, flat)
    kf = Reshape(k, flat)
    kt = Transpose<perm = [0, 2, 1]>(kf)
    s = MatMul(qf, kt)
    p = Softmax<axis = -1>(s)
    m = MatMul(p, kf)
    o = Reshape(m, map)
    sum = Add(o, a)
    y = Conv(sum, w4)
}
"""


def convolutions(model: ir.Model) -> list[tuple[str, ...]]:
    kinds = {node.name: node.op_type for node in model.graph}
    blocks = find_blocks(model)
    assert [name for block in blocks for name in block.nodes].count("") == 0
    assert sorted(name for block in blocks for name in block.nodes) == sorted(kinds)  # each node once
    return [tuple(name for name in block.nodes if kinds[name] == "Conv") for block in blocks]


def test_layers_are_blocks_and_inner_branches_stay_together() -> None:
    found = convolutions(run_passes(ir.from_proto(network()), UniqueNames()))
    assert ("stem",) in found and ("merge",) in found and ("deep",) in found
    assert any("inner" in block for block in found)
    assert not any({"down", "merge"} <= set(block) for block in found)
    assert not any({"box_0", "score_0"} <= set(block) for block in found)  # branches of the head are apart
    assert not any({"score_0", "score_1"} <= set(block) for block in found)


def test_names_play_no_part() -> None:
    model = run_passes(ir.from_proto(network()), UniqueNames())
    before = [len(block.nodes) for block in find_blocks(model)]
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    assert [len(block.nodes) for block in find_blocks(model)] == before


def test_attention_is_one_block() -> None:
    model = ir.from_onnx_text(ATTENTION)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    model = run_passes(model, UniqueNames())
    blocks = find_blocks(model)
    attention = [block for block in blocks if block.attention]
    assert len(attention) == 1
    kinds = {node.name: node.op_type for node in model.graph}
    inside = [kinds[name] for name in attention[0].nodes]
    assert inside.count("Conv") == 2 and inside.count("MatMul") == 2 and "Softmax" in inside and "Add" in inside
