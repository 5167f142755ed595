# SPDX-License-Identifier: Apache-2.0
"""Every spelling that exporters use, against ONNX Runtime; and what only looks like one."""

from __future__ import annotations

import pytest

from pass_check import kinds, same_numbers
from yoloq_quantize.passes import CanonicalActivations

TEXT = """
<ir_version: 8, opset_import: ["" : OPSET]>
test (float[2, 40] x) => (float[2, 40] answer)
<float one = {1.0}, float three = {3.0}, float zero = {0.0}, float six = {6.0}, float sixth = {0.16666667},
 float[1] six1 = {6.0}, float half_sixth = {0.1666259765625}, float five = {5.0}>
{ STEPS }
"""
HARD = "HardSigmoid <alpha = 0.16666667, beta = 0.5>"
SILU = ("s = Sigmoid (x) answer = Mul (x, s)", "s = Sigmoid (x) answer = Mul (s, x)")
HARD_SWISH = (
    f"h = {HARD} (x) answer = Mul (x, h)",
    f"h = {HARD} (x) answer = Mul (h, x)",
    "a = Add (x, three) c = Clip (a, zero, six) d = Div (c, six) answer = Mul (x, d)",
    "a = Add (three, x) c = Clip (a, zero, six) m = Mul (x, c) answer = Div (m, six1)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Mul (c, sixth) answer = Mul (m, x)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, sixth) answer = Mul (m, c)",
    "a = Add (x, three) r = Relu (a) c = Min (r, six) m = Mul (x, c) answer = Mul (m, sixth)",
    "a = Add (x, three) r = Relu (a) c = Clip (r, , six) m = Mul (x, c) answer = Div (m, six)",
)
MISH = (
    "p = Softplus (x) t = Tanh (p) answer = Mul (x, t)",
    "p = Softplus (x) t = Tanh (p) answer = Mul (t, x)",
    "e = Exp (x) a = Add (e, one) p = Log (a) t = Tanh (p) answer = Mul (x, t)",
)


def text(steps: str, opset: int) -> str:
    return TEXT.replace("OPSET", str(opset)).replace("STEPS", steps)


def canonical(steps: str, opset: int, tolerance: float = 1e-5) -> list[str]:
    return kinds(same_numbers(text(steps, opset), CanonicalActivations(), tolerance=tolerance))


@pytest.mark.parametrize("steps", SILU)
def test_silu(steps: str) -> None:
    after = same_numbers(text(steps, 13), CanonicalActivations())
    assert kinds(after) == ["Sigmoid", "Mul"]
    assert after.graph[1].inputs[0].name == "x"


@pytest.mark.parametrize("steps", HARD_SWISH)
def test_hard_swish(steps: str) -> None:
    assert canonical(steps, 14) == ["HardSwish"]
    assert canonical(steps, 13) == ["HardSigmoid", "Mul"]


@pytest.mark.parametrize("steps", MISH)
def test_mish(steps: str) -> None:
    assert canonical(steps, 18) == ["Mish"]
    assert canonical(steps, 17) == ["Softplus", "Tanh", "Mul"]


def test_a_sixth_of_a_float16_export() -> None:
    steps = "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) answer = Mul (m, half_sixth)"
    assert canonical(steps, 17, tolerance=1e-3) == ["HardSwish"]


@pytest.mark.parametrize("steps", [
    "a = Add (x, three) c = Clip (a, zero, five) m = Mul (x, c) answer = Div (m, six)",
    "a = Add (x, five) c = Clip (a, zero, six) m = Mul (x, c) answer = Div (m, six)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) answer = Div (m, five)",
    "a = Add (x, three) c = Clip (a, one, six) m = Mul (x, c) answer = Div (m, six)",
    "h = HardSigmoid (x) answer = Mul (x, h)",
    "y = Neg (x) s = Sigmoid (y) answer = Mul (x, s)",
    "p = Softplus (x) y = Neg (x) t = Tanh (p) answer = Mul (y, t)",
])  # fmt: skip
def test_what_only_looks_like_one_stays(steps: str) -> None:
    assert len(canonical(steps, 18)) == steps.count("=") - steps.count("<")


def test_a_chain_of_activations_and_factors() -> None:
    """The source of one is itself a product with a constant."""
    steps = "y = Mul (x, three) s = Sigmoid (y) z = Mul (s, y) t = Sigmoid (z) answer = Mul (t, z)"
    assert canonical(steps, 17) == ["Mul", "Sigmoid", "Mul", "Sigmoid", "Mul"]


def test_nothing_to_do_is_said() -> None:
    after = same_numbers(text(SILU[0], 17), CanonicalActivations())
    assert not CanonicalActivations()(after).modified
