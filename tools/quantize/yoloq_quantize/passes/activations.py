# SPDX-License-Identifier: Apache-2.0
"""Activation functions as graphs spell them, and the one spelling that yoloq keeps of each."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from yoloq_quantize.passes.rewrite import maker, number, scalar_of

SILU, HARD_SWISH, MISH, RELU = "SiLU", "HardSwish", "Mish", "Relu"
NEAR = 5e-4  # relative, between a constant and what it stands for: float16 exports round 1/6


@dataclass(frozen=True)
class Activation:
    """`kind` of `source`; `node` makes the result; `canonical`: it is spelled as yoloq spells it."""

    kind: str
    source: ir.Value
    node: ir.Node
    canonical: bool


def find_activation(node: ir.Node, opset: int) -> Activation | None:
    """The activation whose result `node` makes, if it is SiLU, HardSwish or Mish in a known spelling."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in (HARD_SWISH, MISH):
        return Activation(node.op_type, node.inputs[0], node, True)
    if node.op_type not in ("Mul", "Div"):
        return None
    direct = (1.0, list(node.inputs) if node.op_type == "Mul" else [])
    for scale, factors in (direct, _product(node)):
        for source, gate in (factors, factors[::-1]) if len(factors) == 2 else ():
            kind = _gate(source, gate, scale)
            if kind is None:
                continue
            plain = node.op_type == "Mul" and node.inputs[0] is source and node.inputs[1] is gate
            hard = opset < 14 and gate.producer().op_type == "HardSigmoid"
            spelled = {SILU: True, HARD_SWISH: hard, MISH: opset < 18 and _is_plain_mish(gate)}
            return Activation(kind, source, node, plain and spelled[kind])
    return None


def spell(graph: ir.Graph, kind: str, source: ir.Value, node: ir.Node, opset: int) -> list[ir.Node]:
    """Nodes that compute `kind` of `source`; the last one is named like `node`, whose place they take.

    SiLU: Sigmoid, Mul(x, s). HardSwish: the operator from opset 14, else HardSigmoid, Mul. Mish: the operator from
    opset 18, else Softplus, Tanh, Mul.
    """
    name = node.name
    if kind == RELU or (kind, opset >= 14) == (HARD_SWISH, True) or (kind, opset >= 18) == (MISH, True):
        return [ir.node(kind, [source], name=name)]
    gates = {SILU: ["Sigmoid"], HARD_SWISH: ["HardSigmoid"], MISH: ["Softplus", "Tanh"]}[kind]
    nodes, value = [], source
    for gate in gates:
        attributes = {"alpha": 1 / 6, "beta": 0.5} if gate == "HardSigmoid" else {}
        made = ir.node(gate, [value], attributes, name=f"{name}/{gate}")
        value = made.outputs[0]
        value.name, value.type, value.shape = f"{node.outputs[0].name}/{gate}", source.type, source.shape
        nodes.append(made)
    return [*nodes, ir.node("Mul", [source, value], name=name)]


def _product(node: ir.Node) -> tuple[float, list[ir.Value]]:
    """The value that `node` makes, as a number times other values: Mul and Div by constants are taken apart."""
    scale, factors, waiting = 1.0, [], [node]
    while waiting and len(factors) < 3:
        node = waiting.pop()
        for index, value in enumerate(node.inputs):
            constant = scalar_of(value)
            if node.op_type == "Div" and index == 1:
                if not constant:
                    return 1.0, []
                scale /= constant
            elif constant is not None:
                scale *= constant
            elif (inner := maker(value, "Mul", "Div")) is not None and _has_constant(inner):
                waiting.append(inner)
            elif inner is not None and len(node.inputs) == 2 and scalar_of(node.inputs[1 - index]) is not None:
                waiting.append(inner)  # a whole product times a constant
            else:
                factors.append(value)
    return scale, factors


def _has_constant(node: ir.Node) -> bool:
    return any(scalar_of(value) is not None for value in node.inputs)


def _gate(source: ir.Value, gate: ir.Value, scale: float) -> str | None:
    """The activation that `scale * source * gate` is."""
    node = gate.producer()
    if node is None:
        return None
    if node.op_type in ("Sigmoid", "HardSigmoid", "Softplus") and node.inputs[0] is not source:
        return None
    if node.op_type == "Sigmoid" and _near(scale, 1):
        return SILU
    if node.op_type == "HardSigmoid" and _near(scale, 1):
        right = _near(number(node, "alpha", 0.2), 1 / 6) and _near(number(node, "beta", 0.5), 0.5)
        return HARD_SWISH if right else None
    if node.op_type == "Tanh" and _near(scale, 1) and _is_softplus(node.inputs[0], source):
        return MISH
    if node.op_type in ("Clip", "Min") and _near(scale, 1 / 6) and _is_clipped_sum(node, source):
        return HARD_SWISH
    return None


def _is_plain_mish(gate: ir.Value) -> bool:
    return gate.producer().op_type == "Tanh" and maker(gate.producer().inputs[0], "Softplus") is not None


def _is_softplus(value: ir.Value, source: ir.Value) -> bool:
    if (node := maker(value, "Softplus")) is not None:
        return node.inputs[0] is source
    total = maker(value, "Log") and maker(value.producer().inputs[0], "Add")
    if not total:
        return False
    terms = [each for each in total.inputs if scalar_of(each) is None]
    power = maker(terms[0], "Exp") if len(terms) == 1 else None
    ones = [scalar_of(each) for each in total.inputs if scalar_of(each) is not None]
    return power is not None and ones == [1.0] and power.inputs[0] is source


def _is_clipped_sum(node: ir.Node, source: ir.Value) -> bool:
    """min(max(source + 3, 0), 6), spelled Clip, or Min over Relu."""
    if node.op_type == "Clip":
        inner = node.inputs[0]
        low, high = (scalar_of(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2))
    else:
        relu = [maker(value, "Relu") for value in node.inputs if maker(value, "Relu") is not None]
        limits = [scalar_of(value) for value in node.inputs if scalar_of(value) is not None]
        if len(relu) != 1 or len(limits) != 1 or len(node.inputs) != 2:
            return False
        inner, low, high = relu[0].inputs[0], 0.0, limits[0]
    if low is None and maker(inner, "Relu") is not None:
        inner, low = inner.producer().inputs[0], 0.0
    if low is None or high is None or abs(low) > NEAR or not _near(high, 6):
        return False
    total = maker(inner, "Add")
    if total is None:
        return False
    threes = [scalar_of(value) for value in total.inputs if scalar_of(value) is not None]
    return len(threes) == 1 and _near(threes[0], 3) and any(value is source for value in total.inputs)


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= NEAR * abs(wanted)
