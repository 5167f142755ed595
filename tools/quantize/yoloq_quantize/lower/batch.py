# SPDX-License-Identifier: Apache-2.0
"""A cut graph for one picture, made one for several."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.rewrite import constant_of, infer_shapes, new_constant, static_shape

SHAPED = ("Reshape", "Expand")  # whose second input is a shape that may hold the batch


def with_batch(model: ir.Model, batch: int) -> ir.Model:
    """A copy that takes `batch` pictures at once; refuses a graph that mixes pictures."""
    copy = model.clone()
    if batch == 1:
        return copy
    graph = copy.graph
    infer_shapes(copy)
    wanted = {value.name: (batch, *tuple(value.shape)[1:]) for value in graph.outputs}
    for node in graph:
        shape = constant_of(node.inputs[1]) if node.op_type in SHAPED else None
        before = static_shape(node.inputs[0])
        if shape is not None and len(shape) and shape[0] == 1 and before and before[0] == 1:
            new = np.array([batch, *shape[1:]], np.int64)
            node.replace_input_with(1, new_constant(graph, f"{node.name}/batch_shape", new))
    pictures = graph.inputs[0]
    pictures.shape = ir.Shape((batch, *tuple(pictures.shape)[1:]))
    try:
        infer_shapes(copy)
    except Exception as error:
        raise QuantizeError(f"the model cannot take {batch} pictures at once: {_line(error)}; use --batch 1") from error
    for value in graph.outputs:
        if static_shape(value) != wanted[value.name]:
            raise QuantizeError(
                f"with {batch} pictures at once, output {value.name!r} would have shape {value.shape} in place of "
                f"{list(wanted[value.name])}: the model is made for single pictures; use --batch 1"
            )
    return copy


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
