# SPDX-License-Identifier: Apache-2.0
"""The letterbox against OpenCV: within one grey level, for every format, stride, region and size."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

import letterbox_native as native
from letterbox_native import (
    BGR24,
    BGRA32,
    CHANNELS,
    FORMAT_NAMES,
    GRAY8,
    NV12,
    RGB24,
    RGBA32,
    Letterboxer,
    Library,
    Rule,
)

FORMATS = [GRAY8, BGR24, RGB24, BGRA32, RGBA32, NV12]
DEFAULT_RULE = Rule(64, 48)
ROIS = [
    (0, 0, 40, 30), (1, 1, 40, 30), (7, 5, 1, 1), (89, 69, 1, 1), (89, 0, 1, 70), (3, 69, 64, 1),
    (25, 21, 65, 49), (26, 22, 64, 48), (1, 0, 89, 69), (0, 0, 90, 70),
]  # fmt: skip
TO_BGR = {
    GRAY8: cv2.COLOR_GRAY2BGR,
    RGB24: cv2.COLOR_RGB2BGR,
    BGRA32: cv2.COLOR_BGRA2BGR,
    RGBA32: cv2.COLOR_RGBA2BGR,
    NV12: cv2.COLOR_YUV2BGR_NV12,
}
# (width, height): single pixels and lines, primes, exact 2x and 4x, identity with 64 x 48, enlarging, extremes
SIZES = [
    (1, 1), (2, 2), (1, 97), (97, 1), (2, 300), (300, 2), (3, 2), (5, 7), (31, 29), (64, 48), (63, 47), (65, 49),
    (128, 96), (256, 192), (192, 144), (127, 101), (640, 480), (641, 479), (16384, 1), (1, 16384),
    (16384, 3), (2, 16384),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A picture and what to make of it. roi: x, y, width, height; None: the whole picture."""

    format: int
    width: int
    height: int
    rule: Rule = DEFAULT_RULE
    roi: tuple[int, int, int, int] | None = None
    color_space: int = native.BT601_LIMITED


@pytest.fixture(scope="module")
def library(testing_library: str) -> Library:
    return Library(testing_library)


def random_bytes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """uint8 noise: the hardest picture for a resampler."""
    return np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)


def planes_of(case: Case, seed: int = 0) -> list[np.ndarray]:
    """Packed uint8 noise: [height, width(, channels)], and NV12's chroma [height / 2, width]."""
    rng = np.random.default_rng(seed)
    channels = CHANNELS[case.format]
    planes = [random_bytes(rng, case.height, case.width, *([channels] if channels > 1 else []))]
    if case.format == NV12:
        planes.append(random_bytes(rng, case.height // 2, case.width))
    return planes


def even(case: Case) -> Case:
    """The case with sides that NV12 takes."""
    return replace(case, width=case.width + case.width % 2, height=case.height + case.height % 2)


# ------------------------------------------------------------------------------------------------- the reference


def yuv_to_bgr(planes: list[np.ndarray], red: float, blue: float, full: bool) -> np.ndarray:
    """NV12 to BGR uint8 [height, width, 3] by the standard's formula in float64, rounded to nearest."""
    y = planes[0].astype(np.float64)
    uv = planes[1].reshape(planes[1].shape[0], -1, 2).repeat(2, 0).repeat(2, 1).astype(np.float64) - 128
    y, uv = (y, uv / 255) if full else (np.maximum(y - 16, 0) * 255 / 219, uv / 224)
    b = y + 255 * 2 * (1 - blue) * uv[..., 0]
    r = y + 255 * 2 * (1 - red) * uv[..., 1]
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.rint(np.stack([b, g, r], 2)), 0, 255).astype(np.uint8)


def to_bgr(case: Case, planes: list[np.ndarray]) -> np.ndarray:
    """The whole picture as BGR, uint8 [height, width, 3]."""
    if case.format == BGR24:
        return planes[0]
    if case.color_space == native.BT601_FULL:
        return yuv_to_bgr(planes, 0.299, 0.114, full=True)
    if case.color_space in (native.BT709_LIMITED, native.BT709_FULL):
        return yuv_to_bgr(planes, 0.2126, 0.0722, full=case.color_space == native.BT709_FULL)
    return cv2.cvtColor(np.vstack(planes), TO_BGR[case.format])


def reference(case: Case, planes: list[np.ndarray]) -> np.ndarray:
    """The letterbox by OpenCV: convert, crop, resize, pad. uint8 [rule.height, rule.width, 3]."""
    rule = case.rule
    picture = to_bgr(case, planes)
    if not rule.bgr:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if case.roi:
        x, y, width, height = case.roi
        picture = picture[y : y + height, x : x + width]
    height, width = picture.shape[:2]
    ratio = min(rule.width / width, rule.height / height)
    if not rule.upscale:
        ratio = min(ratio, 1.0)
    new_width, new_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    picture = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    spare_x, spare_y = rule.width - new_width, rule.height - new_height
    left, top = (spare_x // 2, spare_y // 2) if rule.center else (0, 0)
    pad = (rule.pad,) * 3
    return cv2.copyMakeBorder(picture, top, spare_y - top, left, spare_x - left, cv2.BORDER_CONSTANT, value=pad)


def ours(library: Library, case: Case, planes: list[np.ndarray], isa: str | None = None) -> np.ndarray:
    """The letterbox by the library."""
    return Letterboxer(library, case.rule, isa).run(image_of(case, planes))


def image_of(case: Case, planes: list[np.ndarray], **fields: int) -> native.Image:
    image = native.image_of(case.format, *planes, color_space=case.color_space, **fields)
    if case.roi:
        image.roi_x, image.roi_y, image.roi_width, image.roi_height = case.roi
    return image


def difference(a: np.ndarray, b: np.ndarray) -> int:
    """Largest difference of two uint8 arrays, in grey levels."""
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return int(cv2.absdiff(a, b).max())


def check(library: Library, case: Case, seed: int = 0, isa: str | None = None) -> None:
    planes = planes_of(case, seed)
    assert difference(ours(library, case, planes, isa), reference(case, planes)) <= 1, f"{case}, seed {seed}, {isa}"


# ------------------------------------------------------------------------------------------------- equal to OpenCV


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("format", FORMATS, ids=FORMAT_NAMES.get)
def test_sizes(library: Library, format: int, size: tuple[int, int]) -> None:
    case = Case(format, *size)
    case = even(case) if format == NV12 else case
    for rule in (Rule(64, 48), Rule(64, 48, bgr=True), Rule(96, 160)):
        check(library, replace(case, rule=rule))


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (1280, 960), (640, 640), (333, 517), (4096, 3072)])
@pytest.mark.parametrize("format", FORMATS, ids=FORMAT_NAMES.get)
def test_camera_sizes(library: Library, format: int, size: tuple[int, int]) -> None:
    case = Case(format, *size, rule=Rule(640, 640))
    check(library, even(case) if format == NV12 else case)


@pytest.mark.parametrize("format", [GRAY8, NV12], ids=FORMAT_NAMES.get)
def test_largest(library: Library, format: int) -> None:
    check(library, Case(format, 16384, 16384, rule=Rule(640, 640, bgr=True)))  # BGR: one copy of 800 MB less


@pytest.mark.parametrize("color_space", [native.BT601_FULL, native.BT709_LIMITED, native.BT709_FULL])
@pytest.mark.parametrize("size", [(2, 2), (64, 48), (130, 94), (30, 38)])
def test_color_spaces(library: Library, size: tuple[int, int], color_space: int) -> None:
    check(library, Case(NV12, *size, color_space=color_space))


def random_case(rng: np.random.Generator, isas: list[str]) -> tuple[Case, str]:
    """Any format, size, region and rule."""
    width, height = (int(2 ** rng.uniform(0, 9)) for _ in range(2))
    case = Case(int(rng.choice(FORMATS)), width, height)
    case = even(case) if case.format == NV12 else case
    if rng.random() < 0.6:
        x, y = int(rng.integers(case.width)), int(rng.integers(case.height))
        case = replace(
            case, roi=(x, y, int(rng.integers(1, case.width - x + 1)), int(rng.integers(1, case.height - y + 1)))
        )
    rule = Rule(
        int(rng.integers(1, 200)),
        int(rng.integers(1, 200)),
        bgr=bool(rng.integers(2)),
        center=bool(rng.integers(2)),
        upscale=bool(rng.integers(2)),
        pad=int(rng.integers(256)),
    )
    return replace(case, rule=rule), str(rng.choice(isas))


@pytest.mark.parametrize("seed", range(8))
def test_random(library: Library, seed: int) -> None:
    rng = np.random.default_rng(seed)
    isas = library.isas()
    for number in range(60):
        case, isa = random_case(rng, isas)
        check(library, case, seed=number, isa=isa)


def every_yuv() -> list[np.ndarray]:
    """NV12 planes of 4096 x 4096 with every (Y, U, V) once: each chroma pair has 64 blocks of 4 different lumas."""
    block = np.arange(2048 * 2048, dtype=np.uint32).reshape(2048, 2048)
    luma = np.empty((4096, 4096), np.uint8)
    for corner in range(4):
        luma[corner // 2 :: 2, corner % 2 :: 2] = block % 64 * 4 + corner
    chroma = (block // 64).astype("<u2").view(np.uint8)
    return [luma, chroma]


def test_every_yuv_is_opencvs(library: Library) -> None:
    planes = every_yuv()
    case = Case(NV12, 4096, 4096, rule=Rule(4096, 4096, bgr=True))
    wanted = cv2.cvtColor(np.vstack(planes), cv2.COLOR_YUV2BGR_NV12)
    for isa in library.isas():
        assert np.array_equal(ours(library, case, planes, isa), wanted), isa


@pytest.mark.parametrize("color_space", [native.BT601_FULL, native.BT709_LIMITED, native.BT709_FULL])
def test_every_yuv_by_formula(library: Library, color_space: int) -> None:
    planes = every_yuv()
    case = Case(NV12, 4096, 4096, rule=Rule(4096, 4096, bgr=True), color_space=color_space)
    got = ours(library, case, planes)
    for rows in range(0, 4096, 512):  # a float64 picture of this size would need gigabytes
        part = [planes[0][rows : rows + 512], planes[1][rows // 2 : rows // 2 + 256]]
        wrong = cv2.absdiff(to_bgr(case, part), got[rows : rows + 512])
        assert wrong.max() <= 1 and np.count_nonzero(wrong) < wrong.size * 1e-3  # ties of the rounding


# ------------------------------------------------------------------------------------------------- memory layouts


@pytest.mark.parametrize("format", FORMATS, ids=FORMAT_NAMES.get)
@pytest.mark.parametrize("rule", [Rule(64, 48), Rule(90, 70), Rule(200, 300)])
def test_strides(library: Library, format: int, rule: Rule) -> None:
    case = Case(format, 90, 70, rule=rule)
    planes = planes_of(case)
    wanted = ours(library, case, planes)
    letterboxer = Letterboxer(library, rule)
    assert np.array_equal(letterboxer.run(image_of(case, planes, stride=0, stride2=0)), wanted), "packed"
    for padding in (1, 13, 256):
        padded = [np.pad(plane, [(0, 0), (0, padding), *[(0, 0)] * (plane.ndim - 2)]) for plane in planes]
        views = [plane[:, :-padding] for plane in padded]
        assert np.array_equal(letterboxer.run(image_of(case, views)), wanted), padding
    bottom_up = [np.ascontiguousarray(plane[::-1])[::-1] for plane in planes]
    assert bottom_up[0].strides[0] < 0
    assert np.array_equal(letterboxer.run(image_of(case, bottom_up)), wanted), "bottom-up"


@pytest.mark.parametrize("roi", ROIS)
@pytest.mark.parametrize("format", FORMATS, ids=FORMAT_NAMES.get)
def test_roi(library: Library, format: int, roi: tuple[int, int, int, int]) -> None:
    for rule in (Rule(64, 48), Rule(20, 30), Rule(roi[2], roi[3])):
        check(library, Case(format, 90, 70, rule=rule, roi=roi))


def test_one_letterboxer_takes_any_picture(library: Library) -> None:
    """Tables and kept rows of one picture must not reach the next."""
    rng = np.random.default_rng(5)
    rule = Rule(64, 48)
    letterboxer = Letterboxer(library, rule)
    cases = [replace(random_case(rng, ["generic"])[0], rule=rule) for _ in range(60)]
    cases += [Case(NV12, 90, 70, roi=(x, 3, 40, 30)) for x in (2, 3, 4, 3)]
    for seed, case in enumerate(cases):
        planes = planes_of(case, seed)
        assert difference(letterboxer.run(image_of(case, planes)), reference(case, planes)) <= 1, case


# ------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("size", "rule", "box"),
    [
        ((1920, 1080), Rule(640, 640), (0, 140, 640, 360)),
        ((1080, 1920), Rule(640, 640), (140, 0, 360, 640)),
        ((1920, 1080), Rule(640, 640, center=False), (0, 0, 640, 360)),
        ((100, 50), Rule(640, 640), (0, 160, 640, 320)),
        ((100, 50), Rule(640, 640, upscale=False), (270, 295, 100, 50)),
        ((1280, 999), Rule(640, 640), (0, 70, 640, 500)),  # 499.5: ties to even
        ((1280, 997), Rule(640, 640), (0, 71, 640, 498)),  # 498.5
        ((16384, 1), Rule(640, 640), (0, 319, 640, 1)),
    ],
)
def test_box(library: Library, size: tuple[int, int], rule: Rule, box: tuple[int, int, int, int]) -> None:
    case = Case(GRAY8, *size, rule=rule)
    letterboxer = Letterboxer(library, rule)
    out = letterboxer.run(image_of(case, planes_of(case)))
    got = letterboxer.box
    assert (got.left, got.top, got.width, got.height) == box
    assert got.scale_x == pytest.approx(size[0] / box[2]) and got.scale_y == pytest.approx(size[1] / box[3])
    outside = np.ones(out.shape[:2], bool)
    outside[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = False
    assert (out[outside] == 114).all()


def test_flat_pictures_stay_flat(library: Library) -> None:
    for value in (0, 1, 127, 128, 254, 255):
        for isa in library.isas():
            for size in ((97, 61), (31, 17)):
                case = Case(BGR24, *size, rule=Rule(64, 48, pad=value))
                plane = np.full((size[1], size[0], 3), value, np.uint8)
                assert (ours(library, case, [plane], isa) == value).all(), (value, isa, size)


# ------------------------------------------------------------------------------------------------- instruction sets


def test_all_instruction_sets_give_the_same_bytes(library: Library) -> None:
    isas = library.isas()
    assert "generic" in isas and library.best_isa() in isas
    rng = np.random.default_rng(11)
    cases = [random_case(rng, isas)[0] for _ in range(120)]
    cases += [Case(format, 1920, 1080, rule=Rule(640, 640)) for format in FORMATS]
    for seed, case in enumerate(cases):
        planes = planes_of(case, seed)
        wanted = ours(library, case, planes, "generic")
        for isa in isas:
            assert np.array_equal(ours(library, case, planes, isa), wanted), (isa, case)


def test_unknown_instruction_set(library: Library) -> None:
    with pytest.raises(ValueError, match="choose one of"):
        Letterboxer(library, Rule(8, 8), "mmx")


# ------------------------------------------------------------------------------------------------- bounds


@pytest.fixture(scope="module")
def guarded() -> Iterator[np.ndarray]:
    """Memory between two pages that fault when touched, uint8."""
    size, page = 1 << 20, mmap.PAGESIZE
    block = mmap.mmap(-1, size + 2 * page)
    memory = np.frombuffer(block, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)

    def protect(access: int) -> None:
        for offset in (0, size + page):
            address = ctypes.c_void_p(memory.ctypes.data + offset)
            assert libc.mprotect(address, ctypes.c_size_t(page), access) == 0, ctypes.get_errno()

    protect(0)
    yield memory[page:-page]
    protect(mmap.PROT_READ | mmap.PROT_WRITE)


@pytest.mark.parametrize("at_end", [True, False], ids=["last byte", "first byte"])
@pytest.mark.parametrize("format", FORMATS, ids=FORMAT_NAMES.get)
def test_reads_no_byte_outside(library: Library, guarded: np.ndarray, format: int, at_end: bool) -> None:
    """The picture, then NV12's chroma, then the output touch a page that faults: a byte too far ends the process."""
    sizes = [(1, 1), (2, 2), (1, 9), (9, 1), (3, 3), (17, 5), (64, 48), (63, 47), (128, 96), (30, 200), (201, 20)]
    for width, height in sizes:
        case = Case(format, width, height)
        case = even(case) if format == NV12 else case
        planes = planes_of(case)
        wanted = ours(library, case, planes, "generic")
        for number in range(len(planes) + 1):
            inputs, out = list(planes), np.empty((48, 64, 3), np.uint8)
            target = inputs[number] if number < len(inputs) else out
            part = guarded[-target.size :] if at_end else guarded[: target.size]
            placed = part.reshape(target.shape)
            placed[...] = target
            if number < len(inputs):
                inputs[number] = placed
            else:
                out = placed
            for isa in library.isas():
                got = Letterboxer(library, case.rule, isa).run(image_of(case, inputs), out)
                assert np.array_equal(got, wanted), (case, isa)


def test_writes_no_byte_outside(library: Library) -> None:
    case = Case(BGR24, 61, 43, rule=Rule(37, 29))
    planes = planes_of(case)
    for isa in library.isas():
        frame = np.full(3 * 37 * 29 + 256, 0xA5, np.uint8)
        Letterboxer(library, case.rule, isa).run(image_of(case, planes), frame[128:])
        assert (frame[:128] == 0xA5).all() and (frame[-128:] == 0xA5).all(), isa


# ------------------------------------------------------------------------------------------------- it can fail


def shifted(case: Case, planes: list[np.ndarray]) -> np.ndarray:
    """The reference with pixel corners instead of centres at whole numbers."""
    picture = cv2.cvtColor(to_bgr(case, planes), cv2.COLOR_BGR2RGB)
    x = np.arange(case.rule.width, dtype=np.float32) * (case.width / case.rule.width)
    y = np.arange(case.rule.height, dtype=np.float32) * (case.height / case.rule.height)
    return cv2.remap(picture, *np.meshgrid(x, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


MISTAKES = {
    "swapped channels": lambda case, planes: reference(replace(case, rule=replace(case.rule, bgr=True)), planes),
    "half a pixel off": shifted,
    "another pad": lambda case, planes: reference(replace(case, rule=replace(case.rule, pad=116)), planes),
    "one column further": lambda case, planes: np.roll(reference(case, planes), 1, axis=1),
    "top left": lambda case, planes: reference(replace(case, rule=replace(case.rule, center=False)), planes),
    "nearest": lambda case, planes: cv2.resize(
        cv2.cvtColor(to_bgr(case, planes), cv2.COLOR_BGR2RGB), (64, 48), interpolation=cv2.INTER_NEAREST
    ),
    "another colour space": lambda case, planes: reference(replace(case, color_space=native.BT709_LIMITED), planes),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_comparison_sees(library: Library, mistake: str) -> None:
    # The padding tells nothing of resampling mistakes, and a picture that fills the input nothing of padding mistakes.
    size = (150, 96) if mistake in ("another pad", "top left") else (128, 96)
    case = Case(NV12 if mistake == "another colour space" else BGR24, *size)
    planes = planes_of(case)
    got = ours(library, case, planes)
    assert difference(got, reference(case, planes)) <= 1
    assert difference(got, MISTAKES[mistake](case, planes)) > 1
