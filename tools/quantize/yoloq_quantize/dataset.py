# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures: Ultralytics `data.yaml` and COCO JSON, read into one form.

Boxes are float32 (n, 4) `x1 y1 x2 y2` in pixels of the upright picture, class ids int64 (n,), counted from 0.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from yoloq_quantize.errors import QuantizeError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_ORIENTATION_TAG = 0x0112  # EXIF; 5 to 8 swap width and height
_EDGE_TOLERANCE = 1e-3  # labels are rounded; a centre or a side may pass 1 by this much


class DatasetError(QuantizeError):
    """A data set that cannot be used; one line with the file, the line number and what to do."""


@dataclass(frozen=True)
class Sample:
    """One picture and its ground truth. `labelled` is False if no label file says anything about it."""

    path: Path
    key: str  # unique name within the data set, with forward slashes
    width: int  # pixels, after EXIF rotation
    height: int
    boxes: np.ndarray  # float32 (n, 4), pixels
    class_ids: np.ndarray  # int64 (n,)
    areas: np.ndarray  # float64 (n,), square pixels; decides small, medium, large
    crowd: np.ndarray  # bool (n,); regions to ignore (COCO)
    labelled: bool

    def read(self) -> np.ndarray:
        """The picture, uint8 (height, width, 3) BGR."""
        return read_image(self.path)


@dataclass(frozen=True)
class Dataset:
    """The pictures of one split, in the order of their keys."""

    source: Path
    split: str
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]

    @property
    def has_labels(self) -> bool:
        return any(sample.labelled for sample in self.samples)


def read_image(path: Path | str) -> np.ndarray:
    """Reads a picture as uint8 (h, w, 3) BGR, upright. Goes through memory, for non-ASCII paths on every platform."""
    path = Path(path)
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DatasetError(f"{path}: not a picture that OpenCV can decode; replace or remove it")
    return image


def list_images(folder: Path | str) -> list[Path]:
    """All pictures in a folder and below it, sorted by path; or those that a .txt names, a line each, in its order."""
    folder = Path(folder)
    if folder.suffix.lower() == ".txt" and folder.is_file():
        return _pictures_of(folder.parent, folder.name, str(folder))
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give a folder of pictures, or a .txt with a path per line")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise DatasetError(f"{folder}: no pictures in it; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


def load_dataset(path: Path | str, split: str = "val", images: Path | str | None = None) -> Dataset:
    """Reads one split of a data set.

    path: an Ultralytics `data.yaml`, or a COCO `.json` (which is one split by itself).
    images: the folder that a COCO file's `file_name`s are relative to; None: beside the file, or the usual places.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; give a data.yaml or a COCO .json")
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        if images is not None:
            raise DatasetError(f"{path}: an images folder goes with a COCO .json; a data.yaml names its own")
        return _load_yaml(path, split)
    if suffix == ".json":
        return _load_coco(path, split, None if images is None else Path(images))
    raise DatasetError(f"{path}: unknown kind {suffix or 'without a suffix'}; give a data.yaml or a COCO .json")


def class_names(path: Path | str) -> tuple[str, ...]:
    """The class names of a data.yaml, whether or not its pictures are there."""
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; give a data.yaml")
    config, lines = _parse_yaml(path)
    return _class_names(config, lines, path)


def load_pictures(folder: Path | str) -> Dataset:
    """A folder of pictures without labels."""
    folder = Path(folder)
    no_boxes = np.zeros((0, 4))
    samples = [_sample(p, folder, _image_size(p), no_boxes, [], None, None, False) for p in list_images(folder)]
    return Dataset(folder, "", (), tuple(samples))


def load_labelled(files: Sequence[Path], names: Sequence[str]) -> Dataset:
    """Pictures with the YOLO labels that lie beside them (`labels/` for `images/`); `labelled` says which have any."""
    root = Path(os.path.commonpath([file.parent for file in files]))
    samples = [_yolo_sample(file, root, len(names)) for file in files]
    return Dataset(root, "", tuple(names), tuple(sorted(samples, key=lambda s: s.key)))


# ------------------------------------------------------------------------------------------------ Ultralytics


def _load_yaml(path: Path, split: str) -> Dataset:
    config, lines = _parse_yaml(path)
    names = _class_names(config, lines, path)
    root = path.parent
    if config.get("path") is not None:
        root = root / _text(config["path"], "path", lines, path)
    if not root.is_dir():
        raise DatasetError(f"{path}:{lines.get('path', 1)}: path: no such folder {root}; it is relative to the yaml")
    if config.get(split) is None:
        have = ", ".join(name for name in ("train", "val", "test") if config.get(name) is not None) or "none"
        raise DatasetError(f"{path}:1: no split '{split}' (splits here: {have}); add it or choose another")
    entries = config[split] if isinstance(config[split], list) else [config[split]]
    pictures: dict[Path, None] = {}
    for entry in entries:
        for picture in _pictures_of(root, _text(entry, split, lines, path), f"{path}:{lines[split]}: {split}"):
            pictures[picture] = None
    samples = [_yolo_sample(picture, root, len(names)) for picture in pictures]
    return Dataset(path, split, names, tuple(sorted(samples, key=lambda s: s.key)))


def _parse_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The yaml's mapping and the line (from 1) of each top-level key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        config = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "syntax error"
        raise DatasetError(f"{path}:{line}: not valid YAML: {problem}; correct this line") from None
    if not isinstance(config, dict):
        raise DatasetError(f"{path}:1: not a mapping; expected the keys path, train, val, names")
    return config, {key.value: key.start_mark.line + 1 for key, _ in node.value}


def _text(value: Any, key: str, lines: dict[str, int], path: Path) -> str:
    if not isinstance(value, str):
        raise DatasetError(f"{path}:{lines.get(key, 1)}: {key}: expected a path, found {value!r}")
    return value


def _class_names(config: dict[str, Any], lines: dict[str, int], path: Path) -> tuple[str, ...]:
    names, where = config.get("names"), f"{path}:{lines.get('names', 1)}: names"
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DatasetError(
                f"{where}: ids must be 0 to {len(names) - 1} without gaps, found {sorted(names, key=str)}"
            )
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{where}: missing or empty; add a list of class names or a mapping from id to name")
    if not all(isinstance(name, (str, int, float)) for name in names):
        raise DatasetError(f"{where}: every class name must be text")
    count = config.get("nc", len(names))
    if count != len(names):
        raise DatasetError(f"{path}:{lines['nc']}: nc: {count} but names has {len(names)}; make them agree")
    return tuple(str(name) for name in names)


def _pictures_of(root: Path, entry: str, where: str) -> list[Path]:
    """The pictures of one split entry: a folder, or a text file with a picture per line."""
    target = root / entry
    if target.is_dir():
        try:
            return list_images(target)
        except DatasetError as error:
            raise DatasetError(f"{where}: {error}") from None
    if target.suffix.lower() != ".txt" or not target.is_file():
        raise DatasetError(f"{where}: no such folder {target}; paths are relative to `path`")
    pictures = []
    for number, line in enumerate(target.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not (line := line.strip()):
            continue
        # Ultralytics' rule: a leading ./ is relative to the list itself, anything else to `path`.
        picture = (target.parent if line.startswith("./") else root) / line
        if not picture.is_file():
            raise DatasetError(f"{target}:{number}: no such picture {picture}; correct or remove the line")
        pictures.append(picture)
    if not pictures:
        raise DatasetError(f"{target}:1: lists no picture; add one path per line")
    return pictures


def label_path(picture: Path) -> Path:
    """`labels/.../x.txt` for `images/.../x.jpg`; beside the picture if no folder is called images."""
    parts = list(picture.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _yolo_sample(picture: Path, root: Path, class_count: int) -> Sample:
    width, height = _image_size(picture)
    label = label_path(picture)
    rows: list[tuple[int, float, float, float, float]] = []
    labelled = label.is_file()
    if labelled:
        try:
            text = label.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise DatasetError(f"{label}: not text; expected lines of `class cx cy w h`") from None
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                rows.append(_label_row(line.split(), class_count, f"{label}:{number}"))
    boxes = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4) * [width, height, width, height]
    return _sample(picture, root, (width, height), boxes, [row[0] for row in rows], None, None, labelled)


def _label_row(fields: list[str], class_count: int, where: str) -> tuple[int, float, float, float, float]:
    """`class cx cy w h`, or a polygon `class x y x y x y ...`, as class id and corners, relative to the picture."""
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise DatasetError(f"{where}: not a number in '{' '.join(fields)[:60]}'; write `class cx cy w h`") from None
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise DatasetError(f"{where}: {len(values)} numbers where 5 are needed; write `class cx cy w h`")
    class_id = values[0]
    if class_id != int(class_id if math.isfinite(class_id) else -1) or not 0 <= class_id < class_count:
        raise DatasetError(f"{where}: class {fields[0]} is not one of 0 to {class_count - 1}; correct it or `names`")
    for value, field in zip(values[1:], fields[1:], strict=True):
        if not -_EDGE_TOLERANCE <= value <= 1 + _EDGE_TOLERANCE:
            raise DatasetError(f"{where}: {field} is not within 0 to 1; give fractions of the picture's sides")
    if len(values) == 5:
        cx, cy, w, h = values[1:]
        box = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    else:
        xs, ys = values[1::2], values[2::2]
        box = min(xs), min(ys), max(xs), max(ys)
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DatasetError(f"{where}: a box without width or height; correct or remove the line")
    return (int(class_id), *box)


# ------------------------------------------------------------------------------------------------ COCO


def _load_coco(path: Path, split: str, images: Path | None) -> Dataset:
    document = _parse_coco(path)
    categories = sorted(document["categories"], key=lambda c: c["id"])
    index = {category["id"]: i for i, category in enumerate(categories)}
    names = tuple(str(category["name"]) for category in categories)
    entries = {image["id"]: image for image in document["images"]}
    annotations: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in entries}
    for i, annotation in enumerate(document.get("annotations", [])):
        where = f"{path}: annotations[{i}]"
        if annotation["image_id"] not in entries:
            raise DatasetError(f"{where}: image_id {annotation['image_id']} is not in images; correct or remove it")
        if annotation["category_id"] not in index:
            raise DatasetError(f"{where}: category_id {annotation['category_id']} is not in categories; correct it")
        box = annotation["bbox"]
        numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)
        if not numbers or not all(math.isfinite(v) for v in box) or box[2] < 0 or box[3] < 0:
            raise DatasetError(f"{where}: bbox {box!r} is not [x, y, width, height] in pixels; correct it")
        annotations[annotation["image_id"]].append(annotation)
    root = _coco_root(path, images, document["images"])
    labelled = "annotations" in document
    samples = [_coco_sample(root, entries[k], annotations[k], index, labelled) for k in entries]
    return Dataset(path, split, names, tuple(sorted(samples, key=lambda s: s.key)))


def _parse_coco(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}:{error.lineno}: not valid JSON: {error.msg}; correct this line") from None
    needed = {
        "images": ("id", "file_name"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for section, keys in needed.items():
        rows = document.get(section) if isinstance(document, dict) else None
        if rows is None and section == "annotations" and isinstance(document, dict):
            continue  # pictures without ground truth are a data set too
        if not isinstance(rows, list) or (not rows and section != "annotations"):
            raise DatasetError(f"{path}: no '{section}'; expected a COCO file with images, annotations and categories")
        for i, row in enumerate(rows):
            missing = [key for key in keys if not isinstance(row, dict) or key not in row]
            if missing:
                raise DatasetError(f"{path}: {section}[{i}] has no '{missing[0]}'; add it")
    return document


def _coco_root(path: Path, images: Path | None, entries: list[dict[str, Any]]) -> Path:
    """The folder in which the first picture is found."""
    name = str(entries[0]["file_name"])
    if images is not None:
        candidates = [images]
    else:
        base, year = path.parent, path.stem.split("_")[-1]  # annotations/instances_val2017.json -> val2017/
        candidates = [base, base / "images", base / year, base.parent, base.parent / "images", base.parent / year]
        candidates.append(base.parent / "images" / year)
    for folder in candidates:
        if (folder / name).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise DatasetError(f"{path}: images[0]: no picture {name} in {looked}; name the folder with --images")


def _coco_sample(
    root: Path, entry: dict[str, Any], annotations: list[dict[str, Any]], index: dict[int, int], labelled: bool
) -> Sample:
    picture = root / str(entry["file_name"])
    xywh = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    areas = [float(a.get("area", a["bbox"][2] * a["bbox"][3])) for a in annotations]
    crowd = [bool(a.get("iscrowd", 0)) for a in annotations]
    ids = [index[a["category_id"]] for a in annotations]
    return _sample(picture, root, _image_size(picture), boxes, ids, areas, crowd, labelled)


# ------------------------------------------------------------------------------------------------ both


def _sample(
    picture: Path,
    root: Path,
    size: tuple[int, int],
    boxes: np.ndarray,
    ids: list[int],
    areas: list[float] | None,
    crowd: list[bool] | None,
    labelled: bool,
) -> Sample:
    key = picture.relative_to(root).as_posix() if picture.is_relative_to(root) else picture.as_posix()
    if areas is None:
        areas = list((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return Sample(
        path=picture,
        key=key,
        width=size[0],
        height=size[1],
        boxes=boxes.astype(np.float32),
        class_ids=np.array(ids, np.int64),
        areas=np.array(areas, np.float64),
        crowd=np.zeros(len(ids), bool) if crowd is None else np.array(crowd, bool),
        labelled=labelled,
    )


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height after EXIF rotation, from the header alone."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such picture; correct the list or add the file") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: not a readable picture ({str(error).splitlines()[0]}); replace it") from None
    return (height, width) if turned else (width, height)
