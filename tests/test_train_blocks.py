# SPDX-License-Identifier: Apache-2.0
"""Blocks cover the graph in order, and each can run from what the ones before it gave."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train_subject import make_plan, make_subject, write_pictures
from yoloq_quantize.train.blocks import Block, find_blocks
from yoloq_quantize.train.fakequant import FakeQuantized


@pytest.fixture
def network(tmp_path: Path) -> FakeQuantized:
    subject = make_subject(write_pictures(tmp_path, 2))
    return FakeQuantized(subject, make_plan(subject))


def outputs(block: Block) -> set[str]:
    return set(block.outputs)


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_blocks_are_the_graph(network: FakeQuantized, most: int) -> None:
    blocks = find_blocks(network, most)
    assert tuple(step for block in blocks for step in block.steps) == network.steps
    assert [name for block in blocks for name in block.weighted] == list(network.weighted)
    assert max(len(block.weighted) for block in blocks) <= most


@pytest.mark.parametrize("most", [1, 3])
def test_blocks_one_after_the_other_give_what_the_network_gives(network: FakeQuantized, most: int) -> None:
    picture = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    values = {"images_u8": picture}
    with torch.no_grad():
        for block in find_blocks(network, most):
            values |= network.run({name: values[name] for name in block.inputs}, block.outputs)
        whole = network(picture)
    assert all(torch.equal(values[name], whole[name]) for name in network.outputs)


def test_cuts_are_where_quantised_values_cross(network: FakeQuantized) -> None:
    """Never between a convolution and its activation; with room for two convolutions, behind whole pairs."""
    blocks = find_blocks(network, 2)
    for block in blocks[:-1]:
        crossing = outputs(block) - set(network.outputs)
        assert crossing and all(name in network.plan.placement.edges or "split" in name for name in crossing)
    assert blocks[0].weighted == ("stem_0", "stem_1")
    assert blocks[0].outputs == ("stem_1.a",)


def test_one_block_if_there_is_room(network: FakeQuantized) -> None:
    (block,) = find_blocks(network, 100)
    assert (block.inputs, outputs(block)) == (("images_u8",), set(network.outputs))
