# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from pass_check import kinds, outputs
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import SwapActivations, run_passes
from yoloq_quantize.passes.swap_activations import swappable_activations

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[2, 40] x) => (float[2, 40] answer)
{
  [gate] s = Sigmoid (x)
  [first] y = Mul (x, s)
  [other] t = Sigmoid (y)
  [second] answer = Mul (t, y)
}
"""


def model(opset: int = 17) -> ir.Model:
    return ir.from_onnx_text(TEXT.replace("17]", f"{opset}]"))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def hard_swish(x: np.ndarray) -> np.ndarray:
    return x * np.clip(x + 3, 0, 6) / 6


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def picture() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (2, 40)).astype(np.float32)


def test_what_can_be_swapped() -> None:
    assert swappable_activations(model()) == ["first", "second"]


@pytest.mark.parametrize(("kind", "function"), [("HardSwish", hard_swish), ("Relu", relu)])
def test_all(kind: str, function: object) -> None:
    after = run_passes(model(), SwapActivations("all", kind))
    assert kinds(after) == [kind, kind]
    assert [node.name for node in after.graph] == ["first", "second"]
    np.testing.assert_allclose(outputs(after)[0], function(function(picture())), rtol=1e-5, atol=1e-6)


def test_one_of_them() -> None:
    after = run_passes(model(), SwapActivations(["second"], "Relu"))
    assert kinds(after) == ["Sigmoid", "Mul", "Relu"]
    assert after.graph[2].inputs[0].name == "y"
    np.testing.assert_allclose(outputs(after)[0], relu(silu(picture())), rtol=1e-5, atol=1e-6)


def test_without_the_operator() -> None:
    after = run_passes(model(13), SwapActivations(["first"], "HardSwish"))
    assert kinds(after) == ["HardSigmoid", "Mul", "Sigmoid", "Mul"]
    np.testing.assert_allclose(outputs(after)[0], silu(hard_swish(picture())), rtol=1e-5, atol=1e-6)


def test_unknown_names_and_kinds_are_refused() -> None:
    with pytest.raises(QuantizeError, match="'gate' makes no SiLU"):
        run_passes(model(), SwapActivations(["gate"]))
    with pytest.raises(QuantizeError, match="'Gelu' is not known"):
        SwapActivations("all", "Gelu")
