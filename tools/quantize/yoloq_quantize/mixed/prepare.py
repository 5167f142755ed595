# SPDX-License-Identifier: Apache-2.0
"""From a model file to what sensitivity looks at: the float graph, everything in INT8, and the measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.dataset import class_names, list_images
from yoloq_quantize.mixed.objective import Objective
from yoloq_quantize.mixed.plans import widest
from yoloq_quantize.model import load_model
from yoloq_quantize.params import find_params, output_floors
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.pipeline import float_graph, with_outputs_of
from yoloq_quantize.place import place
from yoloq_quantize.recover.prescale import prescale
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Progress, Subject


@dataclass(frozen=True)
class Source:
    """A model and how it is to be read; the fields mean what they mean to `quantize`."""

    model: Path
    calib: Path
    data: Path | None = None
    target: str = "cpu"
    head: str = "auto"
    size: tuple[int, int] | None = None
    color: str = "RGB"
    align: str = "center"
    input_scale: float = 1 / 255


def prepare(source: Source, pictures: int, progress: Progress) -> tuple[Subject, Plan, Objective]:
    """The subject, a plan with as much in INT8 as may be, and an objective on `pictures` pictures."""
    chip = load_target(source.target)
    files = list_images(source.calib)
    model = load_model(source.model)
    classes = class_names(source.data) if source.data is not None else model.classes
    head, graph = float_graph(model, source.size, source.head, classes, source.input_scale)
    graph = with_outputs_of(chip, graph)
    _, height, width, _ = (int(side) for side in graph.graph.inputs[0].shape)
    stream = PictureStream(files, width, height, source.color, source.align)
    subject = Subject(graph, head, chip, stream, progress)
    if chip.place.prescale:
        subject = prescale(subject, place(graph, widest(chip.place), head)).subject
    placement = place(subject.graph, widest(chip.place), head)
    calibration = calibrate(subject.graph, placement.groups, stream, chip.activations.bins, progress)
    plan = Plan(placement, find_params(subject.graph, placement, calibration, chip, output_floors(head)))
    return subject, plan, Objective(subject, None, pictures)
