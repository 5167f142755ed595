# SPDX-License-Identifier: Apache-2.0
"""A small world for pipelines: a noise detector that quantises in a second, pictures, labels and a pipeline.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tiny_model import CLASSES, Graph

SIZE = 64


def tiny_float_onnx() -> bytes:
    """float32 [1, 3, 64, 64] -> [1, 4 + classes, cells]: cx cy w h in pixels and probabilities, strides 8, 16, 32."""
    graph = Graph()

    def constant(name: str, array: np.ndarray) -> str:
        graph.weights.append(numpy_helper.from_array(array, name))
        return name

    def op(kind: str, name: str, *inputs: str, **attributes: object) -> str:
        graph.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    source, channels, flat = "images", 3, {"box": [], "score": []}
    for step in range(5):
        source = graph.relu(graph.conv(source, f"body_{step}", channels, 8, 2))
        channels = 8
        if step < 2:
            continue
        for role, count, bias in (("box", 4, 1.5), ("score", len(CLASSES), -2.0)):
            raw = graph.conv(source, f"{role}_{step}", channels, count, 1, bias)
            shape = constant(f"{raw}_shape", np.int64([1, count, -1]))
            flat[role].append(op("Reshape", f"{raw}_flat", raw, shape))
    cells = [np.mgrid[: SIZE // s, : SIZE // s].reshape(2, -1)[::-1] + 0.5 for s in (8, 16, 32)]
    strides = np.concatenate([np.full((SIZE // s) ** 2, s) for s in (8, 16, 32)])
    centres = constant("centres", np.concatenate(cells, 1)[None].astype(np.float32))
    scale = constant("strides", strides[None, None].astype(np.float32))
    box, score = (op("Concat", role, *flat[role], axis=2) for role in ("box", "score"))
    graph.nodes.append(helper.make_node("Split", [box, constant("halves", np.int64([2, 2]))], ["near", "far"], axis=1))
    low, high = op("Sub", "low", centres, "near"), op("Add", "high", centres, "far")
    middle = op("Div", "middle", op("Add", "sum", low, high), constant("two", np.float32(2)))
    pixels = op("Mul", "pixels", op("Concat", "corners", middle, op("Sub", "sides", high, low), axis=1), scale)
    op("Concat", "output0", pixels, op("Sigmoid", "probability", score), axis=1)
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    answer = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + len(CLASSES), len(strides)])
    made = helper.make_graph(graph.nodes, "tiny", [given], [answer], graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_pictures(folder: Path, count: int, seed: int) -> list[Path]:
    """PNG files of smooth noise, 64 x 64."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    paths = [folder / f"{index:03}.png" for index in range(count)]
    for path in paths:
        small = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
    return paths


@dataclass(frozen=True)
class World:
    """folder/: tiny.onnx, calib/, data.yaml with images/val and labels/val, pipeline.yaml."""

    folder: Path

    @property
    def plan(self) -> Path:
        return self.folder / "pipeline.yaml"

    @property
    def dest(self) -> Path:
        return self.folder / "dest"

    def write(self, text: str) -> Path:
        self.plan.write_text(text, encoding="utf-8")
        return self.plan


def make_world(folder: Path, pictures: int = 6) -> World:
    """Labels are where the float detector itself finds something, so that it scores well on them."""
    from yoloq_quantize import quantize
    from yoloq_quantize.dataset import read_image
    from yoloq_quantize.evaluate import open_detector

    folder.mkdir(exist_ok=True)
    (folder / "tiny.onnx").write_bytes(tiny_float_onnx())
    write_pictures(folder / "calib", pictures, 1)
    names = "\n".join(f"  {index}: {name}" for index, name in enumerate(CLASSES))
    (folder / "data.yaml").write_text(f"path: .\nval: images/val\nnames:\n{names}\n")
    labels = folder / "labels" / "val"
    labels.mkdir(parents=True)
    quantize(folder / "tiny.onnx", None, folder / "f.yoloq", precision="float32", data=folder / "data.yaml")
    detector = open_detector(folder / "f.yoloq")
    for path in write_pictures(folder / "images" / "val", 4, 2):
        found = detector.detect(read_image(path))
        order = np.argsort(-found.scores, kind="stable")[:3]
        boxes = np.clip(found.boxes[order], 0, SIZE) / SIZE
        rows = [
            f"{int(c)} {(b[0] + b[2]) / 2:.6f} {(b[1] + b[3]) / 2:.6f} {b[2] - b[0]:.6f} {b[3] - b[1]:.6f}\n"
            for c, b in zip(found.class_ids[order], boxes, strict=True)
        ]
        (labels / f"{path.stem}.txt").write_text("".join(rows))
    detector.close()
    return World(folder)


def plan_text(push: str = "", gate: str = "{data: data.yaml, max_drop: 100}", name: str = "tiny") -> str:
    """A pipeline.yaml with one model; `push`: a YAML list of destinations."""
    lines = [
        "models:",
        f"  - name: {name}",
        "    model: tiny.onnx",
        "    quantize: {calib: calib, data: data.yaml, recipe: fast}",
        f"    gate: {gate}",
    ]
    return "\n".join(lines + ([f"    push: {push}"] if push else [])) + "\n"
