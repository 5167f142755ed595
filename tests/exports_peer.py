# SPDX-License-Identifier: Apache-2.0
"""Makes real ONNX exports with random weights. Runs in the peer's environment, never in yoloq's own.

    python exports_peer.py JOBS.json FOLDER

A job is a dict: `name` of the file to write, `model` (an Ultralytics yaml, or one of HAND below), `classes`, and
whatever Ultralytics' export takes (imgsz, opset, dynamic, half, simplify, nms, ...). A job that fails says so on a
line of its own, {"name": ..., "error": ...}; one that is done prints {"name": ..., "file": ...}.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import torch
from torch import nn
from ultralytics import RTDETR, YOLO
from ultralytics.nn.modules import C3, SPPF, Conv, Focus
from ultralytics.nn.tasks import DetectionModel

ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
STRIDES = (8, 16, 32)


def randomise(model: nn.Module, size: list[int], gain: float = 4.0) -> None:
    """Weights whose signals neither vanish nor explode: BatchNorm statistics are those of a noise picture, scales and
    shifts are random, and so are the last biases. gain: of the last convolutions, so that boxes and scores differ."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.6, 1.4)
        nn.init.normal_(norm.bias, 0, 0.3)
    model.train()
    with torch.no_grad():
        model(torch.rand(2, 3, *[max(64, side // 2 // 64 * 64) for side in size]))
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None and module.weight.requires_grad:
            nn.init.normal_(module.bias, 0, 1.0)
            with torch.no_grad():
                module.weight.mul_(gain)


class Body(nn.Module):
    """A small backbone with the modules of old YOLOv5: Focus, C3, SPPF; three levels out."""

    def __init__(self, channels: int = 16, slim: bool = False) -> None:
        super().__init__()
        c = channels
        self.stem = Conv(3, c, 6, 2, 2) if slim else Focus(3, c, 3)
        self.two = nn.Sequential(Conv(c, c, 3, 2), C3(c, c))
        self.three = nn.Sequential(Conv(c, 2 * c, 3, 2), C3(2 * c, 2 * c, 2))
        self.four = nn.Sequential(Conv(2 * c, 3 * c, 3, 2), C3(3 * c, 3 * c))
        self.five = nn.Sequential(Conv(3 * c, 4 * c, 3, 2), SPPF(4 * c, 4 * c))
        self.up = nn.Upsample(None, 2, "nearest")
        self.join = Conv(7 * c, 3 * c, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        three = self.three(self.two(self.stem(x)))
        four = self.four(three)
        five = self.five(four)
        return [three, self.join(torch.cat([self.up(five), four], 1)), five]


class AnchorModel(nn.Module):
    """YOLOv5 and v7 before anchors went: `every` gives the raw maps beside the decoded rows, as old exports do;
    `flat` ends at the raw maps joined; `implicit` adds v7's learned offsets around the last convolutions."""

    def __init__(self, classes: int, every: bool, old: bool, implicit: bool = False) -> None:
        super().__init__()
        self.body, self.classes, self.every, self.old = Body(), classes, every, old
        self.last = nn.ModuleList(nn.Conv2d(c, 3 * (5 + classes), 1) for c in (32, 48, 64))
        self.implicit = implicit
        if implicit:
            self.before = nn.ParameterList(nn.Parameter(torch.randn(1, c, 1, 1)) for c in (32, 48, 64))
            self.after = nn.ParameterList(
                nn.Parameter(1 + 0.1 * torch.randn(1, 3 * (5 + classes), 1, 1)) for _ in "012"
            )

    def forward(self, x: torch.Tensor):
        rows, maps = [], []
        for level, feature in enumerate(self.body(x)):
            if self.implicit:
                raw = self.last[level](feature + self.before[level]) * self.after[level]
            else:
                raw = self.last[level](feature)
            batch, _, height, width = raw.shape
            raw = raw.view(batch, 3, 5 + self.classes, height, width).permute(0, 1, 3, 4, 2).contiguous()
            maps.append(raw)
            grid_y, grid_x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((grid_x, grid_y), 2).view(1, 1, height, width, 2).float()
            sizes = torch.tensor(ANCHORS[level]).float().view(1, 3, 1, 1, 2)
            if self.old:  # up to v5 6.1 and v7: everything through one sigmoid, then slices
                y = raw.sigmoid()
                xy = (y[..., 0:2] * 2.0 - 0.5 + grid) * STRIDES[level]
                y = torch.cat((xy, (y[..., 2:4] * 2) ** 2 * sizes, y[..., 4:]), -1)
            else:
                xy, wh, rest = raw.sigmoid().split((2, 2, self.classes + 1), 4)
                y = torch.cat(((xy * 2 + grid - 0.5) * STRIDES[level], (wh * 2) ** 2 * sizes, rest), 4)
            rows.append(y.view(batch, -1, 5 + self.classes))
        return (torch.cat(rows, 1), *maps) if self.every else torch.cat(rows, 1)


class ExpModel(nn.Module):
    """YOLOX's head; `decode` as its export_onnx.py has it with and without --decode_in_inference."""

    def __init__(self, classes: int, decode: bool) -> None:
        super().__init__()
        self.body, self.classes, self.decode = Body(), classes, decode
        self.box, self.obj, self.score = (
            nn.ModuleList(nn.Conv2d(c, count, 1) for c in (32, 48, 64)) for count in (4, 1, classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [
            torch.cat([self.box[i](f), self.obj[i](f).sigmoid(), self.score[i](f).sigmoid()], 1)
            for i, f in enumerate(self.body(x))
        ]
        out = torch.cat([m.flatten(start_dim=2) for m in maps], 2).permute(0, 2, 1)
        if not self.decode:
            return out
        grids, strides = [], []
        for each, stride in zip(maps, STRIDES, strict=True):
            yv, xv = torch.meshgrid(torch.arange(each.shape[2]), torch.arange(each.shape[3]), indexing="ij")
            grids.append(torch.stack((xv, yv), 2).view(1, -1, 2).float())
            strides.append(torch.full((1, each.shape[2] * each.shape[3], 1), float(stride)))
        grid, stride = torch.cat(grids, 1), torch.cat(strides, 1)
        return torch.cat([(out[..., 0:2] + grid) * stride, torch.exp(out[..., 2:4]) * stride, out[..., 4:]], -1)


class DistanceModel(nn.Module):
    """Meituan YOLOv6: scores as probabilities, objectness of ones, cxcywh; its bins' mean by a 1x1 convolution.

    Also the cut graphs that chip makers' forks export: `raw` "levels" gives box and score of each level apart."""

    def __init__(self, classes: int, bins: int, raw: str = "") -> None:
        super().__init__()
        self.body, self.bins, self.raw, self.classes = Body(slim=True), bins, raw, classes
        self.box = nn.ModuleList(nn.Conv2d(c, 4 * bins, 1) for c in (32, 48, 64))
        self.score = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in (32, 48, 64))
        self.mean = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.mean.weight.data[:] = torch.arange(bins).float().view(1, bins, 1, 1)

    def forward(self, x: torch.Tensor):
        features = self.body(x)
        maps = [(self.box[i](f), self.score[i](f)) for i, f in enumerate(features)]
        if self.raw == "levels":
            return tuple(each for pair in maps for each in pair)
        if self.raw == "probabilities":
            return tuple(each for box, score in maps for each in (box, score.sigmoid()))
        if self.raw == "joined":
            return tuple(torch.cat(pair, 1) for pair in maps)
        boxes, scores = [], []
        for (box, score), stride in zip(maps, STRIDES, strict=True):
            batch, _, height, width = box.shape
            if self.bins > 1:
                box = box.reshape(-1, 4, self.bins, height * width).permute(0, 2, 1, 3)
                box = self.mean(nn.functional.softmax(box, dim=1))
            box = box.reshape(batch, 4, height * width).permute(0, 2, 1)
            yv, xv = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            centre = torch.stack([xv, yv], -1).reshape(-1, 2).float()
            low, high = box.split(2, -1)
            x1y1, x2y2 = (centre - low) * stride, (centre + high) * stride
            boxes.append(torch.cat([(x1y1 + x2y2) / 2, x2y2 - x1y1], -1))
            scores.append(score.sigmoid().reshape(batch, self.classes, -1).permute(0, 2, 1))
        boxes, scores = torch.cat(boxes, 1), torch.cat(scores, 1)
        return torch.cat([boxes, torch.ones((boxes.shape[0], boxes.shape[1], 1)), scores], -1)


HAND = {
    "hand-v5": lambda classes: AnchorModel(classes, every=False, old=False),
    "hand-v5-old": lambda classes: AnchorModel(classes, every=True, old=True),
    "hand-v7": lambda classes: AnchorModel(classes, every=False, old=True, implicit=True),
    "hand-v7-every": lambda classes: AnchorModel(classes, every=True, old=False),
    "hand-yolox": lambda classes: ExpModel(classes, decode=True),
    "hand-yolox-raw": lambda classes: ExpModel(classes, decode=False),
    "hand-v6": lambda classes: DistanceModel(classes, 1),
    "hand-v6-bins": lambda classes: DistanceModel(classes, 17),
    "hand-v8": lambda classes: DistanceModel(classes, 16),
    "hand-levels": lambda classes: DistanceModel(classes, 16, "levels"),
    "hand-probabilities": lambda classes: DistanceModel(classes, 16, "probabilities"),
    "hand-joined": lambda classes: DistanceModel(classes, 16, "joined"),
}


def hand_export(job: dict, file: Path) -> None:
    size = job["imgsz"]
    model = HAND[job["model"]](job["classes"])
    randomise(model, size, gain=1.0 if isinstance(model, ExpModel) else 4.0)  # e^x leaves the picture early
    dynamic = {"images": {0: "batch", 2: "height", 3: "width"}} if job.get("dynamic") else None
    picture, options = torch.rand(1, 3, *size), {"opset_version": job.get("opset", 12), "dynamo": False}
    torch.onnx.export(model, picture, str(file), input_names=["images"], dynamic_axes=dynamic, **options)


def real_export(job: dict, file: Path) -> None:
    options = dict(job)
    yaml, classes, name = options.pop("model"), options.pop("classes"), options.pop("name")
    size = options["imgsz"]
    yolo = (RTDETR if yaml.startswith("rtdetr") else YOLO)(yaml)
    if type(yolo.model) is DetectionModel:
        arguments, task = yolo.model.args, yolo.model.task
        yolo.model = DetectionModel(yolo.model.yaml, nc=classes, verbose=False)
        yolo.model.names = {index: f"{name}-{index}" for index in range(classes)}
        yolo.model.args, yolo.model.task = arguments, task
    # Distances without bins have no bound: large ones leave the picture, and float32.
    randomise(yolo.model, size, gain=1.0 if getattr(yolo.model.model[-1], "reg_max", 16) == 1 else 4.0)
    yolo.model.pt_path = str(file.with_suffix(".pt"))
    made = Path(yolo.export(format="onnx", **options))
    made.replace(file)


def main() -> None:
    jobs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(1)
    for job in jobs:
        file = folder / f"{job['name']}.onnx"
        torch.manual_seed(5)  # models of one backbone and head get the same weights
        try:
            (hand_export if job["model"].startswith("hand-") else real_export)(job, file)
            said = {"name": job["name"], "file": str(file)}
        except Exception as error:
            traceback.print_exc()
            said = {"name": job["name"], "error": f"{type(error).__name__}: {error}"}
        print("exports_peer " + json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
