# SPDX-License-Identifier: Apache-2.0
"""Which activations are swapped: the fewest that carry the cost, by size alone."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.swap.which import SHARE, choose, costly_activations

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 2, 8, 8] x) => (float[1, 2, 2, 2] y)
<float[1, 2, 8, 8] a, float[1, 2, 8, 8] b, float[1, 2, 8, 8] b2, float[1, 2, 4, 4] c, float[1, 2, 4, 4] d,
 float[1, 2, 4, 4] e, float[1, 2, 2, 2] f, float[1, 2, 2, 2] g>
{
    [sa] a = Sigmoid(x)
    [big] b = Mul(x, a)
    [relu] b2 = Relu(b)
    [pool1] c = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(b2)
    [sd] d = Sigmoid(c)
    [middle] e = Mul(d, c)
    [pool2] f = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(e)
    [sg] g = Sigmoid(f)
    [small] y = Mul(f, g)
}
"""


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(MODEL)


def test_sizes_are_those_of_the_results(model: ir.Model) -> None:
    found = {each.name: each.elements for each in costly_activations(model)}
    assert found == {"big": 2 * 8 * 8, "middle": 2 * 4 * 4, "small": 2 * 2 * 2}


def test_auto_leaves_what_carries_little_of_the_cost(model: ir.Model) -> None:
    assert 128 < SHARE * 168 <= 128 + 32  # what the expectation rests on
    assert choose(model) == ("big", "middle")


def test_all_and_lists_are_in_the_order_of_the_graph(model: ir.Model) -> None:
    assert choose(model, "all") == ("big", "middle", "small")
    assert choose(model, ["small", "big"]) == ("big", "small")


@pytest.mark.parametrize(
    ("which", "message"),
    [("most", "'most' is not known"), (["relu"], "'relu' makes no SiLU"), ([], "no activation is named")],
)
def test_wrong_choices_are_refused(model: ir.Model, which: str | list[str], message: str) -> None:
    with pytest.raises(QuantizeError, match=message):
        choose(model, which)


def test_a_model_without_silu_is_refused() -> None:
    plain = "net (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y) { [relu] y = Relu(x) }"
    model = ir.from_onnx_text('<ir_version: 8, opset_import: ["" : 17]>\n' + plain)
    with pytest.raises(QuantizeError, match="no activation to swap"):
        choose(model)
