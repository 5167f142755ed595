# SPDX-License-Identifier: Apache-2.0
"""A graph in tails: what changes late in a network leaves all before it as it was, and only the rest has to run again.
The layers of a detector's neck and head are more than half of all, and most of the work lies before them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from yoloq_quantize.runner import Runner, with_outputs


class Tail:
    """A graph's nodes from one of them on, compiled. Not for several threads at once."""

    def __init__(self, model: ir.Model, start: int, again: str) -> None:
        """`start`: position of the first node in the graph's order. `again`: the input that changes between runs; what
        depends on it alone belongs to every tail."""
        tail, borders = cut(model, start, again)
        self._tail, self._again = Runner(tail), again
        self._head = Runner(with_outputs(model, list(borders))) if borders else None
        self._given: dict[str, np.ndarray] = {}

    def enter(self, picture: np.ndarray, nothing: np.ndarray) -> None:
        """Runs what lies before it, once. picture: uint8 [1, h, w, 3]. nothing: the changing input, of no effect."""
        self._given = {"images_u8": picture}
        if self._head is not None:
            self._given = self._head.run(picture, **{self._again: nothing})

    def run(self, change: np.ndarray) -> dict[str, np.ndarray]:
        """The graph's outputs for the picture that was entered."""
        return self._tail.run_named({**self._given, self._again: change})


def cut(model: ir.Model, start: int, again: str) -> tuple[ir.Model, tuple[str, ...]]:
    """A copy that begins with node `start`, and the names of what came before that it is given instead: its inputs
    beside `again`. With nothing before it, it is the whole, and the names are none."""
    copy = model.clone()
    graph = copy.graph
    early = {node for node in list(graph)[:start] if not _depends_alone(node, again)}
    if not early:
        return copy, ()
    late = [node for node in graph if node not in early]
    needed = [value for node in late for value in node.inputs if value is not None] + list(graph.outputs)
    borders = list(dict.fromkeys(value for value in needed if value.producer() in early))
    given = [ir.val(value.name, value.dtype, value.shape) for value in borders]
    for value, replacement in zip(borders, given, strict=True):
        value.replace_all_uses_with(replacement, replace_graph_outputs=True)
    graph.remove(early, safe=True)
    graph.inputs[:] = [*(value for value in graph.inputs if value.name == again), *given]
    return copy, tuple(value.name for value in given)


def _depends_alone(node: ir.Node, name: str) -> bool:
    read = [value for value in node.inputs if value is not None and value.const_value is None]
    return bool(read) and all(value.name == name for value in read)
