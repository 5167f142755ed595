# SPDX-License-Identifier: Apache-2.0
"""Bias correction: quantisation must not shift the mean of a convolution's output channel.

For a convolution y = W x + b, quantised weights W' and inputs x' shift channel means by E[W' x' - W x], which a new
bias takes back (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section
4.2; here with measured means). The shift is measured with the float graph's inputs, layer by layer: measured in the
whole quantised graph, every layer would correct again what the layers before it correct already.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from yoloq_quantize.params import Params
from yoloq_quantize.recover.twins import float_values, make_twins
from yoloq_quantize.subject import Plan, Subject

PICTURES = 16


def correct_biases(subject: Subject, plan: Plan, pictures: int = PICTURES) -> Plan:
    """The plan with `params.biases` for its weighted convolutions, from up to `pictures` pictures."""
    twins = make_twins(subject, plan)
    if not twins:
        return plan
    stream = subject.pictures.spread(pictures)
    shifts = {twin.node.name: np.zeros(int(twin.node.outputs[0].shape[1])) for twin in twins}
    for values in float_values(subject, twins, stream):
        for twin in twins:
            params = plan.params.activations[plan.placement.groups[twin.group][0]]
            shifts[twin.node.name] += twin.compare(values, params)[1]
    biases = dict(plan.params.biases)
    for twin in twins:
        name = twin.node.name
        biases[name] = (_bias(twin.node, plan.params) - shifts[name] / len(stream)).astype(np.float32)
    return replace(plan, params=replace(plan.params, biases=biases))


def _bias(node: ir.Node, params: Params) -> np.ndarray:
    """The bias [out] that a convolution has: a replaced one, its own, or zeros."""
    if node.name in params.biases:
        return params.biases[node.name]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return node.inputs[2].const_value.numpy()
    return np.zeros(int(node.outputs[0].shape[1]), np.float32)
