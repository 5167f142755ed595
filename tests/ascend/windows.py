# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools on NumPy arrays [n, c, h, w]. Sums of products of int8 come out exact: float32 holds every
integer up to 2^24, so that no more products are added at once than fit."""

from __future__ import annotations

import numpy as np

EXACT = 2**24 // (128 * 128)  # products of int8 that add up exactly in float32


def geometry(attributes: dict[str, object], kernel: tuple[int, ...], sides: tuple[int, ...]) -> tuple:
    """(strides, dilations, pads [top, left, bottom, right]) of a window."""
    strides = tuple(attributes.get("strides", (1, 1)))
    dilations = tuple(attributes.get("dilations", (1, 1)))
    auto = attributes.get("auto_pad", b"NOTSET")
    if auto in (b"NOTSET", b"VALID"):
        return strides, dilations, tuple(attributes.get("pads", (0, 0, 0, 0)))
    before, after = [], []
    for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True):
        total = max(0, (-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side)
        half = total // 2
        before.append(half if auto == b"SAME_UPPER" else total - half)
        after.append(total - before[-1])
    return strides, dilations, (*before, *after)


def windows(x: np.ndarray, kernel: tuple[int, ...], geo: tuple, outside: float, ceil: bool = False) -> np.ndarray:
    """[n, c, kh, kw, oh, ow], a view."""
    strides, dilations, (top, left, bottom, right) = geo
    if ceil:
        extra = [
            -(side + before + after - ((size - 1) * dilation + 1)) % stride
            for side, before, after, size, dilation, stride in zip(
                x.shape[2:], (top, left), (bottom, right), kernel, dilations, strides, strict=True
            )
        ]
        bottom, right = bottom + extra[0], right + extra[1]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=outside)
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    view = view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return view.transpose(0, 1, 4, 5, 2, 3)


def columns(x: np.ndarray, kernel: tuple[int, ...], geo: tuple, outside: float) -> np.ndarray:
    """[n, c * kh * kw, oh * ow]"""
    if kernel == (1, 1) and geo == ((1, 1), geo[1], (0, 0, 0, 0)):
        return x.reshape(*x.shape[:2], -1)
    view = windows(x, kernel, geo, outside)
    return view.reshape(len(x), -1, view.shape[4] * view.shape[5])


def correlate(x: np.ndarray, weight: np.ndarray, attributes: dict[str, object], outside: float = 0.0) -> np.ndarray:
    """Conv without bias, float32 [n, out, oh, ow]."""
    groups, kernel = int(attributes.get("group", 1)), weight.shape[2:]
    geo = geometry(attributes, kernel, x.shape[2:])
    shape = windows(x[:1, :1], kernel, geo, outside).shape[4:]
    if groups > 1 and weight.shape[1] == 1 and len(weight) == groups:
        view = windows(x, kernel, geo, outside)
        result = np.zeros((len(x), groups, *shape), np.float32)
        for row in range(kernel[0]):
            for column in range(kernel[1]):
                result += view[:, :, row, column] * weight[:, 0, row, column].reshape(-1, 1, 1)
        return result
    parts = []
    for some, rows in zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True):
        flat, rows = columns(some, kernel, geo, outside), rows.reshape(len(rows), -1)
        step = max(1, EXACT)
        result = rows[:, :step] @ flat[:, :step]
        for start in range(step, rows.shape[1], step):
            result = result.astype(np.float64) + rows[:, start : start + step] @ flat[:, start : start + step]
        parts.append(result)
    whole = parts[0] if groups == 1 else np.concatenate(parts, axis=1)
    return whole.reshape(len(x), len(weight), *shape)


def spread(x: np.ndarray, weight: np.ndarray, attributes: dict[str, object]) -> np.ndarray:
    """ConvTranspose of one group without bias, float64 [n, out, oh, ow]; weight [in, out, kh, kw]."""
    strides = tuple(attributes.get("strides", (1, 1)))
    top, left, bottom, right = tuple(attributes.get("pads", (0, 0, 0, 0)))
    more = tuple(attributes.get("output_padding", (0, 0)))
    (kh, kw), (h, w) = weight.shape[2:], x.shape[2:]
    sides = (h - 1) * strides[0] + kh + more[0], (w - 1) * strides[1] + kw + more[1]
    result = np.zeros((len(x), weight.shape[1], *sides))
    for row in range(kh):
        for column in range(kw):
            part = np.einsum("nihw,io->nohw", x.astype(np.float64), weight[:, :, row, column].astype(np.float64))
            result[:, :, row : row + (h - 1) * strides[0] + 1 : strides[0],
                   column : column + (w - 1) * strides[1] + 1 : strides[1]] += part  # fmt: skip
    return result[:, :, top : sides[0] - bottom, left : sides[1] - right]


def largest(x: np.ndarray, attributes: dict[str, object]) -> np.ndarray:
    """MaxPool."""
    kernel = tuple(attributes["kernel_shape"])
    geo = geometry(attributes, kernel, x.shape[2:])
    view = windows(x, kernel, geo, -np.inf, bool(attributes.get("ceil_mode", 0)))
    result = view[:, :, 0, 0].copy()
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            np.maximum(result, view[:, :, row, column], out=result)
    return result
