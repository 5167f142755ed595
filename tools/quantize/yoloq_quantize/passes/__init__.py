# SPDX-License-Identifier: Apache-2.0
"""Graph passes: one a file, each with what it requires and what it ensures."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.fix_shapes import FixShapes
from yoloq_quantize.passes.fold_constants import FoldConstants
from yoloq_quantize.passes.insert_qdq import InsertQdq
from yoloq_quantize.passes.remove_identity import RemoveIdentity
from yoloq_quantize.passes.strip import Strip
from yoloq_quantize.passes.uint8_input import Uint8Input
from yoloq_quantize.passes.unique_names import UniqueNames

__all__ = [
    "FixShapes",
    "FoldConstants",
    "InsertQdq",
    "RemoveIdentity",
    "Strip",
    "Uint8Input",
    "UniqueNames",
    "run_passes",
]


def run_passes(model: ir.Model, *passes: ir.passes.PassBase) -> ir.Model:
    """Runs passes in order; a refusal inside a pass's conditions comes out as the QuantizeError it is."""
    for graph_pass in passes:
        try:
            model = graph_pass(model).model
        except ir.passes.InvariantError as error:
            if isinstance(error.__cause__, QuantizeError):
                raise error.__cause__ from error
            raise
    return model
