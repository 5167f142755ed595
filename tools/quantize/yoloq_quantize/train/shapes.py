# SPDX-License-Identifier: Apache-2.0
"""ONNX operators that move numbers, for the table in operators.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from yoloq_quantize.train.step import Extent, Inputs, Step, numbers, optional
from yoloq_quantize.train.windows import padded


def _groups(given: Sequence[int], wanted: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Splits a reshape into runs of axes of equal products, as short as possible."""
    groups, left, right = [], list(enumerate(given)), list(wanted)
    while left or right:
        axes, sides, have, want = [], [], 1, 1
        while not axes or not sides or have != want:
            if left and (not axes or have < want or not right):
                axis, side = left.pop(0)
                axes.append(axis)
                have *= side
            elif right:
                sides.append(right.pop(0))
                want *= sides[-1]
            else:
                break
        groups.append((axes, sides))
    return groups


def reshape(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    """A fixed shape stands for what its axes are made of: batch, channels, rows and columns (see Extent)."""
    x = inputs[0]
    if step.shape is None or step.result is None or tuple(x.shape) == step.shape:
        wanted = numbers(step, inputs, 1, "shape") if step.result is None else list(step.result)
        return (x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(wanted)]),)
    shape: list[int] = []
    for axes, sides in _groups(step.shape, step.result):
        actual = math.prod(x.shape[axis] for axis in axes)
        shape += _grown(sides, actual, extent.batch if 0 in axes else 1, extent)
    if math.prod(shape) != x.numel():
        raise step.fail(f"to {list(step.result)} has no meaning for {list(x.shape)}")
    return (x.reshape(shape),)


def _grown(sides: list[int], actual: int, batch: int, extent: Extent) -> list[int]:
    """The sides of one group of axes whose elements have become `actual`."""
    if len(sides) < 2 or math.prod(sides) == actual:
        return [actual] if len(sides) == 1 else list(sides)
    grown = [sides[0] * batch, *sides[1:]]
    if math.prod(grown) != actual and len(sides) - (batch > 1) >= 2:
        grown[-2:] = round(grown[-2] * extent.height), round(grown[-1] * extent.width)
    elif math.prod(grown) != actual:
        grown[-1] = actual // math.prod(grown[:-1])
    return grown


def take(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x = inputs[0]
    starts, ends = numbers(step, inputs, 1, "starts"), numbers(step, inputs, 2, "ends")
    axes = numbers(step, inputs, 3, "axes") or list(range(len(starts)))
    strides = numbers(step, inputs, 4, "steps") or [1] * len(starts)
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        axis %= x.ndim
        if step.shape is not None and end >= step.shape[axis]:
            end = x.shape[axis]
        start, end, _ = slice(start, end, 1).indices(x.shape[axis]) if stride > 0 else (start, end, 1)
        if stride > 0:
            x = x[(slice(None),) * axis + (slice(start, end, stride),)]
        else:
            picked = range(*slice(start, end if end > -x.shape[axis] - 1 else None, stride).indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64))
    return (x,)


def split(step: Step, inputs: Inputs, extent: Extent) -> Sequence[Tensor]:
    x, axis = inputs[0], int(step.attributes.get("axis", 0))
    sizes = numbers(step, inputs, 1, "split")
    if sizes is None:
        part = math.ceil(x.shape[axis] / len(step.outputs))
        sizes = [min(part, x.shape[axis] - part * index) for index in range(len(step.outputs))]
    return torch.split(x, sizes, axis)


def transpose(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    return (inputs[0].permute(step.ints("perm", range(inputs[0].ndim - 1, -1, -1))),)


def squeeze(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    axes = numbers(step, inputs, 1, "axes")
    if axes is None:
        axes = [axis for axis, side in enumerate(step.shape or inputs[0].shape) if side == 1]
    return (inputs[0].squeeze(tuple(axes)),)


def unsqueeze(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, axes = inputs[0], numbers(step, inputs, 1, "axes")
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return (x,)


def flatten(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x = inputs[0]
    axis = int(step.attributes.get("axis", 1)) % (x.ndim + 1)
    return (x.reshape(math.prod(x.shape[:axis]), -1),)


def pad(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, pads = inputs[0], numbers(step, inputs, 1, "pads")
    value = optional(inputs, 2)
    axes = numbers(step, inputs, 3, "axes") or list(range(x.ndim))
    mode = step.attributes.get("mode", "constant")
    if mode != "constant":
        raise step.fail(f"has mode {mode}")
    pairs = [(0, 0)] * x.ndim
    for index, axis in enumerate(axes):
        pairs[axis] = (pads[index], pads[index + len(axes)])
    return (padded(x, pairs, float(value) if value is not None else float(step.attributes.get("value", 0.0))),)


def resize(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x = inputs[0]
    if step.shape is None or step.result is None:
        raise step.fail("has no known shape")
    mode = step.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise step.fail(f"has mode {mode}")
    scales = optional(inputs, len(inputs) - 1 if step.op == "Upsample" else 2)
    real = x if x.is_floating_point() else x.float()
    for axis, (before, after) in enumerate(zip(step.shape, step.result, strict=True)):
        if before == after:
            continue
        scale = float(scales[axis]) if scales is not None and scales.numel() else after / before
        size = round(after * x.shape[axis] / before)
        real = _resized(step, real, axis, size, scale, mode)
    return (real.to(x.dtype),)


def _resized(step: Step, x: Tensor, axis: int, size: int, scale: float, mode: str) -> Tensor:
    """One axis, by the source position of each result."""
    length = x.shape[axis]
    place = torch.arange(size, dtype=torch.float64)
    rule = step.attributes.get("coordinate_transformation_mode", "half_pixel" if step.op == "Resize" else "asymmetric")
    if rule == "align_corners":
        place = place * (length - 1) / max(size - 1, 1)
    elif rule == "asymmetric":
        place = place / scale
    elif rule == "half_pixel" or (rule == "pytorch_half_pixel" and size > 1):
        place = (place + 0.5) / scale - 0.5
    elif rule == "pytorch_half_pixel":
        place = place * 0
    else:
        raise step.fail(f"has coordinates {rule}")
    if mode == "nearest":
        return x.index_select(axis, _nearest(step, place).clamp(0, length - 1).long())
    low = place.floor()
    share = (place - low).to(x.dtype).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    first = x.index_select(axis, low.clamp(0, length - 1).long())
    second = x.index_select(axis, (low + 1).clamp(0, length - 1).long())
    return first * (1 - share) + second * share


def _nearest(step: Step, place: Tensor) -> Tensor:
    rounding = step.attributes.get("nearest_mode", "round_prefer_floor" if step.op == "Resize" else "floor")
    rules = {
        "floor": torch.floor,
        "ceil": torch.ceil,
        "round_prefer_floor": lambda p: torch.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: torch.floor(p + 0.5),
    }
    return rules[rounding](place)


def space_to_depth(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, block = inputs[0], int(step.attributes["blocksize"])
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // block, block, w // block, block)
    return (cells.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block * block, h // block, w // block),)


def depth_to_space(step: Step, inputs: Inputs, extent: Extent) -> tuple[Tensor]:
    x, block = inputs[0], int(step.attributes["blocksize"])
    n, c, h, w = x.shape
    if step.attributes.get("mode", "DCR") == "CRD":
        return (functional.pixel_shuffle(x, block),)
    cells = x.reshape(n, block, block, c // block**2, h, w)
    return (cells.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block),)
