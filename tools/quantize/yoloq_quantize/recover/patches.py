# SPDX-License-Identifier: Apache-2.0
"""What a convolution's kernel sees: patches of its input at some places of its output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir


@dataclass(frozen=True)
class Window:
    """A two-dimensional convolution's geometry: (height, width) each; pads are those before. `groups`: of channels."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    output: tuple[int, int]
    groups: int

    @staticmethod
    def of(node: ir.Node) -> Window:
        """`node`: a Conv whose shapes are known."""
        kernel = tuple(int(side) for side in node.inputs[1].shape[2:])
        strides, dilations = (_pair(node, name) for name in ("strides", "dilations"))
        source, output = ([int(side) for side in value.shape[2:]] for value in (node.inputs[0], node.outputs[0]))
        auto = node.attributes.get_string("auto_pad", "NOTSET")
        pads = tuple(node.attributes.get_ints("pads", [0, 0, 0, 0])[:2]) if auto == "NOTSET" else (0, 0)
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            spare = [
                max(0, (out - 1) * stride + dilation * (width - 1) + 1 - side)
                for out, stride, dilation, width, side in zip(output, strides, dilations, kernel, source, strict=True)
            ]
            pads = tuple(total // 2 if auto == "SAME_UPPER" else math.ceil(total / 2) for total in spare)
        return Window(kernel, strides, dilations, pads, tuple(output), node.attributes.get_int("group", 1))

    def patches(self, source: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """[groups, places, in / groups * kh * kw], in the weights' order, of `source` [in, h, w], at up to `count`
        places drawn without repeats. What lies outside reads 0."""
        height, width = self.output
        places = generator.permutation(height * width)[:count]
        rows = self._reads(places // width, 0)[:, :, None]
        columns = self._reads(places % width, 1)[:, None, :]
        inside = (rows >= 0) & (rows < source.shape[1]) & (columns >= 0) & (columns < source.shape[2])
        found = source[:, rows.clip(0, source.shape[1] - 1), columns.clip(0, source.shape[2] - 1)] * inside
        return found.transpose(1, 0, 2, 3).reshape(len(places), self.groups, -1).transpose(1, 0, 2)

    def _reads(self, starts: np.ndarray, axis: int) -> np.ndarray:
        """[places, kernel]: the input's rows or columns that the kernel reads."""
        steps = np.arange(self.kernel[axis]) * self.dilations[axis]
        return starts[:, None] * self.strides[axis] - self.pads[axis] + steps


def _pair(node: ir.Node, name: str) -> tuple[int, int]:
    return tuple(node.attributes.get_ints(name, [1, 1]))
