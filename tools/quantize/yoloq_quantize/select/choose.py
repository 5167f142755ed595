# SPDX-License-Identifier: Apache-2.0
"""Which pictures to calibrate on: near-duplicates out, extremes in, the rest spread over what the folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoloq_quantize.select.features import HASH_BITS, MEASURES, Looks

NEAR_BITS = 8  # of 63: unrelated pictures differ in about 31, the same one saved again in 0 to 4
NEAR_LEVELS = 6.0  # mean difference of the thumbnails, grey levels
_BLOCK_CELLS = 8_000_000  # of a distance matrix that exist at a time: 32 MB
_EXTREMES = (  # reason, measure, sign: 1 takes the largest values, -1 the smallest
    ("dark", "brightness", -1),
    ("bright", "brightness", 1),
    ("glare", "glare", 1),
    ("blurred", "sharpness", -1),
    ("sharp", "sharpness", 1),
    ("low contrast", "contrast", -1),
    ("high contrast", "contrast", 1),
)


@dataclass(frozen=True)
class Choice:
    """One chosen picture, why, and how it was found: `index` into Looks.files."""

    index: int
    file: Path
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """chosen: in the order of the files. duplicates: (left out, kept instead), indices into Looks.files."""

    chosen: tuple[Choice, ...]
    duplicates: tuple[tuple[int, int], ...]


def choose(looks: Looks, count: int) -> Selection:
    """At most `count` pictures. The same pictures under the same names give the same choice.

    First each extreme's share (a 32nd of the count, at least one), then the picture farthest from all chosen ones,
    again and again: Gonzalez' greedy k-centre, whose covering radius is at most twice the best one's (Theoretical
    Computer Science 38, 1985).
    """
    kept, duplicates = drop_duplicates(looks)
    reasons: dict[int, list[str]] = {}
    for name, order in _extremes(looks, kept):
        for index in order[: max(1, count // 32)]:
            if index in reasons or len(reasons) < count:
                reasons.setdefault(int(index), []).append(name)
    _spread(looks.vectors[kept].astype(np.float64), kept, reasons, min(count, len(kept)))
    chosen = [Choice(index, looks.files[index], tuple(reasons[index])) for index in sorted(reasons)]
    return Selection(tuple(chosen), duplicates)


def drop_duplicates(looks: Looks) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Indices of the pictures to keep, int64 ascending, and (left out, kept instead) for the others.

    A picture is left out if an earlier one that was kept has nearly the same hash and thumbnail. Hashes are compared as
    products of +-1 vectors (h . g = 63 - 2 * Hamming), so the quadratic part is one matrix product per block.
    """
    near = HASH_BITS - 2 * NEAR_BITS
    kept: list[int] = []
    duplicates: list[tuple[int, int]] = []
    start = 0
    while start < len(looks):
        block = range(start, min(len(looks), start + max(64, _BLOCK_CELLS // (len(kept) + 4096))))
        hashes = looks.hashes[block.start : block.stop]
        earlier = hashes @ looks.hashes[kept].T >= near if kept else np.zeros((len(block), 0), bool)
        inside = hashes @ hashes.T >= near
        known = len(kept)
        for row, index in enumerate(block):
            fresh = np.array(kept[known:], np.int64)
            close = [kept[k] for k in np.flatnonzero(earlier[row])]
            close += fresh[inside[row][fresh - start]].tolist()
            twin = _twin(looks.thumbs, index, close)
            if twin is None:
                kept.append(index)
            else:
                duplicates.append((index, twin))
        start = block.stop
    return np.array(kept, np.int64), tuple(duplicates)


def _twin(thumbs: np.ndarray, index: int, candidates: list[int]) -> int | None:
    """The first candidate whose thumbnail is nearly that of `index`."""
    if not candidates:
        return None
    difference = np.abs(thumbs[candidates].astype(np.int16) - thumbs[index]).mean(axis=1)
    found = np.flatnonzero(difference <= NEAR_LEVELS)
    return candidates[found[0]] if found.size else None


def _extremes(looks: Looks, kept: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """For each reason the kept pictures, most extreme first, ties in the order of the files; a picture without a single
    saturated pixel is no glare."""
    orders = []
    for name, measure, sign in _EXTREMES:
        values = looks.measures[kept, MEASURES.index(measure)]
        order = kept[np.argsort(-sign * values, kind="stable")]
        if name == "glare":
            order = order[looks.measures[order, MEASURES.index("glare")] > 0]
        orders.append((name, order))
    labelled = kept[looks.objects[kept] >= 0]
    if labelled.size:
        crowd = looks.objects[labelled]
        orders.append(("crowded", labelled[np.argsort(-crowd, kind="stable")]))
        orders.append(("empty", labelled[np.argsort(crowd, kind="stable")]))
    if labelled.size < kept.size:  # where nothing is labelled, edges stand for objects
        others = kept[looks.objects[kept] < 0]
        edges = looks.measures[others, MEASURES.index("edges")]
        orders.append(("many edges", others[np.argsort(-edges, kind="stable")]))
        orders.append(("few edges", others[np.argsort(edges, kind="stable")]))
    return orders


def _spread(vectors: np.ndarray, kept: np.ndarray, reasons: dict[int, list[str]], count: int) -> None:
    """Adds the farthest picture to `reasons` until there are `count`. vectors: float64 (kept, d)."""
    places = {int(index): place for place, index in enumerate(kept)}
    squares = np.einsum("nd,nd->n", vectors, vectors)

    def to(place: int) -> np.ndarray:
        return np.maximum(squares + squares[place] - 2 * (vectors @ vectors[place]), 0)

    nearest = np.full(len(kept), np.inf)
    for index in reasons:
        nearest = np.minimum(nearest, to(places[index]))
    taken = np.isin(kept, list(reasons))
    while len(reasons) < count:
        place = int(np.argmax(np.where(taken, -1.0, nearest)))
        taken[place] = True
        reasons[int(kept[place])] = ["different from the others"]
        nearest = np.minimum(nearest, to(place))
