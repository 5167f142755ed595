# SPDX-License-Identifier: Apache-2.0
"""Graph passes: one a file, each with what it requires and what it ensures."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes.canonical_activations import CanonicalActivations
from yoloq_quantize.passes.canonical_resize import CanonicalResize
from yoloq_quantize.passes.canonical_split import CanonicalSplit
from yoloq_quantize.passes.convert_opset import ConvertOpset
from yoloq_quantize.passes.fix_shapes import FixShapes
from yoloq_quantize.passes.focus_to_conv import FocusToConv
from yoloq_quantize.passes.fold_affine import FoldAffine
from yoloq_quantize.passes.fold_batch_norm import FoldBatchNorm
from yoloq_quantize.passes.fold_constants import FoldConstants
from yoloq_quantize.passes.fold_layout import FoldLayout
from yoloq_quantize.passes.insert_qdq import InsertQdq
from yoloq_quantize.passes.remove_dead import RemoveDead
from yoloq_quantize.passes.remove_identity import RemoveIdentity
from yoloq_quantize.passes.store_outputs import StoreOutputs
from yoloq_quantize.passes.strip import Strip
from yoloq_quantize.passes.swap_activations import SwapActivations
from yoloq_quantize.passes.uint8_input import Uint8Input
from yoloq_quantize.passes.unique_names import UniqueNames
from yoloq_quantize.passes.widen_floats import WidenFloats

__all__ = [
    "CanonicalActivations",
    "CanonicalResize",
    "CanonicalSplit",
    "ConvertOpset",
    "FixShapes",
    "FocusToConv",
    "FoldAffine",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldLayout",
    "InsertQdq",
    "RemoveDead",
    "RemoveIdentity",
    "StoreOutputs",
    "Strip",
    "SwapActivations",
    "Uint8Input",
    "UniqueNames",
    "WidenFloats",
    "canonical_passes",
    "run_passes",
]


def canonical_passes(height: int, width: int) -> tuple[ir.passes.PassBase, ...]:
    """What brings any exporter's float graph into the one form that the later steps expect, in order. Pixels."""
    return (
        UniqueNames(),
        FixShapes(height, width),
        FoldConstants(),
        RemoveIdentity(),
        FoldBatchNorm(),
        FoldAffine(),
        FocusToConv(),
        CanonicalActivations(),
        CanonicalSplit(),
        CanonicalResize(),
        FoldLayout(),
        RemoveDead(),
    )


def run_passes(model: ir.Model, *passes: ir.passes.PassBase) -> ir.Model:
    """Runs passes in order; a refusal inside a pass comes out as the QuantizeError it is."""
    for graph_pass in passes:
        try:
            model = graph_pass(model).model
        except (ir.passes.InvariantError, ir.passes.PassError) as error:
            if isinstance(error.__cause__, QuantizeError):
                raise error.__cause__ from error
            raise
    return model
