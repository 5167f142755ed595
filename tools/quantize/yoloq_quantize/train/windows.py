# SPDX-License-Identifier: Apache-2.0
"""ONNX operators that slide a window: convolutions and pools, for the table in operators.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from yoloq_quantize.train.step import Extent, Inputs, Step, optional


def _pads(step: Step, spatial: Sequence[int], kernel: Sequence[int], strides: list[int], dilations: list[int]) -> list:
    """(before, after) of each spatial axis."""
    auto = step.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pairs = []
        for size, width, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
            total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (width - 1) + 1 - size)
            less, more = total // 2, total - total // 2
            pairs.append((less, more) if auto == "SAME_UPPER" else (more, less))
        return pairs
    flat = step.ints("pads", [0] * (2 * len(kernel))) if auto == "NOTSET" else [0] * (2 * len(kernel))
    return list(zip(flat[: len(kernel)], flat[len(kernel) :], strict=True))


def _window(step: Step, x: Tensor, kernel: list[int]) -> tuple[list, list[int], list[int]]:
    """Pads, strides and dilations."""
    ones = [1] * len(kernel)
    strides, dilations = step.ints("strides", ones), step.ints("dilations", ones)
    return _pads(step, x.shape[2:], kernel, strides, dilations), strides, dilations


def padded(x: Tensor, pairs: list, value: float = 0.0) -> Tensor:
    flat = [side for pair in reversed(pairs) for side in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def conv(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, weight, bias = inputs[0], inputs[1], optional(inputs, 2)
    pairs, strides, dilations = _window(step, x, list(weight.shape[2:]))
    padding = [before for before, _ in pairs]
    if any(before != after for before, after in pairs):
        x, padding = padded(x, pairs), [0] * len(pairs)
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[weight.ndim - 3]
    return (convolve(x, weight, bias, strides, padding, dilations, int(step.attributes.get("group", 1))),)


def conv_transpose(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, weight, bias = inputs[0], inputs[1], optional(inputs, 2)
    if step.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in step.attributes:
        raise step.fail("has a padding that is not written out")
    pairs, strides, dilations = _window(step, x, list(weight.shape[2:]))
    extra = step.ints("output_padding", [0] * len(pairs))
    convolve = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[weight.ndim - 3]
    full = convolve(x, weight, bias, strides, 0, extra, int(step.attributes.get("group", 1)), dilations)
    for axis, (before, after) in enumerate(pairs, start=2):
        full = full.narrow(axis, before, full.shape[axis] - before - after)
    return (full,)


def max_pool(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x = inputs[0]
    kernel = step.ints("kernel_shape", ())
    pairs, strides, dilations = _window(step, x, kernel)
    padding = [before for before, _ in pairs]
    real = x if x.is_floating_point() else x.float()
    if any(before != after or before > width // 2 for (before, after), width in zip(pairs, kernel, strict=True)):
        real, padding = padded(real, pairs, -math.inf), [0] * len(pairs)
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    result = pool(real, kernel, strides, padding, dilations, bool(step.attributes.get("ceil_mode", 0)))
    return (result.to(x.dtype),)


def average_pool(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x = inputs[0]
    kernel = step.ints("kernel_shape", ())
    pairs, strides, dilations = _window(step, x, kernel)
    if len(kernel) != 2 or any(dilation != 1 for dilation in dilations):
        raise step.fail("is no plain pool of two axes")
    ceil = bool(step.attributes.get("ceil_mode", 0))
    mean = functional.avg_pool2d(padded(x, pairs), kernel, strides, 0, ceil)
    if not step.attributes.get("count_include_pad", 0) and any(map(any, pairs)):
        mean = mean / functional.avg_pool2d(padded(torch.ones_like(x), pairs), kernel, strides, 0, ceil)
    return (mean,)
