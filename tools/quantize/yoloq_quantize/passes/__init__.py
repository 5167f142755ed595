# SPDX-License-Identifier: Apache-2.0
"""Graph passes: one a file, each with what it requires and what it ensures."""

from __future__ import annotations

import onnx_ir as ir

from ..errors import QuantizeError
from .fix_shapes import FixShapes
from .fold_constants import FoldConstants
from .insert_qdq import InsertQdq
from .remove_identity import RemoveIdentity
from .strip import Strip
from .uint8_input import Uint8Input
from .unique_names import UniqueNames

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
