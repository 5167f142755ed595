# SPDX-License-Identifier: Apache-2.0
"""What a picture looks like, in numbers: measures that a person understands, a vector for distances, a hash."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from yoloq_quantize.dataset import DatasetError, label_path, read_image

WORK_SIDE = 640  # pixels of the longer side on which everything is measured; smaller pictures stay as they are
THUMB_SIDE = 16
HASH_BITS = 63
GLARE_LEVEL = 250  # luminance from which a pixel counts as saturated
EDGE_LEVEL = 8.0  # grey levels per pixel from which a pixel counts as an edge
_LUMINANCE_BINS, _CHROMA_BINS, _GRADIENT_BINS = 16, 6, 8
_STEPS = np.int32([4, 8, 16, 32, 64, 128, 256]) ** 2  # as _Gradients.squared; 0.5 to 32 levels per pixel
Progress = Callable[[Iterable, str], Iterable]
_ORIENTATION_TAG = 0x0112  # EXIF; 5 to 8 swap width and height
_SEEN_BY_OPENCV = {"I", "I;16", "I;16B", "F"}  # Pillow would clip these to 8 bits instead of scaling them


@dataclass(frozen=True)
class Measures:
    """One picture. `objects`: boxes in its YOLO label file, None without one."""

    brightness: float  # mean luminance, 0 to 255
    glare: float  # share of pixels with luminance >= 250, 0 to 1
    contrast: float  # standard deviation of luminance
    sharpness: float  # variance of the Laplacian of luminance: small means blurred
    edges: float  # share of pixels with a Sobel gradient >= 8 levels per pixel, 0 to 1
    colour: float  # mean distance from grey in the Cb-Cr plane
    objects: int | None = None


MEASURES = ("brightness", "glare", "contrast", "sharpness", "edges", "colour")


@dataclass(frozen=True)
class Looks:
    """n pictures, in the order of `files`.

    measures: float64 (n, 6), columns MEASURES; objects: int64 (n,), -1 without a label file; sizes: (width, height) px,
    upright; vectors: float32 (n, d), Euclidean; hashes: float32 (n, 63) of +-1; thumbs: uint8 (n, 256).
    broken: what could not be read, and why.
    """

    files: tuple[Path, ...]
    measures: np.ndarray
    objects: np.ndarray
    sizes: tuple[tuple[int, int], ...]
    vectors: np.ndarray
    hashes: np.ndarray
    thumbs: np.ndarray
    broken: tuple[tuple[Path, str], ...]

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Sequence[int]) -> Looks:
        """Only these pictures, in this order, and nothing broken."""
        rows = np.asarray(indices, np.int64)
        return Looks(
            files=tuple(self.files[i] for i in rows),
            measures=self.measures[rows],
            objects=self.objects[rows],
            sizes=tuple(self.sizes[i] for i in rows),
            vectors=self.vectors[rows],
            hashes=self.hashes[rows],
            thumbs=self.thumbs[rows],
            broken=(),
        )


@dataclass(frozen=True)
class _Look:
    measures: tuple[float, ...]
    objects: int
    size: tuple[int, int]
    vector: np.ndarray
    hash: np.ndarray
    thumb: np.ndarray


def look_at(files: Sequence[Path], progress: Progress | None = None, threads: int | None = None) -> Looks:
    """Reads the pictures one after another; only some hundred numbers of each are kept (about 1.2 KB).

    progress: wraps the iteration, for a bar. threads: None takes one per processor; the result does not depend on it.
    """
    wrap = progress if progress is not None else (lambda items, _: items)
    good, looks, broken = [], [], []
    for file, look in wrap(_Reader(files, threads or os.cpu_count() or 1), "looking"):
        if isinstance(look, str):
            broken.append((file, look))
        else:
            good.append(file)
            looks.append(look)
    width = len(looks[0].vector) if looks else 1
    return Looks(
        files=tuple(good),
        measures=np.array([look.measures for look in looks], np.float64).reshape(-1, len(MEASURES)),
        objects=np.array([look.objects for look in looks], np.int64),
        sizes=tuple(look.size for look in looks),
        vectors=np.array([look.vector for look in looks], np.float32).reshape(-1, width),
        hashes=np.array([look.hash for look in looks], np.float32).reshape(-1, HASH_BITS),
        thumbs=np.array([look.thumb for look in looks], np.uint8).reshape(-1, THUMB_SIDE**2),
        broken=tuple(broken),
    )


class _Reader:
    """Yields (file, look or reason) in the files' order; at most a few decoded pictures exist at a time."""

    def __init__(self, files: Sequence[Path], threads: int) -> None:
        self.files, self.threads = files, threads

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[Path, _Look | str]]:
        waiting: deque[tuple[Path, Future]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for file in self.files:
                    waiting.append((file, pool.submit(_look, file)))
                    if len(waiting) > 4 * self.threads:
                        done, future = waiting.popleft()
                        yield done, future.result()
                for done, future in waiting:
                    yield done, future.result()
            finally:
                pool.shutdown(cancel_futures=True)


def _look(file: Path) -> _Look | str:
    """The numbers of one picture, or why it cannot be read."""
    try:
        picture, size = read_small(file)
    except DatasetError as error:
        return str(error)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    measures, gradients = _measure(picture, grey)
    objects = _object_count(file)
    hash_bits, thumb = _fingerprint(grey)
    return _Look(measures, -1 if objects is None else objects, size, _vector(grey, picture, measures, gradients),
                 hash_bits, thumb)  # fmt: skip


def read_small(file: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """uint8 (h, w, 3) RGB upright, the longer side at most WORK_SIDE, and the full (width, height) in pixels.

    JPEGs are decoded at the scale that is needed, and a file that is cut short is refused: OpenCV would fill it up.
    """
    try:
        with Image.open(file) as image:
            width, height = image.size
            strange = image.mode in _SEEN_BY_OPENCV
            if not strange:
                image.draft("RGB", (WORK_SIDE, WORK_SIDE))
                orientation = image.getexif().get(_ORIENTATION_TAG, 1)
                upright = image if orientation == 1 else ImageOps.exif_transpose(image)
                picture = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
                size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{file}: not a readable picture ({reason}); replace or remove it") from None
    if strange:
        picture = np.ascontiguousarray(read_image(file)[..., ::-1])
        size = picture.shape[1::-1]
    longest = max(picture.shape[:2])
    if longest > WORK_SIDE:
        small = [max(1, round(side * WORK_SIDE / longest)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return picture, (int(size[0]), int(size[1]))


def _object_count(file: Path) -> int | None:
    try:
        text = label_path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return sum(bool(line.strip()) for line in text.splitlines())


@dataclass(frozen=True)
class _Gradients:
    """Sobel derivatives times 8 at every second pixel of every second row, int32. Whole numbers, so that results do not
    depend on how a CPU rounds."""

    across: np.ndarray
    down: np.ndarray
    squared: np.ndarray  # of the magnitude, times 64


def _measure(picture: np.ndarray, grey: np.ndarray) -> tuple[tuple[float, ...], _Gradients]:
    """The values of MEASURES, and the gradients."""
    across, down = (cv2.Sobel(grey, cv2.CV_16S, dx, 1 - dx, ksize=3)[::2, ::2].astype(np.int32) for dx in (1, 0))
    gradients = _Gradients(across, down, across**2 + down**2)
    mean, deviation = cv2.meanStdDev(grey)
    laplacian = cv2.Laplacian(grey, cv2.CV_16S, ksize=1).astype(np.int32)
    centre = int(laplacian.sum(dtype=np.int64)) / grey.size
    chroma = cv2.cvtColor(picture[::2, ::2], cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.int32) - 128
    return (
        float(mean[0, 0]),
        float((grey >= GLARE_LEVEL).mean()),
        float(deviation[0, 0]),
        int((laplacian**2).sum(dtype=np.int64)) / grey.size - centre**2,
        float((gradients.squared >= (8 * EDGE_LEVEL) ** 2).mean()),
        float(np.sqrt((chroma**2).sum(axis=2).astype(np.float64)).mean()),
    ), gradients


def _vector(grey: np.ndarray, picture: np.ndarray, measures: tuple[float, ...], gradients: _Gradients) -> np.ndarray:
    """float32 (82,). Histograms as square roots: their Euclidean distance is the Hellinger distance (times sqrt 2), so
    luminance, colour and gradients weigh the same; then the layout of light, and the measures on fixed scales."""
    squared = gradients.squared.ravel()
    bins = _directions(gradients.across.ravel(), gradients.down.ravel())
    directions = np.bincount(bins, np.sqrt(squared.astype(np.float64)), _GRADIENT_BINS)
    steps = np.bincount(np.searchsorted(_STEPS, squared), minlength=len(_STEPS) + 1)
    chroma = cv2.cvtColor(picture[::2, ::2], cv2.COLOR_RGB2YCrCb)
    colour = cv2.calcHist([chroma], [1, 2], None, [_CHROMA_BINS] * 2, [64, 192, 64, 192])
    light = cv2.calcHist([grey], [0], None, [_LUMINANCE_BINS], [0, 256])
    layout = cv2.resize(grey, (3, 3), interpolation=cv2.INTER_AREA).astype(np.float32).ravel() / 255
    brightness, glare, contrast, sharpness, edges, _ = measures
    named = [brightness / 255, np.sqrt(glare), contrast / 64, np.log1p(sharpness) / 8, np.sqrt(edges)]
    parts = [_root(light.ravel()), _root(colour.ravel()), _root(directions), _root(steps), layout, named]
    return np.concatenate(parts).astype(np.float32)


def _directions(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The eighth of the half circle (a line has no direction) that each gradient points to, 0 to 7."""
    turned = (down < 0) | ((down == 0) & (across < 0))
    across = np.where(turned, -across, across)
    rise, run = np.abs(down), np.abs(across).astype(np.float64)
    steep = sum((rise > run * tangent).astype(np.int64) for tangent in (np.sqrt(2) - 1, 1.0, np.sqrt(2) + 1))
    return np.where(across < 0, _GRADIENT_BINS - 1 - steep, steep)


def _root(histogram: np.ndarray) -> np.ndarray:
    return np.sqrt(histogram / max(float(histogram.sum()), 1e-9))


def _fingerprint(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """63 signs of the low frequencies of the cosine transform against their median, and a 16 x 16 thumbnail.

    The signs survive another size, mild compression and a change of exposure; the thumbnail tells apart what is too
    plain for them (a black frame from a white one).
    """
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.rint(cv2.dct(small)[:8, :8].ravel()[1:])  # without the mean; a plain picture has no sign of noise
    signs = np.where(low > np.median(low), 1, -1).astype(np.int8)
    return signs, cv2.resize(grey, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA).ravel()
