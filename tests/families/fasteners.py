# SPDX-License-Identifier: Apache-2.0
"""More pictures like those in datasets/fasteners: bolt, nut, washer, screw and scratch on brushed metal.

The demo's pictures have the seeds 10,000 (training), 50,000 (calibration) and 90,000 (validation) and on. The order
of the random draws is part of the data set: the same seed gives the same picture as there.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from families.layout import Truth

NAMES = ("bolt", "nut", "washer", "screw", "scratch")
SIZE = 640
SEED, COUNT = 800_000, 2_000  # 120,000 and on: what the rules were chosen on


def metal(rng: np.random.Generator) -> np.ndarray:
    """Brushed metal with uneven light, float32 (SIZE, SIZE)."""
    image = np.full((SIZE, SIZE), rng.uniform(50, 170), np.float32)
    noise = rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    length, angle = rng.integers(9, 60), rng.uniform(0, 180)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), angle, 1)
    kernel = cv2.warpAffine(kernel, turn, (int(length), int(length)))
    kernel /= kernel.sum() + 1e-6
    image += cv2.filter2D(noise, -1, kernel) * rng.uniform(15, 60)
    light = rng.normal(0, 1, (6, 6)).astype(np.float32)
    return image + cv2.resize(light, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) * rng.uniform(5, 25)


def _polygon(corners: int, radius: float, turn: float, x: float, y: float) -> np.ndarray:
    angles = np.arange(corners) * 2 * np.pi / corners + turn
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)


def _fixed(points: np.ndarray | list) -> list[np.ndarray]:
    """Points for OpenCV with 4 fractional bits."""
    return [np.round(np.asarray(points) * 16).astype(np.int32).reshape(-1, 1, 2)]


def _mask(draw: Callable[[np.ndarray], object]) -> np.ndarray:
    """What `draw` draws in 255 on black, softened; float32 (SIZE, SIZE), 0 to 1."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    draw(mask)
    return cv2.GaussianBlur(mask, (3, 3), 0).astype(np.float32) / 255


def _fill(points: np.ndarray | list) -> np.ndarray:
    return _mask(lambda mask: cv2.fillPoly(mask, _fixed(points), 255, cv2.LINE_AA, 4))


def _disc(x: float, y: float, radius: int, hole: int | None = None) -> np.ndarray:
    def draw(mask: np.ndarray) -> None:
        cv2.circle(mask, (int(x), int(y)), radius, 255, -1, cv2.LINE_AA)
        if hole is not None:
            cv2.circle(mask, (int(x), int(y)), hole, 0, -1, cv2.LINE_AA)

    return _mask(draw)


def _shade(rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, tone: float, light: float) -> None:
    """Paints the mask in a tone that falls off along the light's direction."""
    ys, xs = np.nonzero(mask > 0.02)
    if len(ys) == 0:
        return
    area = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    slope = (columns[area] - xs.min()) * np.cos(light) + (rows[area] - ys.min()) * np.sin(light)
    slope = slope.astype(np.float32)
    slope = (slope - slope.mean()) / (np.abs(slope).max() + 1e-3)
    value = tone + slope * rng.uniform(10, 45) + rng.normal(0, 3, slope.shape)
    image[area] = image[area] * (1 - mask[area]) + value * mask[area]


class _Part:
    """One part to be drawn: where, how large, how turned, how bright."""

    def __init__(self, rng: np.random.Generator, image: np.ndarray, kind: int, place: tuple, light: float) -> None:
        self.rng, self.image, self.light = rng, image, light
        self.x, self.y, self.r = place
        near = image[max(0, int(self.y) - 2) : int(self.y) + 3, max(0, int(self.x) - 2) : int(self.x) + 3].mean()
        contrast = rng.uniform(12, 80) * rng.choice([-1, 1])
        self.tone, self.turn = float(np.clip(near + contrast, 10, 245)), rng.uniform(0, 2 * np.pi)
        shadow = _disc(self.x + self.r * 0.15, self.y + self.r * 0.2, max(2, int(self.r * 0.95))) * rng.uniform(0, 0.45)
        if kind in (1, 2):
            image *= 1 - shadow

    def bolt(self) -> np.ndarray:
        x, y, r, rng = self.x, self.y, self.r, self.rng
        length, half = r * rng.uniform(1.2, 2.0), r * 0.42
        dx, dy = np.cos(self.turn), np.sin(self.turn)
        hx, hy = x - dx * length * 0.5, y - dy * length * 0.5
        ex, ey = hx + dx * (length + r * 0.5), hy + dy * (length + r * 0.5)
        side = (-dy * half, dx * half)
        shaft = [(hx + side[0], hy + side[1]), (ex + side[0], ey + side[1]), (ex - side[0], ey - side[1])]
        shaft.append((hx - side[0], hy - side[1]))
        mask = _fill(shaft)
        _shade(rng, self.image, mask, self.tone * 0.85, self.light)
        for t in np.arange(r * 0.8, length + r * 0.4, max(2.2, r * 0.14)):
            px, py = hx + dx * t, hy + dy * t
            ends = [(int((px + s * side[0]) * 16), int((py + s * side[1]) * 16)) for s in (1, -1)]
            thread = _mask(lambda mask, ends=ends: cv2.line(mask, *ends, 255, 1, cv2.LINE_AA, 4))
            self.image[:] = self.image * (1 - thread * 0.35)
        head = _fill(_polygon(6, r * 0.72, self.turn, hx, hy))
        _shade(rng, self.image, head, self.tone, self.light)
        return np.maximum(mask, head)

    def nut(self) -> np.ndarray:
        hole = max(1, int(self.r * 0.5))

        def draw(mask: np.ndarray) -> None:
            cv2.fillPoly(mask, _fixed(_polygon(6, self.r, self.turn, self.x, self.y)), 255, cv2.LINE_AA, 4)
            cv2.circle(mask, (int(self.x), int(self.y)), hole, 0, -1, cv2.LINE_AA)

        mask = _mask(draw)
        _shade(self.rng, self.image, mask, self.tone, self.light)
        rim = _mask(lambda mask: cv2.circle(mask, (int(self.x), int(self.y)), hole, 255, 1))
        return np.maximum(mask, rim)

    def washer(self) -> np.ndarray:
        hole = self.rng.uniform(0.4, 0.65)
        mask = _disc(self.x, self.y, int(self.r), max(1, int(self.r * hole)))
        _shade(self.rng, self.image, mask, self.tone, self.light)
        return mask

    def screw(self) -> np.ndarray:
        mask = _disc(self.x, self.y, int(self.r * 0.8))
        _shade(self.rng, self.image, mask, self.tone, self.light)
        for angle in (self.turn, self.turn + np.pi / 2):
            dx, dy = np.cos(angle) * self.r * 0.5, np.sin(angle) * self.r * 0.5
            ends = [(int(self.x + s * dx), int(self.y + s * dy)) for s in (-1, 1)]
            width = max(1, int(self.r * 0.18))
            slot = _mask(lambda mask, ends=ends, width=width: cv2.line(mask, *ends, 255, width, cv2.LINE_AA))
            self.image[:] = self.image * (1 - slot * 0.6)
        return mask

    def scratch(self) -> np.ndarray:
        points, angle, rng = [(self.x, self.y)], self.turn, self.rng
        for _ in range(4):
            angle += rng.normal(0, 0.25)
            x, y = points[-1]
            points.append((x + np.cos(angle) * self.r * 0.6, y + np.sin(angle) * self.r * 0.6))
        line = np.array(points)
        line -= line.mean(0) - [self.x, self.y]
        width = max(1, int(self.r * 0.07))
        mask = _mask(lambda mask: cv2.polylines(mask, _fixed(line), False, 255, width, cv2.LINE_AA, 4))
        bright = 255 if rng.random() < 0.5 else 10
        self.image[:] = self.image * (1 - mask * 0.8) + bright * mask * 0.8 * rng.uniform(0.4, 0.9)
        return mask


def _part(rng: np.random.Generator, image: np.ndarray, kind: int, place: tuple, light: float) -> tuple | None:
    """Draws one part; its box x1 y1 x2 y2, None if hardly anything of it can be seen."""
    part = _Part(rng, image, kind, place, light)
    mask = (part.bolt, part.nut, part.washer, part.screw, part.scratch)[kind]()
    ys, xs = np.nonzero(mask > 0.15)
    return None if len(ys) < 6 else (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def _free_place(rng: np.random.Generator, radius: float, truth: Truth) -> tuple[float, float] | None:
    for _ in range(12):
        x, y = rng.uniform(radius, SIZE - radius, 2)
        if all(
            abs(x - (b[0] + b[2]) / 2) > (b[2] - b[0]) / 2 + radius * 0.9
            or abs(y - (b[1] + b[3]) / 2) > (b[3] - b[1]) / 2 + radius * 0.9
            for _, b in truth
        ):
            return x, y
    return None


def sample(seed: int) -> tuple[np.ndarray, Truth]:
    """One picture, uint8 (SIZE, SIZE, 3) BGR."""
    rng = np.random.default_rng(seed)
    image, truth = metal(rng), []
    light = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(4, 22)):
        kind, radius = int(rng.integers(5)), float(np.exp(rng.uniform(np.log(7), np.log(38))))
        place = _free_place(rng, radius, truth)
        box = None if place is None else _part(rng, image, kind, (*place, radius), light)
        if box is not None:
            x1, y1, x2, y2 = (max(0, min(SIZE, int(v))) for v in box)
            if x2 - x1 > 3 and y2 - y1 > 3:
                truth.append((kind, (x1, y1, x2, y2)))
    for _ in range(rng.integers(0, 4)):
        x, y, spread = rng.uniform(0, SIZE), rng.uniform(0, SIZE), rng.uniform(30, 200)
        rows, columns = np.mgrid[0:SIZE, 0:SIZE]
        image += rng.uniform(30, 160) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread * spread))
    image *= rng.uniform(0.5, 1.15)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3))
    tint = rng.uniform(0.92, 1.08, 3)
    colored = image[..., None] * tint + rng.normal(0, rng.uniform(1, 9), (SIZE, SIZE, 3))
    return np.clip(colored, 0, 255).astype(np.uint8), truth
