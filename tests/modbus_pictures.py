# SPDX-License-Identifier: Apache-2.0
"""Pictures that appear in a folder, as a camera program puts them there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage


def put(folder: Path, name: str, seed: int = 0) -> Path:
    """A picture that appears at once."""
    noise = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8)
    beside = folder / f".{name}"
    PillowImage.fromarray(noise).save(beside, "PNG")
    return beside.rename(folder / name)
