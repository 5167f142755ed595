# SPDX-License-Identifier: Apache-2.0
"""Heads of graphs that end before the decode: raw maps, or raw maps joined, some of them through a sigmoid.

YOLOX's own export does so by default, and so do the exports that chip makers' forks of YOLOv6 to v11 write. The graph
holds no box arithmetic to compare with, so only what the channels and the sigmoids leave no doubt about is accepted.
"""

from __future__ import annotations

import numpy as np

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head_math import BINS, Hypothesis, sigmoid
from yoloq_quantize.head_tail import Levels, Probe

NEAR = 1e-5


def undecoded(probe: Probe, levels: Levels, classes: int | None) -> Hypothesis | None:
    """The structure of raw outputs; None if the outputs are something else than raw maps.

    QuantizeError where they are raw maps, but more than one structure, or anchors that are not in the graph, would fit.
    """
    random = probe.random()
    results = probe.run(random)
    squashed = _squashed(random, results)
    if squashed is None or len({len(level) for level in levels.channels}) != 1:
        return None
    found = []
    for stride, channels in zip(levels.strides, levels.channels, strict=True):
        names = [conv.outputs[0].name for conv in levels.by_stride[stride]]
        choices = _roles(channels, [squashed[name] for name in names], classes)
        if not choices and len(channels) > 2:
            return None  # masks, keypoints, angles
        if len(choices) != 1:
            raise QuantizeError(
                f"the outputs are raw maps of {' and '.join(str(count) for count in channels)} channels a level, and"
                f" {_doubt(channels, choices, classes)}"
            )
        form, bins, objectness, order = choices[0]
        found.append((form, bins, objectness, tuple((role, names[index]) for role, index in order)))
    if len({each[:3] for each in found}) != 1:
        return None
    form, bins, objectness, _ = found[0]
    tensors = tuple(each[3] for each in found)
    return Hypothesis(form, bins, objectness, levels.strides, levels.grids, tensors)


def _squashed(raws: dict[str, np.ndarray], results: list[np.ndarray]) -> dict[str, bool] | None:
    """For each raw tensor whether the outputs hold it through a sigmoid (or else as it is); None if some tensor is in
    the outputs in neither way, or if they hold more numbers than the raw tensors and a sum of scores."""
    said = np.sort(np.concatenate([result.ravel() for result in results]).astype(np.float64))
    cells = sum(int(np.prod(raw.shape[2:])) for raw in {raw.shape[2:]: raw for raw in raws.values()}.values())
    count = sum(raw.size for raw in raws.values())
    if len(said) not in (count, count + cells):
        return None
    found = {}
    for name, raw in raws.items():
        plain = raw.ravel().astype(np.float64)
        ways = [way for way, numbers in ((False, plain), (True, sigmoid(plain))) if _holds(said, numbers)]
        if len(ways) != 1:
            return None
        found[name] = ways[0]
    return found


def _holds(said: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether each of `numbers` is among the sorted `said`."""
    right = np.clip(np.searchsorted(said, numbers), 0, len(said) - 1)
    left = np.clip(right - 1, 0, None)
    return bool((np.minimum(np.abs(said[right] - numbers), np.abs(said[left] - numbers)) < NEAR).all())


Choice = tuple[str, int, bool, tuple[tuple[str, int], ...]]  # form, bins, objectness, (role, index) pairs


def _roles(channels: list[int], squashed: list[bool], classes: int | None) -> list[Choice]:
    """The structures that a level's raw maps could have."""
    if len(channels) == 1:
        bins = [each for each in BINS if classes and channels[0] == 4 * each + classes]
        return [("ltrb", each, False, (("combined", 0),)) for each in bins if not squashed[0]]
    if len(channels) == 2:
        return [
            ("ltrb", channels[box] // 4, False, (("box", box), ("score", score)))
            for box, score in ((0, 1), (1, 0))
            if channels[box] % 4 == 0
            and not squashed[box]
            and (classes is None or channels[score] == classes)
            and (squashed[score] or not any(squashed))
        ]
    if len(channels) == 3:
        boxes = [index for index in range(3) if channels[index] == 4 and not squashed[index]]
        gates = [index for index in range(3) if channels[index] == 1 and squashed[index]]
        if len(boxes) == 1 and gates and sum(squashed) == 2:
            score = ({0, 1, 2} - {boxes[0], gates[0]}).pop()
            return [("exp", 1, True, (("box", boxes[0]), ("objectness", gates[0]), ("score", score)))]
    return []


def _doubt(channels: list[int], choices: list[Choice], classes: int | None) -> str:
    if len(choices) > 1 or (classes is None and len(channels) < 3):
        return "they do not tell boxes from scores; give the class names (--data), or export the model with its decode"
    if len(channels) == 1 and any(channels[0] % anchors == 0 for anchors in (3, 2, 4)):
        return "the anchors are not in the graph; export the model with its decode (YOLOv5 export.py, YOLOv7 --grid)"
    return "no known head has these channels and sigmoids; export the model with its decode"
