# SPDX-License-Identifier: Apache-2.0
"""Random heads of every structure, element type and layout, with tensors full of plausible values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference_decode import Head, Output, Tensor

ANCHORS = [[(10.0, 13.0), (16.0, 30.0), (33.0, 23.0)], [(30.0, 61.0), (62.0, 45.0)], [(116.0, 90.0)]]
# scale and zero point of integer tensors, by dtype and score form; boxes always take the first
QUANTIZATION = {
    ("int8", "logit"): (0.0625, 3),
    ("uint8", "logit"): (0.0625, 140),
    ("int8", "probability"): (1 / 255, -128),
    ("uint8", "probability"): (1 / 255, 0),
}
LAYOUTS = ("nchw", "nhwc", "channels_cells", "cells_channels")
ANCHOR_LAYOUTS = ("n_anchors_channels_hw", "n_anchors_hw_channels")


@dataclass(frozen=True)
class Structure:
    """A kind of head. combined: one tensor per level, else one per role."""

    name: str
    box: str
    reg_max: int = 1
    objectness: bool = False
    combined: bool = True
    score: str = "logit"


STRUCTURES = [
    Structure("yolo26", "ltrb", combined=False),
    Structure("yolo26_combined", "ltrb"),
    Structure("v8", "ltrb", reg_max=16, combined=False),
    Structure("v8_combined", "ltrb", reg_max=16),
    Structure("v6_probability", "ltrb", reg_max=7, combined=False, score="probability"),
    Structure("ltrb_objectness", "ltrb", objectness=True, combined=False),
    Structure("v5", "anchor", objectness=True),
    Structure("anchor_plain", "anchor"),
    Structure("yolox", "exp", objectness=True, combined=False, score="probability"),
    Structure("yolox_combined", "exp", objectness=True),
    Structure("dense_cxcywh", "cxcywh", score="probability"),
    Structure("dense_cxcywh_objectness", "cxcywh", objectness=True, score="probability"),
    Structure("dense_xyxy", "xyxy"),
    Structure("dense_xyxy_separate", "xyxy", combined=False),
]


def logical_level(rng: np.random.Generator, head: Head, anchors: int, cells: int) -> dict[str, np.ndarray]:
    """Real values by role, each [batch 2, anchors, channels, cells]: mostly background, some clear objects."""
    shape = (2, anchors, head.classes, cells)
    scores = rng.normal(-4, 2.5, shape)
    objectness = rng.normal(-1, 3, (2, anchors, 1, cells))
    if head.score == "probability":
        scores, objectness = 1 / (1 + np.exp(-scores)), 1 / (1 + np.exp(-objectness))
    box_shape = (2, anchors, head.box_channels, cells)
    if head.box in ("cxcywh", "xyxy"):
        box = rng.uniform(0, 7.5, box_shape)  # fits integers of scale 1/16
    elif head.box == "ltrb" and head.reg_max == 1:
        box = rng.uniform(-0.5, 7, box_shape)
    else:
        box = rng.normal(0, 1.2, box_shape)
    return {"box": box, "objectness": objectness, "score": scores}


def arrange(values: np.ndarray, layout: str, height: int, width: int) -> tuple[np.ndarray, int]:
    """[batch, anchors, channels, cells] in a layout, and its channel_axis."""
    batch, anchors, channels, cells = values.shape
    if layout == "n_anchors_channels_hw":
        return values.reshape(batch, anchors, channels, height, width), 2
    if layout == "n_anchors_hw_channels":
        return np.moveaxis(values, 2, 3).reshape(batch, anchors, height, width, channels), -1
    flat = values.reshape(batch, anchors * channels, cells)
    if layout == "channels_cells":
        return flat, 1
    if layout == "nchw":
        return flat.reshape(batch, -1, height, width), 1
    flat = np.moveaxis(flat, 1, 2)
    return (flat, -1) if layout == "cells_channels" else (flat.reshape(batch, height, width, -1), 3)


def store(values: np.ndarray, dtype: str, score: str) -> tuple[np.ndarray, float, int]:
    """Real values as stored elements, with scale and zero point."""
    if dtype.startswith("float"):
        return np.ascontiguousarray(values, dtype), 0.0, 0
    scale, zero_point = QUANTIZATION[dtype, score]
    limits = np.iinfo(dtype)
    stored = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
    return np.ascontiguousarray(stored, dtype), scale, zero_point


def make_head(
    structure: Structure,
    *,
    dtype: str = "float32",
    layout: str = "nchw",
    classes: int = 5,
    size: tuple[int, int] = (160, 96),
    box_dtype: str | None = None,
    seed: int = 0,
) -> tuple[Head, list[np.ndarray]]:
    """A head for pictures of size (width, height) px and its output buffers, batch 2. box_dtype: of separate boxes."""
    rng = np.random.default_rng(seed)
    width, height = size
    dense = structure.box in ("cxcywh", "xyxy")
    strides = [] if dense else [8, 16, 32]
    head = Head(structure.box, classes, width, height, structure.score, structure.reg_max, structure.objectness)
    head.strides = strides
    head.anchors = ANCHORS if structure.box == "anchor" else []
    head.nms = True
    arrays: list[np.ndarray] = []
    for level in range(1 if dense else 3):
        rows, columns = (height // 4, width // 4) if dense else (height // strides[level], width // strides[level])
        anchors = len(head.anchors[level]) if head.anchors else 1
        parts = logical_level(rng, head, anchors, rows * columns)
        if not head.objectness:
            del parts["objectness"]
        if structure.combined:
            parts = {"combined": np.concatenate([parts[role] for role in parts], axis=2)}
        for role, values in parts.items():
            arranged, axis = arrange(values, layout, rows, columns)
            kind = (box_dtype or dtype) if role == "box" else dtype
            form = "logit" if role in ("box", "combined") and not (dense and role == "combined") else structure.score
            stored, scale, zero_point = store(arranged, kind, form)
            head.outputs.append(Output(len(arrays), role, level))
            head.tensors.append(Tensor(f"{role}_{level}", kind, stored.shape, axis, scale, zero_point))
            arrays.append(stored)
    return head, arrays
