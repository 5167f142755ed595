# SPDX-License-Identifier: Apache-2.0
"""ONNX operators in PyTorch: (step, inputs, extent) -> outputs. Semantics: the ONNX operator specification."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from yoloq_quantize.train import shapes, windows
from yoloq_quantize.train.step import Extent, Inputs, Operator, Step, numbers, optional

TYPES = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.BOOL: torch.bool,
}
LIMITS = {  # stored integers
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT16: (0, 65535),
    ir.DataType.INT16: (-32768, 32767),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT4: (-8, 7),
}


def _clip(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    low, high = optional(inputs, 1), optional(inputs, 2)
    low = float(low) if low is not None else step.attributes.get("min")
    high = float(high) if high is not None else step.attributes.get("max")
    return (inputs[0].clamp(low, high) if low is not None or high is not None else inputs[0],)


def _gemm(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    a, b, c = inputs[0], inputs[1], optional(inputs, 2)
    a = a.T if step.attributes.get("transA", 0) else a
    b = b.T if step.attributes.get("transB", 0) else b
    result = (a @ b) * float(step.attributes.get("alpha", 1.0))
    return (result if c is None else result + c * float(step.attributes.get("beta", 1.0)),)


def _batch_norm(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, scale, bias, mean, variance = inputs
    epsilon = float(step.attributes.get("epsilon", 1e-5))
    return (functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon),)


def _layer_norm(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, axis = inputs[0], int(step.attributes.get("axis", -1)) % inputs[0].ndim
    epsilon = float(step.attributes.get("epsilon", 1e-5))
    return (functional.layer_norm(x, x.shape[axis:], inputs[1], optional(inputs, 2), epsilon),)


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def run(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
        axes = numbers(step, inputs, 1, "axes")
        if not axes:
            if step.attributes.get("noop_with_empty_axes", 0):
                return (inputs[0],)
            axes = list(range(inputs[0].ndim))
        return (function(inputs[0], axes, bool(step.attributes.get("keepdims", 1))),)

    return run


def _cast(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    wanted = ir.DataType(int(step.attributes["to"]))
    if wanted not in TYPES:
        raise step.fail(f"to {wanted.name} is not known")
    return (inputs[0].to(TYPES[wanted]),)


def _broadcast(vector: Tensor, ndim: int, axis: int) -> Tensor:
    """Scales of one axis in the shape of what they scale."""
    return vector if vector.numel() == 1 else vector.reshape([-1 if i == axis % ndim else 1 for i in range(ndim)])


def _quantize(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    """saturate(round half to even(x / scale) + zero point); 4 and 16 unsigned bits are stored in int32."""
    x, scale, zero = inputs[0], inputs[1], optional(inputs, 2)
    axis = int(step.attributes.get("axis", 1))
    stored = step.zero_type or ir.DataType.UINT8
    if stored not in LIMITS or step.attributes.get("block_size", 0):
        raise step.fail("has a form that is not known")
    low, high = LIMITS[stored]
    steps = torch.round(x / _broadcast(scale, x.ndim, axis))
    if zero is not None:
        steps = steps + _broadcast(zero, x.ndim, axis)
    return (steps.clamp(low, high).to(TYPES.get(stored, torch.int32)),)


def _dequantize(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, scale, zero = inputs[0], inputs[1], optional(inputs, 2)
    if step.attributes.get("block_size", 0):
        raise step.fail("has blocks")
    axis, real = int(step.attributes.get("axis", 1)), x.to(torch.float32)
    if zero is not None:
        real = real - _broadcast(zero, x.ndim, axis)
    return (real * _broadcast(scale, x.ndim, axis),)


def _gather(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, index = inputs[0], inputs[1]
    axis = int(step.attributes.get("axis", 0)) % x.ndim
    picked = x.index_select(axis, index.reshape(-1).long() % x.shape[axis])
    return (picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]),)


def _softmax(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    return (torch.softmax(inputs[0], int(step.attributes.get("axis", -1))),)


def _gelu(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    return (functional.gelu(inputs[0], approximate=step.attributes.get("approximate", "none")),)


def _expand(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    shape = torch.broadcast_shapes(inputs[0].shape, tuple(numbers(step, inputs, 1, "shape")))
    return (inputs[0].expand(shape),)


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda step, inputs, extent: (function(inputs[0]),)


def _scaled(function: Callable[..., Tensor], **defaults: float) -> Operator:
    """An operator with numbers for attributes."""

    def run(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
        return (function(inputs[0], *(float(step.attributes.get(name, value)) for name, value in defaults.items())),)

    return run


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of two or more operands."""

    def run(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
        result = inputs[0]
        for other in inputs[1:]:
            result = function(result, other)
        return (result,)

    return run


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (x * alpha + beta).clamp(0, 1)


def _global(reduce: Callable[[Tensor, list[int]], Tensor]) -> Operator:
    return lambda step, inputs, extent: (reduce(inputs[0], list(range(2, inputs[0].ndim))),)


OPERATORS: dict[str, Operator] = {
    "Abs": _unary(torch.abs),
    "Add": _folded(torch.add),
    "AveragePool": windows.average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda step, inputs, extent: (torch.cat(inputs, int(step.attributes["axis"])),),
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "DepthToSpace": shapes.depth_to_space,
    "DequantizeLinear": _dequantize,
    "Div": _folded(torch.div),
    "Dropout": _unary(lambda x: x),
    "Elu": _scaled(functional.elu, alpha=1.0),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": shapes.flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(lambda x, axes: x.mean(axes, keepdim=True)),
    "GlobalMaxPool": _global(lambda x, axes: x.amax(axes, keepdim=True)),
    "HardSigmoid": _scaled(_hard_sigmoid, alpha=0.2, beta=0.5),
    "HardSwish": _unary(functional.hardswish),
    "Identity": _unary(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _scaled(functional.leaky_relu, alpha=0.01),
    "Log": _unary(torch.log),
    "MatMul": _folded(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": windows.max_pool,
    "Min": _folded(torch.minimum),
    "Mish": _unary(functional.mish),
    "Mul": _folded(torch.mul),
    "Neg": _unary(torch.neg),
    "PRelu": lambda step, inputs, extent: (torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0]),),
    "Pad": shapes.pad,
    "Pow": _folded(torch.pow),
    "QuantizeLinear": _quantize,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": _unary(torch.relu),
    "Reshape": shapes.reshape,
    "Resize": shapes.resize,
    "Sigmoid": _unary(torch.sigmoid),
    "Slice": shapes.take,
    "Softmax": _softmax,
    "Softplus": _unary(functional.softplus),
    "SpaceToDepth": shapes.space_to_depth,
    "Split": shapes.split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": shapes.squeeze,
    "Sub": _folded(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _unary(torch.tanh),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Upsample": shapes.resize,
}
