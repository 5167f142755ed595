# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a set of calibration pictures, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yoloq_quantize.select.choose import drop_duplicates
from yoloq_quantize.select.features import MEASURES, Looks, look_at

FEW = 32
ALIKE_SHARE = 0.5  # of the pictures that may be near-duplicates of others
OUTSIDE_SHARE = 0.15  # of the validation pictures that may lie outside what calibration has seen
SHIFT = 1.0  # standard deviations between the medians
PLAIN_CONTRAST = 1.0  # grey levels: below, there is nothing to see
_LOOKED_AT = 64
_MARGIN = 0.05  # of the calibration set's span, on either side of it
_MEANING = {
    "brightness": ("darker", "brighter"),
    "glare": ("with less glare", "with more glare"),
    "contrast": ("of lower contrast", "of higher contrast"),
    "sharpness": ("more blurred", "sharper"),
    "edges": ("emptier", "more crowded"),
    "colour": ("less colourful", "more colourful"),
}


def check_calibration(files: Sequence[Path], compare: Sequence[Path] | None = None) -> list[str]:
    """Warnings about a calibration set; empty if there is nothing to say. Looks at 64 pictures of each list at most,
    spread evenly, which takes a second or two.

    compare: pictures like those that the detector will see.
    """
    looks = look_at(_some(files))
    others = None if compare is None else look_at(_some(compare))
    return few(len(files)) + warnings_about(looks, others)


def warnings_about(looks: Looks, compare: Looks | None = None) -> list[str]:
    """As check_calibration, for pictures that were looked at already; without the warning about their number."""
    found = [f"cannot be used: {reason}" for _, reason in looks.broken]
    if len(looks) == 0:
        return found
    kept, _ = drop_duplicates(looks)
    if len(looks) > 1 and len(kept) < (1 - ALIKE_SHARE) * len(looks):
        found.append(f"the calibration pictures are all alike: only {len(kept)} of {len(looks)} differ; add other ones")
    plain = int((looks.measures[:, MEASURES.index("contrast")] < PLAIN_CONTRAST).sum())
    if plain:
        found.append(f"{plain} of {len(looks)} calibration pictures show one even colour; is the camera covered?")
    found += _sizes(looks)
    if compare is not None and len(compare):
        found += unlike(looks, compare)
    return found


def few(count: int) -> list[str]:
    """The warning about the number of pictures."""
    if count >= FEW:
        return []
    return [f"only {count} calibration picture{'s' * (count != 1)}; ranges want {FEW} or more, better 64 to 128"]


def _sizes(looks: Looks) -> list[str]:
    sizes = Counter(looks.sizes)
    if len(sizes) == 1:
        return []
    common = ", ".join(
        f"{n} of {w}x{h}" for (w, h), n in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:3]
    )
    return [f"the calibration pictures have {len(sizes)} sizes ({common}); are they all from the camera in use?"]


def unlike(looks: Looks, compare: Looks) -> list[str]:
    """One sentence per measure in which the pictures of `compare` lie elsewhere.

    Either many of them are outside the calibration set's span, or the medians are a standard deviation apart. A set
    that is merely wider than `compare`, as a chosen one is, is no reason to warn.
    """
    found = []
    for column, measure in enumerate(MEASURES):
        mine, theirs = (_evened(measure, some.measures[:, column]) for some in (looks, compare))
        low, high = mine.min(), mine.max()
        margin = max(_MARGIN * (high - low), _evened(measure, np.float64([1e-3]))[0])
        below, above = float((theirs < low - margin).mean()), float((theirs > high + margin).mean())
        spread = np.sqrt((mine.var() + theirs.var()) / 2)
        shift = float(np.median(theirs) - np.median(mine)) / max(float(spread), margin)
        share = max(below, above)
        if share > OUTSIDE_SHARE or abs(shift) > SHIFT:
            up = above > below if share > OUTSIDE_SHARE else shift > 0
            found.append(
                f"unlike the pictures to compare with: those are {_MEANING[measure][up]} ({measure}: median "
                f"{np.median(compare.measures[:, column]):.3g} against {np.median(looks.measures[:, column]):.3g}, "
                f"{100 * share:.0f} % outside the calibration set's range); add such pictures"
            )
    return found


def _evened(measure: str, values: np.ndarray) -> np.ndarray:
    """On a scale on which a step means the same everywhere."""
    if measure == "sharpness":
        return np.log1p(values)
    return np.sqrt(values) if measure in ("glare", "edges") else values


def _some(files: Sequence[Path]) -> list[Path]:
    count = min(_LOOKED_AT, len(files))
    return [Path(files[i * len(files) // count]) for i in range(count)]
