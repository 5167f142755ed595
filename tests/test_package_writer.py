# SPDX-License-Identifier: Apache-2.0
"""The package writer: what docs/package-format.md says, all of it or nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.package import InputSpec, PackageContent, check_free, write_package
from yoloq_quantize.scheme import load_target


@pytest.fixture
def content() -> PackageContent:
    outputs = tuple(
        HeadOutput(f"raw/{name}", name, role, 0, (1, channels, 8, 8))
        for name, role, channels in (("box_0", "box", 4), ("score_0", "score", 2))
    )
    head = Head("ltrb", "logit", 1, False, True, (8,), None, outputs, 2, "ltrb, one-to-many")
    return PackageContent(
        name="螺丝",
        precision="int8",
        classes=("bolt", "螺母"),
        input=InputSpec("images_u8", 64, 48),
        head=head,
        target=load_target("cpu"),
        backend_options={"precision": "f32"},
        compiler="yoloq 0.1.0",
        artifact=b"model bytes",
        summary={"recipe": "default"},
        source={"sha256": "0" * 64, "license": "MIT"},
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_byte_is_accounted_for(tmp_path: Path, content: PackageContent) -> None:
    out = tmp_path / "新 folder" / "p.yoloq"
    write_package(out, content)
    files = files_of(out)
    manifest = json.loads(files["manifest.json"])
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    assert files["manifest.sha256"] == f"{digest}  manifest.json\n".encode()
    assert set(files) == {"manifest.json", "manifest.sha256", *manifest["files"]}
    for name, said in manifest["files"].items():
        assert said == {"size": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
    assert files["labels.txt"].decode() == "bolt\n螺母\n"
    assert files["model.onnx"] == b"model bytes"


def test_manifest_says_what_the_document_says(tmp_path: Path, content: PackageContent, root: Path) -> None:
    write_package(tmp_path / "p.yoloq", content)
    manifest = json.loads((tmp_path / "p.yoloq" / "manifest.json").read_text(encoding="utf-8"))
    document = (root / "docs" / "package-format.md").read_text(encoding="utf-8")
    text = document.split("```jsonc")[1].split("```")[0]
    for key in manifest:
        assert f'"{key}"' in text, f"{key} is not documented"
    assert manifest["input"] == {
        "name": "images_u8",
        "width": 64,
        "height": 48,
        "color": "RGB",
        "layout": "NHWC",
        "dtype": "uint8",
        "letterbox": {"pad": 114, "align": "center", "upscale": True},
    }
    assert manifest["head"] == {
        "box": "ltrb",
        "score": "logit",
        "reg_max": 1,
        "objectness": False,
        "nms": True,
        "box_voting": False,
        "box_scale": [1.0, 1.0],
        "strides": [8],
        "anchors": None,
        "outputs": [{"tensor": "box_0", "role": "box", "level": 0}, {"tensor": "score_0", "role": "score", "level": 0}],
    }
    assert manifest["outputs"][1] == {
        "name": "score_0",
        "dtype": "float32",
        "shape": [1, 2, 8, 8],
        "channel_axis": 1,
        "scale": None,
        "zero_point": None,
    }
    assert (manifest["target"]["chip"], manifest["target"]["backend"]) == ("cpu", "cpu")
    assert manifest["source"]["license"] == "MIT"


def test_same_content_same_bytes(tmp_path: Path, content: PackageContent) -> None:
    write_package(tmp_path / "one.yoloq", content)
    write_package(tmp_path / "deep" / "two.yoloq", content)
    assert files_of(tmp_path / "one.yoloq") == files_of(tmp_path / "deep" / "two.yoloq")


def test_an_existing_package_needs_force(tmp_path: Path, content: PackageContent) -> None:
    out = tmp_path / "p.yoloq"
    write_package(out, content)
    newer = dataclasses.replace(content, artifact=b"newer")
    with pytest.raises(QuantizeError, match="--force"):
        write_package(out, newer)
    assert (out / "model.onnx").read_bytes() == b"model bytes"
    write_package(out, newer, force=True)
    assert (out / "model.onnx").read_bytes() == b"newer"
    assert [path.name for path in tmp_path.iterdir()] == ["p.yoloq"]


def test_force_replaces_packages_only(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(QuantizeError, match="is no package"):
        check_free(tmp_path / "photos", force=True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_nothing_half_written_is_left(
    tmp_path: Path, content: PackageContent, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: int
) -> None:
    out = tmp_path / "p.yoloq"
    write_package(out, content)
    before, calls = files_of(out), []

    def fail(_: int) -> None:
        calls.append(1)
        if len(calls) == step:
            raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((QuantizeError, KeyboardInterrupt)):
        write_package(out, dataclasses.replace(content, artifact=b"newer"), force=True)
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.yoloq"]


def test_the_old_package_comes_back(tmp_path: Path, content: PackageContent, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "p.yoloq"
    write_package(out, content)
    before, rename = files_of(out), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if Path(target) == out and not self.name.endswith(".old"):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(QuantizeError, match="Permission denied"):
        write_package(out, dataclasses.replace(content, artifact=b"newer"), force=True)
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.yoloq"]


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path, content: PackageContent) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(QuantizeError, match="cannot be written"):
        write_package(tmp_path / "file" / "p.yoloq", content)


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_class_names_that_break_labels_are_refused(tmp_path: Path, content: PackageContent, name: str) -> None:
    with pytest.raises(QuantizeError, match="class name"):
        write_package(tmp_path / "p.yoloq", dataclasses.replace(content, classes=("bolt", name)))
    assert not list(tmp_path.iterdir())
