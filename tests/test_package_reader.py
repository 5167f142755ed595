# SPDX-License-Identifier: Apache-2.0
"""The native package reader refuses what it should, in one line that says what to do."""

from __future__ import annotations

import copy
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import yoloq
from conftest import write_manifest

Edit = Callable[[dict], None]


@pytest.fixture
def package(dummy_package: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(dummy_package, tmp_path / "copy.yoloq"))


def refusal(path: Path, error: type[yoloq.Error] = yoloq.PackageError, **options: object) -> str:
    with pytest.raises(error) as caught:
        yoloq.Detector(path, backend="dummy", **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) > 20
    return text


def test_the_copy_itself_is_fine(package: Path) -> None:
    with yoloq.Detector(package, backend="dummy") as detector:
        assert len(detector.detect(np.zeros((40, 60, 3), np.uint8))) > 0


def test_missing_package(tmp_path: Path) -> None:
    assert "no package folder" in refusal(tmp_path / "none.yoloq", yoloq.NotFound)


def test_a_link_that_is_switched_meanwhile(package: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(package, tmp_path / "other.yoloq"))
    manifest = json.loads((other / "manifest.json").read_text())
    write_manifest(other, {**manifest, "name": "other"})
    link, beside, done = tmp_path / "current.yoloq", tmp_path / "beside", threading.Event()
    link.symlink_to(package)

    def switch() -> None:
        while not done.is_set():
            for target in (other, package):
                beside.symlink_to(target)
                beside.rename(link)

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        for _ in range(300):
            yoloq.Detector(link, backend="dummy").close()
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "labels.txt", "model.bin"])
def test_missing_file(package: Path, name: str) -> None:
    (package / name).unlink()
    text = refusal(package)
    assert name in text and "missing" in text


@pytest.mark.parametrize("name", ["manifest.json", "labels.txt", "model.bin"])
def test_altered_file(package: Path, name: str) -> None:
    data = bytearray((package / name).read_bytes())
    data[len(data) // 2] ^= 1
    (package / name).write_bytes(data)
    text = refusal(package)
    assert name in text and "altered" in text


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "labels.txt", "model.bin"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_cut_file(package: Path, name: str, keep: float) -> None:
    data = (package / name).read_bytes()
    (package / name).write_bytes(data[: int(len(data) * keep)])
    refusal(package)


def test_manifest_that_is_no_json(package: Path) -> None:
    import hashlib

    (package / "manifest.json").write_bytes(b"{ not json")
    (package / "manifest.sha256").write_text(hashlib.sha256(b"{ not json").hexdigest() + "  manifest.json\n")
    assert "no JSON" in refusal(package)


def put(path: str, value: object) -> Edit:
    def edit(manifest: dict) -> None:
        *parents, last = path.split(".")
        place = manifest
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[int(last) if isinstance(place, list) else last] = value

    return edit


def drop(key: str) -> Edit:
    return lambda manifest: manifest.pop(key)


EDITS = {
    "format newer": (put("format", 2), "newer yoloq"),
    "format zero": (put("format", 0), "format"),
    "format text": (put("format", "1"), "format"),
    "task": (put("task", "segment"), "task must be one of: detect"),
    "no classes": (put("classes", []), "classes"),
    "class number": (put("classes", [1, 2]), "classes[0] must be a text"),
    "width zero": (put("input.width", 0), "input.width"),
    "width huge": (put("input.width", 10**9), "input.width"),
    "width beyond int64": (put("input.width", 2**64 - 1), "input.width"),
    "width fraction": (put("input.width", 320.5), "input.width"),
    "color": (put("input.color", "HSV"), "RGB, BGR"),
    "layout": (put("input.layout", "NCHW"), "NHWC"),
    "dtype": (put("input.dtype", "float32"), "uint8"),
    "pad": (put("input.letterbox.pad", 256), "pad"),
    "box form": (put("head.box", "polar"), "ltrb, anchor"),
    "reg_max": (put("head.reg_max", 0), "reg_max"),
    "objectness": (put("head.objectness", 1), "true or false"),
    "voting": (put("head.box_voting", "yes"), "head.box_voting must be true or false"),
    "voting without NMS": (lambda m: m["head"].update(nms=False, box_voting=True), "false where nms is false"),
    "box scale": (put("head.box_scale", [1, 0.5]), "head.box_scale[1] must be a number above 0.5"),
    "box scale of one side": (put("head.box_scale", [0.9]), "head.box_scale must be a list of 2 to 2"),
    "strides": (put("head.strides", [8, 16, 31]), "stride"),
    "head tensor": (put("head.outputs.0.tensor", "nobody"), "head.outputs[0].tensor"),
    "head role": (put("head.outputs.0.role", "mask"), "role"),
    "head level": (put("head.outputs.0.level", 3), "level"),
    "shape": (put("outputs.0.shape", [1, 5, 40, 40]), "box_0"),
    "shape negative": (put("outputs.0.shape", [1, -4, 40, 40]), "shape"),
    "shape overflow": (put("outputs.0.shape", [1 << 20, 1 << 20, 1 << 20, 1 << 20]), "2^31"),
    "tensor dtype": (put("outputs.0.dtype", "int64"), "dtype"),
    "class count": (put("classes", ["one", "two"]), "score_0"),
    "threshold": (put("defaults.score_threshold", 1.5), "score_threshold"),
    "max_detections": (put("defaults.max_detections", 0), "max_detections"),
    "artifact": (put("artifacts", [{"file": "other.bin", "batch": 1}]), "artifacts[0].file"),
    "artifact list": (put("artifacts", []), "artifacts"),
    "batch": (put("artifacts.0.batch", 0), "batch"),
    "option": (put("backend_options", {"dummy.delay_ms": 5}), "a text"),
    "no head": (drop("head"), "head is missing"),
    "no target": (drop("target"), "target is missing"),
    "no files": (drop("files"), "files is missing"),
    "NUL in name": (put("name", "a\0b"), "name"),
}


@pytest.mark.parametrize("case", EDITS)
def test_wrong_manifest(package: Path, case: str) -> None:
    edit, expected = EDITS[case]
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    edit(manifest)
    write_manifest(package, manifest)
    assert expected in refusal(package)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname", "sub/model.bin", "..", "C:model", "a\\b"])
def test_files_stay_inside(package: Path, name: str) -> None:
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][name] = copy.copy(manifest["files"]["model.bin"])
    write_manifest(package, manifest)
    assert "plain file names" in refusal(package)


def test_wrong_chip(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    manifest["target"]["chip"] = "ascend310p"
    write_manifest(package, manifest)
    with pytest.raises(yoloq.PackageError, match="compiled for ascend310p, backend cpu runs cpu"):
        yoloq.Detector(package)


def test_unknown_keys_are_ignored(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    manifest["later"] = {"than": ["this", "version"]}
    write_manifest(package, manifest)
    with yoloq.Detector(package, backend="dummy") as detector:
        assert detector.info.name == "dummy"


def test_deeply_nested_manifest(package: Path) -> None:
    """A hostile manifest must not overflow the stack."""
    import hashlib

    data = b'{"format":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    (package / "manifest.json").write_bytes(data)
    (package / "manifest.sha256").write_text(hashlib.sha256(data).hexdigest())
    assert "format" in refusal(package)


def test_chinese_path(package: Path, tmp_path: Path) -> None:
    moved = package.rename(tmp_path / "紧固件 检测.yoloq")
    with yoloq.Detector(moved, backend="dummy") as detector:
        assert detector.info.class_count == 3
    (moved / "model.bin").write_bytes(b"x")
    assert "紧固件 检测" in refusal(moved)
