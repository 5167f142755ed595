# SPDX-License-Identifier: Apache-2.0
"""The ONNX operators that Ascend's ATC registers, from the sources of its operator packages, and what to do about those
that it does not."""

from __future__ import annotations

import onnx_ir as ir

from yoloq_quantize.errors import QuantizeError

# Opsets 8 to 18, if nothing else is said.
EVERYWHERE = """
Conv ConvTranspose Gemm MatMul Einsum Softmax Sigmoid Mul Add Sub Div Pow Sqrt Exp Log Tanh Erf Abs Neg Relu LeakyRelu
PRelu Elu Selu Clip Softplus HardSigmoid Concat Split Slice Gather GatherElements GatherND ScatterND Transpose Reshape
Flatten Squeeze Unsqueeze Expand Tile Upsample MaxPool AveragePool GlobalAveragePool ReduceMax ReduceMin ReduceMean
ReduceSum ReduceProd ReduceL2 TopK ArgMax ArgMin NonZero Floor Ceil Round Cast Shape Range Where Equal Greater Less
GreaterOrEqual LessOrEqual Not And Or Min Max Pad BatchNormalization InstanceNormalization Identity If DepthToSpace
SpaceToDepth RoiAlign CumSum IsNaN OneHot Constant ConstantOfShape AscendQuant AscendDequant
"""
OPSETS = dict.fromkeys(EVERYWHERE.split(), (8, 18)) | {
    "HardSwish": (14, 18),
    "LayerNormalization": (17, 18),
    "Mish": (18, 18),
    "Mod": (10, 18),
    "NonMaxSuppression": (10, 18),
    "ReduceL2": (8, 17),
    "Resize": (10, 18),
    "ScatterElements": (11, 18),
    "Trilu": (14, 18),
    "Upsample": (8, 16),
}
MENDS = {
    "Gelu": "export with opset 19 or lower, which spells it with Erf",
    "GroupNormalization": "train with batch normalisation, or export with opset 17, which spells it out",
    "Mish": "export with opset 16 or lower, which spells it with Softplus, Tanh and Mul",
    "Loop": "export without a loop: cut the model before it",
    "Scan": "export without a loop: cut the model before it",
    "LayerNormalization": "export with opset 16 or lower, which spells it out",
    "NonMaxSuppression": "export without NMS; yoloq does it on the host",
}
REWRITE = "change the layer, or cut the model before it"


def check_operators(model: ir.Model) -> None:
    """Refuses a graph with operators that ATC would not parse; all of them in one line."""
    opset = model.graph.opset_imports.get("", 0)
    unknown = [node for node in model.graph if not _known(node, opset)]
    if not unknown:
        return
    kinds = dict.fromkeys(node.op_type for node in unknown)
    first = ", ".join(f"{node.op_type} {node.name!r}" for node in unknown[:3])
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    mends = "; ".join(f"{kind}: {MENDS.get(kind, REWRITE)}" for kind in kinds)
    raise QuantizeError(f"Ascend's ATC has no operator of opset {opset} for {first}{more}. {mends}")


def _known(node: ir.Node, opset: int) -> bool:
    low, high = OPSETS.get(node.op_type, (1, 0))
    return node.domain in ("", "ai.onnx") and low <= opset <= high
