# SPDX-License-Identifier: Apache-2.0
"""Pass: Resize in the one form that chips take: constant scales, nearest as asymmetric and floor."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.passes.rewrite import new_constant, number, static_shape

KEPT = ("mode", "coordinate_transformation_mode", "nearest_mode")
PLAIN = ("asymmetric", "half_pixel", "pytorch_half_pixel")  # these agree, for nearest, where factors are whole numbers


class CanonicalResize(ir.passes.InPlacePass):
    """Requires: known shapes. Ensures: a Resize whose sides are scaled by whole numbers has constant scales and no
    region, and if it takes the nearest pixel, it does so with asymmetric coordinates rounded down.

    Pixel i of the result lies at (i + 1/2) / s - 1/2, rounded, which for whole s is i / s rounded down.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            if node.op_type == "Resize" and node.domain in ("", "ai.onnx"):
                modified |= _plain(model.graph, node)
        return ir.passes.PassResult(model, modified=modified)


def _plain(graph: ir.Graph, node: ir.Node) -> bool:
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if before is None or after is None or any(b % a for a, b in zip(before, after, strict=True)):
        return False
    mode, coordinates = _text(node, "mode", "nearest"), _text(node, KEPT[1], "half_pixel")
    if coordinates not in PLAIN or "axes" in node.attributes or number(node, "antialias", 0):
        return False
    if mode == "nearest" and not _is_floor(coordinates, _text(node, "nearest_mode", "round_prefer_floor")):
        return False
    wanted = {"mode": mode, KEPT[1]: "asymmetric" if mode == "nearest" else coordinates}
    if mode == "nearest":
        wanted["nearest_mode"] = "floor"
    inputs = [value is not None for value in node.inputs]
    same = {name: _text(node, name, "") for name in node.attributes if name in KEPT} == wanted
    if same and inputs == [True, False, True] and set(node.attributes) <= set(KEPT):
        return False
    kept = {
        name: attribute for name, attribute in node.attributes.items() if name == "cubic_coeff_a" and mode == "cubic"
    }
    node.attributes.clear()
    node.attributes.update(kept)
    for name, value in wanted.items():
        node.attributes[name] = ir.AttrString(name, value)
    scales = np.array([b / a for a, b in zip(before, after, strict=True)], np.float32)
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, new_constant(graph, f"{node.name}/scales", scales))
    return True


def _is_floor(coordinates: str, rounding: str) -> bool:
    """Whether the rounding picks pixel floor(i / s) for every whole factor s."""
    if coordinates == "asymmetric":
        return rounding == "floor"
    return rounding in ("round_prefer_floor", "round_prefer_ceil")


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default
