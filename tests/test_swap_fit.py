# SPDX-License-Identifier: Apache-2.0
"""The least squares bring a changed graph back to the original, whatever the convolution's form."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.swap_activations import SwapActivations
from yoloq_quantize.swap.fit import fit_convolutions
from yoloq_quantize.train.executor import Executor

FORMS = {
    "plain": ((6, 3, 3, 3), "pads = [1, 1, 1, 1]"),
    "pointwise": ((6, 3, 1, 1), "strides = [2, 2]"),
    "uneven": ((6, 3, 3, 3), "pads = [0, 1, 2, 1], strides = [2, 2]"),
    "dilated": ((6, 3, 3, 3), "dilations = [2, 2], pads = [2, 2, 2, 2]"),
    "depthwise": ((3, 1, 5, 5), "group = 3, pads = [2, 2, 2, 2]"),
}


def one_convolution(form: str, bias: bool) -> ir.Model:
    shape, attributes = FORMS[form]
    model = ir.from_onnx_text(f"""
<ir_version: 8, opset_import: ["" : 17]>
net (uint8[1, 16, 16, 3] x) => (float[1, {shape[0]}, h, w] y)
<float s = {{0.0078}}, uint8 z = {{128}}, float[{",".join(map(str, shape))}] k, float[{shape[0]}] b> {{
    [real] r = DequantizeLinear(x, s, z)
    [turn] t = Transpose<perm = [0, 3, 1, 2]>(r)
    [conv] y = Conv<{attributes}>(t, k{", b" if bias else ""})
}}""")
    generator = np.random.default_rng(1)
    conv = model.graph.node("conv")
    for value, size in zip(conv.inputs[1:], (shape, shape[:1]), strict=False):
        value.const_value = ir.tensor(generator.normal(0, 1, size).astype(np.float32), name=value.name)
        model.graph.initializers.setdefault(value.name, value)
    return model


def noise(count: int, side: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, (count, side, side, 3), np.uint8))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_disturbed_convolution_comes_back(form: str, bias: bool) -> None:
    model = one_convolution(form, bias)
    original, changed = Executor(model), Executor(model)
    wanted = original.constant("k").detach().clone()
    with torch.no_grad():
        changed.constant("k").add_(torch.from_numpy(np.random.default_rng(3).normal(0, 1, wanted.shape)).float())
        if bias:
            changed.constant("b").add_(5.0)
    fit_convolutions(changed, original, noise(8))
    # Inputs are noise about zero, so the ridge leaves a hundredth of the disturbance, of size 1 for each weight.
    assert float((changed.constant("k") - wanted).detach().abs().max()) < 0.1
    pictures = noise(9)[8:]
    gap = changed(pictures)["y"] - original(pictures)["y"]
    assert float(gap.detach().pow(2).mean().sqrt()) < 0.1


def test_later_convolutions_make_good_what_a_swap_changed(silu_net: ir.Model) -> None:
    swapped = run_passes(silu_net.clone(), SwapActivations("all", "Relu"))
    original, changed = Executor(silu_net), Executor(swapped)
    pictures = noise(9)

    def error() -> float:
        return float((changed(pictures[8:])["y"] - original(pictures[8:])["y"]).pow(2).mean().detach())

    before = error()
    fit_convolutions(changed, original, pictures[:8])
    assert error() < 0.3 * before


def test_not_a_number_is_refused_with_the_node(silu_net: ir.Model) -> None:
    original, changed = Executor(silu_net), Executor(silu_net)
    with torch.no_grad():
        changed.constant("k1").view(-1)[0] = torch.nan
    with pytest.raises(QuantizeError, match="'conv1'"):
        fit_convolutions(changed, original, noise(2))


def test_inputs_that_are_always_zero_change_nothing(silu_net: ir.Model) -> None:
    original, changed = Executor(silu_net), Executor(silu_net)
    with torch.no_grad():
        for executor in (original, changed):
            executor.constant("k1").zero_()
            executor.constant("b1").zero_()
    fit_convolutions(changed, original, noise(2))
    for mine, other in zip(changed.parameters(), original.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.fixture
def silu_net() -> ir.Model:
    model = ir.from_onnx_text("""
<ir_version: 8, opset_import: ["" : 17]>
net (uint8[1, 16, 16, 3] x) => (float[1, 4, 16, 16] y)
<float s = {0.0157}, uint8 z = {0}, float[16, 3, 3, 3] k1, float[16] b1, float[4, 16, 3, 3] k2, float[4] b2> {
    [real] r = DequantizeLinear(x, s, z)
    [turn] t = Transpose<perm = [0, 3, 1, 2]>(r)
    [conv1] c = Conv<pads = [1, 1, 1, 1]>(t, k1, b1)
    [gate] g = Sigmoid(c)
    [silu] a = Mul(c, g)
    [conv2] y = Conv<pads = [1, 1, 1, 1]>(a, k2, b2)
}""")
    generator = np.random.default_rng(4)
    shapes = {"k1": (16, 3, 3, 3), "b1": (16,), "k2": (4, 16, 3, 3), "b2": (4,)}
    for name, shape in shapes.items():
        array = generator.normal(0, np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1, shape)
        value = next(v for node in model.graph for v in node.inputs if v.name == name)
        value.const_value = ir.tensor(array.astype(np.float32), name=name)
        model.graph.initializers.setdefault(name, value)
    return model
