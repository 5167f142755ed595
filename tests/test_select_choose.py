# SPDX-License-Identifier: Apache-2.0
"""Which pictures are chosen: duplicates out, extremes in, the rest far apart; and what is said about a set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.select.check import check_calibration, few
from yoloq_quantize.select.choose import NEAR_BITS, NEAR_LEVELS, choose, drop_duplicates
from yoloq_quantize.select.features import HASH_BITS, MEASURES, Looks, look_at, read_small

SIDE = 96


def scene(seed: int, objects: int = 6) -> np.ndarray:
    """uint8 (96, 96, 3): smooth grey-brown noise with some dark squares."""
    generator = np.random.default_rng(seed)
    ground = cv2.resize(generator.integers(70, 180, (6, 6, 3)).astype(np.uint8), (SIDE, SIDE))
    for x, y in generator.integers(0, SIDE - 12, (objects, 2)):
        ground[y : y + 10, x : x + 10] = generator.integers(10, 60)
    return cv2.add(ground, generator.integers(0, 6, ground.shape).astype(np.uint8))


def save(folder: Path, name: str, picture: np.ndarray, quality: int = 95) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    path.write_bytes(cv2.imencode(path.suffix, picture, options)[1])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 different scenes, and one of each extreme."""
    home = tmp_path / "pictures"
    for index in range(40):
        save(home, f"s{index:02}.png", scene(index))
    save(home, "x_dark.png", scene(100) // 8)
    glare = scene(101)
    cv2.circle(glare, (48, 48), 35, (255, 255, 255), -1)
    save(home, "x_glare.png", glare)
    save(home, "x_blurred.png", cv2.GaussianBlur(scene(102), (0, 0), 8))
    save(home, "x_low.png", scene(103) // 10 + 100)
    save(home, "x_crowded.png", scene(104, 60))
    return home


def looked(folder: Path) -> Looks:
    return look_at(sorted(folder.rglob("*.*")))


def reasons(folder: Path, count: int) -> dict[str, tuple[str, ...]]:
    return {choice.file.name: choice.reasons for choice in choose(looked(folder), count).chosen}


# ------------------------------------------------------------------------------------------------ measures


def test_measures_are_what_they_say(tmp_path: Path) -> None:
    picture = scene(3)
    picture[:20, :30] = 255
    looks = look_at([save(tmp_path, "a.png", picture)])
    rgb = picture[..., ::-1].astype(np.float64)
    grey = np.rint(rgb @ [0.299, 0.587, 0.114])
    got = dict(zip(MEASURES, looks.measures[0], strict=True))
    assert got["brightness"] == pytest.approx(grey.mean(), abs=0.6)
    assert got["contrast"] == pytest.approx(grey.std(), abs=0.6)
    assert got["glare"] == pytest.approx((grey >= 250).mean(), abs=2e-3)
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    assert got["sharpness"] == pytest.approx(laplacian.var(), rel=0.02)
    across = (padded[:, 2:] - padded[:, :-2]) @ np.eye(SIDE)
    down = (padded[2:] - padded[:-2])[:, :]
    across = (across[:-2] + 2 * across[1:-1] + across[2:]) / 8
    down = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 8
    assert got["edges"] == pytest.approx((np.hypot(across, down) >= 8).mean(), abs=0.02)


def test_labels_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "images", "a.png", scene(1))
    save(tmp_path / "images", "b.png", scene(2))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n\n")
    assert looked(tmp_path / "images").objects.tolist() == [2, -1]


def test_threads_do_not_matter(folder: Path) -> None:
    files = sorted(folder.iterdir())
    one, four = look_at(files, threads=1), look_at(files, threads=4)
    assert one.files == four.files
    for name in ("measures", "vectors", "hashes", "thumbs"):
        assert np.array_equal(getattr(one, name), getattr(four, name)), name


def test_big_pictures_turned_pictures_and_16_bits(tmp_path: Path) -> None:
    big = cv2.resize(scene(1), (1600, 900))
    small, size = read_small(save(tmp_path, "a.jpg", big))
    assert (small.shape, size) == ((360, 640, 3), (1600, 900))
    deep = scene(2)[..., 0].astype(np.uint16) * 257
    picture, _ = read_small(save(tmp_path, "b.png", deep))
    assert np.abs(picture[..., 0].astype(int) - scene(2)[..., 0]).max() <= 1
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(cv2.resize(scene(3), (200, 100))).save(tmp_path / "c.jpg", exif=exif)
    picture, size = read_small(tmp_path / "c.jpg")
    assert (picture.shape[:2], size) == ((200, 100), (100, 200))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    good = save(tmp_path, "a.jpg", scene(1))
    (tmp_path / "cut.jpg").write_bytes(save(tmp_path, "b.jpg", scene(2)).read_bytes()[:-300])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.bmp").write_bytes(b"")
    looks = looked(tmp_path)
    assert looks.files == (good, tmp_path / "b.jpg")
    assert [path.name for path, _ in looks.broken] == ["cut.jpg", "empty.bmp", "text.png"]
    assert all("\n" not in reason and "replace or remove it" in reason for _, reason in looks.broken)


# ------------------------------------------------------------------------------------------------ duplicates


def test_the_same_picture_saved_again_is_left_out(folder: Path) -> None:
    for index in range(10):
        again = cv2.resize(scene(index), (150, 150))
        save(folder, f"t{index}.jpg", cv2.add(again, np.full_like(again, 3)), quality=60)
    looks = looked(folder)
    _, duplicates = drop_duplicates(looks)
    assert {(looks.files[a].name, looks.files[b].name) for a, b in duplicates} == {
        (f"t{index}.jpg", f"s{index:02}.png") for index in range(10)
    }


def test_plain_pictures_differ_by_their_light(tmp_path: Path) -> None:
    for level in (0, 5, 120, 255):
        save(tmp_path, f"{level:03}.png", np.full((SIDE, SIDE, 3), level, np.uint8))
    kept, duplicates = drop_duplicates(looked(tmp_path))
    assert kept.tolist() == [0, 2, 3]
    assert duplicates == ((1, 0),)


def synthetic(count: int, seed: int = 0) -> Looks:
    """Looks without pictures; every third one is near an earlier one."""
    generator = np.random.default_rng(seed)
    hashes = generator.choice([-1, 1], (count, HASH_BITS)).astype(np.float32)
    thumbs = generator.integers(0, 256, (count, 256)).astype(np.uint8)
    for index in range(2, count, 3):
        source = generator.integers(0, index)
        hashes[index], thumbs[index] = hashes[source], thumbs[source]
        hashes[index, generator.integers(0, HASH_BITS, generator.integers(0, 14))] *= -1
    files = tuple(Path(f"{index:06}.png") for index in range(count))
    measures, vectors = generator.random((count, len(MEASURES))), generator.random((count, 82)).astype(np.float32)
    return Looks(files, measures, np.full(count, -1), ((1, 1),) * count, vectors, hashes, thumbs, ())


def test_blocks_find_what_a_plain_loop_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = synthetic(700)
    kept: list[int] = []
    expected = []
    for index in range(len(looks)):
        twin = next(
            (
                k
                for k in kept
                if (looks.hashes[k] != looks.hashes[index]).sum() <= NEAR_BITS
                and np.abs(looks.thumbs[k].astype(int) - looks.thumbs[index]).mean() <= NEAR_LEVELS
            ),
            None,
        )
        if twin is None:
            kept.append(index)
        else:
            expected.append((index, twin))
    monkeypatch.setattr("yoloq_quantize.select.choose._BLOCK_CELLS", 500_000)  # several blocks
    got, duplicates = drop_duplicates(looks)
    assert duplicates == tuple(expected)
    assert got.tolist() == kept
    assert len(expected) > 50


def test_ten_thousand_pictures_take_seconds() -> None:
    import time

    start = time.process_time()
    assert len(choose(synthetic(10_000), 128).chosen) == 128
    assert time.process_time() - start < 30


# ------------------------------------------------------------------------------------------------ choice


def test_extremes_are_always_in(folder: Path) -> None:
    got = reasons(folder, 12)
    assert len(got) == 12
    assert "dark" in got["x_dark.png"]
    assert "glare" in got["x_glare.png"]
    assert "blurred" in got["x_blurred.png"]
    assert "low contrast" in got["x_low.png"]
    assert "many edges" in got["x_crowded.png"]


def test_labels_tell_crowded_from_empty(folder: Path) -> None:
    for index in range(40):
        (folder / f"s{index:02}.txt").write_text("0 .5 .5 .1 .1\n" * (0 if index == 7 else 30 if index == 9 else 5))
    looks = look_at(sorted(folder.glob("*.png")))
    got = {choice.file.name: choice.reasons for choice in choose(looks, 16).chosen}
    assert "empty" in got["s07.png"]
    assert "crowded" in got["s09.png"]


def test_the_rest_covers_the_folder(folder: Path) -> None:
    """What every greedy k-centre keeps: a picture that was added lies at least as far from all other chosen ones as the
    farthest one that was left out. And that is nearer than with the first pictures by name."""
    looks = looked(folder)
    selection = choose(looks, 24)
    apart = np.linalg.norm(looks.vectors[:, None].astype(np.float64) - looks.vectors[None], axis=2)

    def radius(indices: list[int]) -> float:
        return float(apart[:, indices].min(axis=1).max())

    chosen = [choice.index for choice in selection.chosen]
    added = [choice.index for choice in selection.chosen if choice.reasons == ("different from the others",)]
    assert len(added) > 8
    for index in added:
        others = [other for other in chosen if other != index]
        assert apart[index, others].min() >= radius(chosen) - 1e-6
    assert radius(chosen) < 0.8 * radius(list(range(24)))


def test_the_choice_is_the_same_twice_and_small_folders_are_taken_whole(folder: Path) -> None:
    assert choose(looked(folder), 20) == choose(looked(folder), 20)
    assert len(reasons(folder, 1000)) == 45
    assert len(reasons(folder, 1)) == 1
    assert len(reasons(folder, 3)) == 3


# ------------------------------------------------------------------------------------------------ warnings


def test_a_good_set_gets_no_warning(folder: Path, tmp_path: Path) -> None:
    for index in range(200, 230):
        save(tmp_path / "val", f"{index}.png", scene(index))
    assert check_calibration(sorted(folder.iterdir()), sorted((tmp_path / "val").iterdir())) == []


def test_few_and_alike(tmp_path: Path) -> None:
    for index in range(20):
        save(tmp_path, f"{index:02}.jpg", scene(index % 4), quality=60 + index)
    first, second = check_calibration(sorted(tmp_path.iterdir()))
    assert first.startswith("only 20 calibration pictures")
    assert second.startswith("the calibration pictures are all alike: only 4 of 20 differ")
    assert few(1)[0].startswith("only 1 calibration picture;")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p // 4, "those are darker (brightness"),
        (lambda p: cv2.GaussianBlur(p, (0, 0), 5), "those are more blurred (sharpness"),
        (lambda p: cv2.convertScaleAbs(p, alpha=1.9, beta=60), "those are with more glare (glare"),
        (lambda p: p // 5 + 90, "those are of lower contrast (contrast"),
        (lambda p: cv2.merge([p[..., 0] // 3, p[..., 1], p[..., 2]]), "those are more colourful (colour"),
    ],
)
def test_unlike_the_pictures_to_compare_with(folder: Path, tmp_path: Path, change: object, words: str) -> None:
    for index in range(200, 230):
        save(tmp_path / "val", f"{index}.png", change(scene(index)))
    plain = sorted(folder.glob("s*.png"))
    said = check_calibration(plain, sorted((tmp_path / "val").iterdir()))
    assert any(words in line for line in said), said


def test_sizes_even_pictures_and_broken_ones(folder: Path) -> None:
    save(folder, "y.png", np.full((SIDE, SIDE, 3), 90, np.uint8))
    save(folder, "z.png", cv2.resize(scene(5), (64, 128)))
    (folder / "broken.png").write_text("x")
    said = check_calibration(sorted(folder.iterdir()))
    assert len(said) == 3
    assert said[0].startswith("cannot be used: ") and "broken.png" in said[0]
    assert said[1].startswith("1 of 47 calibration pictures show one even colour")
    assert said[2].startswith("the calibration pictures have 2 sizes (46 of 96x96, 1 of 64x128)")


def test_a_set_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    said = check_calibration([tmp_path / "a.png"], [tmp_path / "a.png"])
    assert [line.split(" ")[0] for line in said] == ["only", "cannot"]
    with pytest.raises(QuantizeError, match="not a readable picture"):
        read_small(tmp_path / "a.png")
