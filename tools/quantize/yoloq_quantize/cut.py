# SPDX-License-Identifier: Apache-2.0
"""Step `cut`: the graph ends at the head's raw tensors; decode, TopK and NMS are the host's."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head


def cut_head(model: ir.Model, head: Head) -> ir.Model:
    """Makes the head's raw tensors the outputs, in the head's order and under its names; the rest goes."""
    values = ir.convenience.create_value_mapping(model.graph)
    names = {output.name for output in head.outputs}
    taken = {output.value for output in head.outputs}
    for name in names - taken:
        if name in values:
            values[name].name = f"{name}/renamed"
    model.graph.outputs.clear()
    for output in head.outputs:
        value = values.get(output.value)
        if value is None:
            raise QuantizeError(f"head tensor {output.value!r} is not in the graph")
        value.name = output.name
        value.shape = ir.Shape(output.shape)
        model.graph.outputs.append(value)
    RemoveUnusedNodesPass()(model)
    return model
