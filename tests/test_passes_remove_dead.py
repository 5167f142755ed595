# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pass_check import kinds, same_numbers
from yoloq_quantize.passes import RemoveDead

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
test (float[1, 4, 4, 4] x) => (float[1, 4, 2, 2] answer)
<float unread = {1.0}, float read = {2.0}, int64[2] sizes = {1, 3}>
{
  aside = Sigmoid (x)
  further = Mul (aside, unread)
  one, other = Split <axis = 1> (x, sizes)
  dead = Relu (other)
  y = Mul (x, read)
  answer, where = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (y)
}
"""


def test_what_leads_nowhere_goes() -> None:
    after = same_numbers(TEXT, RemoveDead())
    assert kinds(after) == ["Mul", "MaxPool"]
    assert list(after.graph.initializers) == ["read"]
    assert not RemoveDead()(after).modified
