# SPDX-License-Identifier: Apache-2.0
"""What the steps of a recipe hand to each other: the float graph and its pictures, and a plan of quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx_ir as ir

from yoloq_quantize.head import Head
from yoloq_quantize.params import Params
from yoloq_quantize.passes import InsertQdq, run_passes
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import Placement
from yoloq_quantize.scheme import Target

Progress = Callable[[Iterable, str], Iterable]


@dataclass(frozen=True)
class Subject:
    """What is quantised; no step changes it in place.

    `graph`: float32, cut at the head, unique node names, inferred shapes, input `images_u8` uint8 [1, h, w, 3], outputs
    named as `head.outputs` names them. `pictures`: for calibration. `progress(items, what)` wraps a long iteration.
    """

    graph: ir.Model
    head: Head
    target: Target
    pictures: PictureStream
    progress: Progress = lambda items, _: items

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the input, in pixels."""
        _, height, width, _ = self.graph.graph.inputs[0].shape
        return int(width), int(height)


@dataclass(frozen=True)
class Plan:
    """One way to quantise a subject: where, and with which numbers."""

    placement: Placement
    params: Params


def quantized(subject: Subject, plan: Plan) -> ir.Model:
    """The QDQ graph of a plan; the subject's graph stays as it is."""
    dtypes = subject.target.activations.dtype, subject.target.weights.dtype
    return run_passes(subject.graph.clone(), InsertQdq(plan.placement, plan.params, *dtypes))
