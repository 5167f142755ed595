# SPDX-License-Identifier: Apache-2.0
"""Data sets: what is read, and the one-line errors for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoloq_quantize.dataset import DatasetError, load_dataset, load_pictures, read_image


def picture(path: Path, size: tuple[int, int] = (200, 100), orientation: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (10, 20, 30))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A small data set; returns its data.yaml."""
    picture(tmp_path / "images/val/b.jpg")
    picture(tmp_path / "images/val/a.png")
    text(tmp_path / "labels/val/b.txt", "1 0.5 0.5 0.5 0.2\n\n0 0.25 0.5 0.1 0.1\n")
    return text(tmp_path / "data.yaml", "path: .\ntrain: images/val\nval: images/val\nnames: {0: bolt, 1: nut}\n")


def test_yolo_labels_become_pixel_boxes_and_unlabelled_pictures_are_empty(yolo: Path) -> None:
    data = load_dataset(yolo)
    assert data.class_names == ("bolt", "nut")
    assert [s.key for s in data.samples] == ["images/val/a.png", "images/val/b.jpg"]
    a, b = data.samples
    assert (len(a.boxes), a.labelled, b.labelled, data.has_labels) == (0, False, True, True)
    np.testing.assert_allclose(b.boxes, [[50, 40, 150, 60], [40, 45, 60, 55]], atol=1e-4)
    assert b.class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(b.areas, [2000, 200], rtol=1e-6)


def test_demo_data_set_is_complete(root: Path) -> None:
    data = load_dataset(root / "datasets/fasteners/data.yaml")
    assert (len(data.samples), sum(len(s.boxes) for s in data.samples)) == (120, 1463)
    assert data.class_names == ("bolt", "nut", "washer", "screw", "scratch")


def test_names_as_list_lists_of_folders_and_picture_lists(yolo: Path) -> None:
    picture(yolo.parent / "images/more/c.jpg")
    text(yolo.parent / "picked.txt", "./images/val/b.jpg\n\nimages/more/c.jpg\n")
    text(yolo, "val: [images/val, images/more]\ntest: picked.txt\nnames: [bolt, nut]\nnc: 2\n")
    assert [s.key for s in load_dataset(yolo).samples] == ["images/more/c.jpg", "images/val/a.png", "images/val/b.jpg"]
    assert [s.key for s in load_dataset(yolo, "test").samples] == ["images/more/c.jpg", "images/val/b.jpg"]


def test_polygon_rows_become_their_bounding_box(yolo: Path) -> None:
    text(yolo.parent / "labels/val/b.txt", "1 0.1 0.2 0.5 0.2 0.3 0.6\n")
    np.testing.assert_allclose(load_dataset(yolo).samples[1].boxes, [[20, 20, 100, 60]], atol=1e-4)


def test_chinese_paths(tmp_path: Path) -> None:
    picture(tmp_path / "数据/images/验证/图.jpg")
    text(tmp_path / "数据/labels/验证/图.txt", "0 0.5 0.5 0.5 0.5\n")
    data = load_dataset(text(tmp_path / "数据/data.yaml", "val: images/验证\nnames: [螺栓]\n"))
    assert data.class_names == ("螺栓",)
    assert data.samples[0].read().shape == (100, 200, 3)
    assert len(data.samples[0].boxes) == 1


def test_exif_rotation_swaps_sides_as_the_decoder_does(tmp_path: Path) -> None:
    picture(tmp_path / "x.jpg", (200, 100), orientation=6)
    sample = load_pictures(tmp_path).samples[0]
    assert (sample.width, sample.height) == (100, 200)
    assert sample.read().shape == (200, 100, 3)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1 0.5 0.5 0.5", "b.txt:1: 4 numbers where 5 are needed"),
        ("0 0.5 0.5 0.5 0.2\n1 0.5 x 0.5 0.2", "b.txt:2: not a number"),
        ("2 0.5 0.5 0.5 0.2", "b.txt:1: class 2 is not one of 0 to 1"),
        ("0.5 0.5 0.5 0.5 0.2", "b.txt:1: class 0.5 is not one of"),
        ("-1 0.5 0.5 0.5 0.2", "b.txt:1: class -1 is not one of"),
        ("nan 0.5 0.5 0.5 0.2", "b.txt:1: class nan is not one of"),
        ("1 320 0.5 0.5 0.2", "b.txt:1: 320 is not within 0 to 1"),
        ("1 nan 0.5 0.5 0.2", "b.txt:1: nan is not within 0 to 1"),
        ("1 0.5 0.5 0 0.2", "b.txt:1: a box without width or height"),
    ],
)
def test_label_errors_name_file_and_line(yolo: Path, row: str, says: str) -> None:
    text(yolo.parent / "labels/val/b.txt", row + "\n")
    with pytest.raises(DatasetError, match=says.replace("(", r"\(")) as caught:
        load_dataset(yolo)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("val: images/val\nnames: [a, b\n", r"data.yaml:\d: not valid YAML"),
        ("- val\n", "data.yaml:1: not a mapping"),
        ("val: images/val\n", "data.yaml:1: names: missing or empty"),
        ("val: images/val\nnames: {0: a, 2: b}\n", "data.yaml:2: names: ids must be 0 to 1 without gaps"),
        ("val: images/val\nnames: [a, b]\nnc: 3\n", "data.yaml:3: nc: 3 but names has 2"),
        ("train: images/val\nnames: [a, b]\n", r"no split 'val' \(splits here: train\)"),
        ("names: [a, b]\nval: images/nowhere\n", "data.yaml:2: val: no such folder"),
        ("names: [a, b]\nval: 7\n", "data.yaml:2: val: expected a path, found 7"),
        ("names: [a, b]\nval: labels/val\n", "data.yaml:2: val: .*no pictures in it"),
        ("names: [a, b]\npath: gone\nval: images/val\n", "data.yaml:2: path: no such folder"),
    ],
)
def test_yaml_errors_name_file_and_line(yolo: Path, content: str, says: str) -> None:
    text(yolo, content)
    with pytest.raises(DatasetError, match=says) as caught:
        load_dataset(yolo)
    assert "\n" not in str(caught.value)


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        load_dataset(tmp_path / "data.yaml")
    with pytest.raises(DatasetError, match=r"unknown kind \.csv"):
        load_dataset(text(tmp_path / "data.csv", "x"))
    with pytest.raises(DatasetError, match="cannot be read"):
        read_image(tmp_path / "no.jpg")
    with pytest.raises(DatasetError, match="not a picture that OpenCV can"):
        read_image(text(tmp_path / "fake.jpg", "text"))
    with pytest.raises(DatasetError, match=r"fake\.jpg: not a readable picture"):
        load_pictures(tmp_path)


def coco_document() -> dict:
    return {
        "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
        "categories": [{"id": 90, "name": "nut"}, {"id": 18, "name": "bolt"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [10, 20, 30, 40], "area": 900.0},
            {"id": 2, "image_id": 7, "category_id": 18, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        ],
    }


def test_coco_ids_become_classes_in_their_order(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.jpg")
    picture(tmp_path / "images/b.jpg")
    data = load_dataset(text(tmp_path / "annotations/instances_val.json", json.dumps(coco_document())))
    assert data.class_names == ("bolt", "nut")
    a, b = data.samples
    assert (a.key, b.key, len(a.boxes)) == ("a.jpg", "b.jpg", 0)
    np.testing.assert_allclose(b.boxes, [[10, 20, 40, 60], [0, 0, 5, 5]])
    assert (b.class_ids.tolist(), b.areas.tolist(), b.crowd.tolist()) == ([1, 0], [900.0, 25.0], [False, True])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("categories"), "no 'categories'"),
        (lambda d: d["images"][1].pop("file_name"), r"images\[1\] has no 'file_name'"),
        (lambda d: d["annotations"][0].update(image_id=5), r"annotations\[0\]: image_id 5 is not in images"),
        (lambda d: d["annotations"][1].update(category_id=5), r"annotations\[1\]: category_id 5 is not in categories"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2, 3]), r"annotations\[1\]: bbox \[1, 2, 3\] is not"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2, -3, 4]), r"annotations\[1\]: bbox"),
        (lambda d: d["images"][0].update(file_name="c.jpg"), r"images\[0\]: no picture c.jpg in .*--images"),
    ],
)
def test_coco_errors(tmp_path: Path, change, says: str) -> None:
    picture(tmp_path / "images/a.jpg")
    picture(tmp_path / "images/b.jpg")
    document = coco_document()
    change(document)
    with pytest.raises(DatasetError, match=says) as caught:
        load_dataset(text(tmp_path / "set.json", json.dumps(document)))
    assert "\n" not in str(caught.value)


def test_coco_syntax_error_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"set\.json:2: not valid JSON"):
        load_dataset(text(tmp_path / "set.json", '{"images": [],\n oops}'))
