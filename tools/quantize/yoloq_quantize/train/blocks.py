# SPDX-License-Identifier: Apache-2.0
"""Cuts a graph into blocks that are learned one after the other: runs of nodes with few values in between."""

from __future__ import annotations

from dataclasses import dataclass

from yoloq_quantize.train.fakequant import FakeQuantized
from yoloq_quantize.train.step import Step

UNQUANTISED = 4  # cost of a cut value that nothing reads quantised (between a node and its activation); others cost 1


@dataclass(frozen=True)
class Block:
    """Consecutive nodes. `inputs`: values from before them; `outputs`: values that later nodes read, or the graph's
    own; `weighted`: those of the nodes whose weights are quantised."""

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weighted: tuple[str, ...]


def find_blocks(network: FakeQuantized, most: int) -> list[Block]:
    """The cheapest way to cut the graph, in its own order, so that no block has more than `most` weighted nodes.

    The cost of a cut: 1, and what the values that cross it cost. Found from the front to the back: the cheapest way to
    cut what lies before a node extends a cheapest way to cut what lies before an earlier one.
    """
    steps = network.steps
    last = _last_uses(network)
    costs, starts, alive = [0.0], [0], set()
    for end in range(1, len(steps) + 1):
        alive |= set(steps[end - 1].outputs)
        alive = {name for name in alive if end <= last.get(name, 0) < len(steps)}
        crossing = sum(1 if name in network.plan.placement.edges else UNQUANTISED for name in alive)
        count, best, chosen = 0, float("inf"), 0
        for start in range(end - 1, -1, -1):
            count += steps[start].name in network.weighted
            if count > most:
                break
            if costs[start] < best:
                best, chosen = costs[start], start
        costs.append(best + crossing + 1)
        starts.append(chosen)
    blocks, end = [], len(steps)
    while end:
        blocks.append(_block(network, starts[end], end, last))
        end = starts[end]
    return blocks[::-1]


def _last_uses(network: FakeQuantized) -> dict[str, int]:
    """Value -> place of the last node that reads it; the graph's outputs are read after all nodes."""
    last = {name: index for index, step in enumerate(network.steps) for name in step.inputs}
    return last | dict.fromkeys(network.outputs, len(network.steps))


def _block(network: FakeQuantized, start: int, end: int, last: dict[str, int]) -> Block:
    steps = network.steps[start:end]
    made = [name for step in steps for name in step.outputs]
    read = dict.fromkeys(name for step in steps for name in step.inputs if network.is_value(name))
    return Block(
        steps,
        tuple(name for name in read if name not in made),
        tuple(name for name in made if last.get(name, -1) >= end),
        tuple(step.name for step in steps if step.name in network.weighted),
    )
