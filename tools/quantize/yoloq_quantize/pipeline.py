# SPDX-License-Identifier: Apache-2.0
"""The one place that knows the order of a quantisation: load, passes, head, cut, boxes, swap, equalize, prescale,
place, calibrate, params, ranges, rounding, biases, reconstruct, spend, mixed, measure, compile, package."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from yoloq_quantize import __version__
from yoloq_quantize.calibrate import Calibration, calibrate
from yoloq_quantize.compile import check, compiler_of, needs_kit
from yoloq_quantize.compile.compiled import Compiled, Order
from yoloq_quantize.cut import cut_head
from yoloq_quantize.dataset import class_names, list_images, load_labelled
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.head import Head, find_head, passthrough_head
from yoloq_quantize.measured import measure_package
from yoloq_quantize.mixed.objective import NothingSeenError, Objective
from yoloq_quantize.mixed.search import mixed_precision
from yoloq_quantize.mixed.spend import Purse, spend
from yoloq_quantize.model import SourceModel, load_model
from yoloq_quantize.package import (
    InputSpec,
    PackageContent,
    build_manifest,
    check_free,
    for_chip,
    labels_text,
    write_kit,
    write_package,
)
from yoloq_quantize.params import find_params, output_floors
from yoloq_quantize.passes import ConvertOpset, StoreOutputs, Strip, Uint8Input, canonical_passes, run_passes
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.place import place
from yoloq_quantize.recipes import Recipe, load_recipe
from yoloq_quantize.recover.bias import correct_biases
from yoloq_quantize.recover.boxes import boxes_to_labels
from yoloq_quantize.recover.equalize import equalize
from yoloq_quantize.recover.prescale import prescale
from yoloq_quantize.recover.ranges import search_ranges
from yoloq_quantize.recover.rounding import round_together
from yoloq_quantize.scheme import Target, load_target
from yoloq_quantize.select.check import check_calibration
from yoloq_quantize.subject import Plan, Progress, Subject, quantized
from yoloq_quantize.summary import (
    QuantizeResult,
    StepDone,
    describe_activations,
    describe_weights,
    int8_shares,
    source_of,
)

PRECISIONS = ("int8", "float32")
LEARNING = ("swap", "reconstruct")  # steps that need PyTorch
KIT = ".kit"  # in place of .yoloq, for a machine that has the chip's compiler
HOST = "cpu"  # the target that every machine can run
OPSET_SWAP = 14  # HardSwish begins here


def quantize(
    model: str | Path,
    calib: str | Path | None,
    out: str | Path,
    target: str = "cpu",
    *,
    precision: str = "int8",
    recipe: str = "default",
    steps_on: Sequence[str] = (),
    steps_off: Sequence[str] = (),
    max_drop: float | None = None,
    float_time: float | None = None,
    train_pictures: str | Path | None = None,
    data: str | Path | None = None,
    measure: bool = True,
    head: str = "auto",
    size: tuple[int, int] | None = None,
    color: str = "RGB",
    input_scale: float = 1 / 255,
    align: str = "center",
    box_voting: bool = True,
    name: str | None = None,
    backend_options: dict[str, str] | None = None,
    compiled: bool = True,
    order: Order | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Turns a float ONNX detector into the package `out`.

    calib: folder of calibration pictures, or a .txt that lists them; None only with precision "float32". YOLO labels
    beside them are used. recipe: of `recipes.recipe_names()`; steps_on, steps_off: of `recipes.STEPS`. max_drop: the
    loss that a search allows, in points of mAP. float_time: adds the step spend, which may take this share of the INT8
    graph's time, whatever stays in INT8. train_pictures: for steps that learn; a swap goes on from `.NAME.learning`
    beside `out`. data: data.yaml with class names, where the metadata has none; both models are measured on its
    validation pictures, unless `measure` is False. head: "auto", or how a decoded output is read: "dense-cxcywh",
    "dense-xyxy", "end2end". size: (height, width) in pixels, if the model leaves it open. color, input_scale, align: of
    its training; a byte times the scale is its input; "center" or "topleft": where the letterbox puts the picture.
    box_voting: of heads with NMS, see docs/package-format.md. backend_options: over the target's own. compiled: False
    gives what a chip's compiler would get. order: of compilers with choices; a kit where one is not here."""
    out, order, chip = Path(out), (order or Order()) if compiled else None, load_target(target)
    _check_options(chip, precision, color, align, input_scale)
    steps = _steps(load_recipe(recipe).switched(steps_on, steps_off, max_drop, float_time), chip, steps_on, float_time)
    files = _pictures(calib) if precision == "int8" or steps.takes("boxes") else []
    _check_out(out, chip, order, force)
    source = load_model(model)
    classes = source.classes if data is None else class_names(data)
    found, graph = float_graph(source, size, head, classes, input_scale, box_voting)
    graph = with_outputs_of(chip, _in_opsets(graph, chip, steps))
    _, height, width, _ = (int(side) for side in graph.graph.inputs[0].shape)
    subject = Subject(graph, found, chip, PictureStream(files, width, height, color, align), progress or _silent)
    job = _Job(subject, steps, _names(classes, found.classes), out.with_name(f".{out.name}.learning"))
    float_artifact = _bytes(graph.clone())
    graph = job.make(precision, files, train_pictures)
    shape = InputSpec(graph.graph.inputs[0].name, width, height, color, align=align)
    content = job.content(source, graph, shape, name, precision, backend_options or {})
    if data is not None and measure:
        content = replace(content, accuracy=_measured(content, float_artifact, data, out.parent))
    return job.write(out, content, order, force)


def _steps(recipe: Recipe, chip: Target, wanted: Sequence[str], float_time: float | None) -> Recipe:
    """The recipe with the chip's own share of time for float layers, where it spends and the user names none; without
    `spend` where the chip has no float. Refuses what chip or machine cannot do."""
    _check_steps(recipe, wanted, chip, float_time)
    if not chip.has_float:
        return recipe.switched(off=["spend"])
    own = chip.float_time if float_time is None and recipe.takes("spend") else 0.0
    return recipe.spending(own) if own else recipe


def _silent(items: Iterable, _: str) -> Iterable:
    return items


def _in_opsets(graph: ir.Model, chip: Target, steps: Recipe) -> ir.Model:
    """The graph in an opset that the target, and what the recipe puts in, can have."""
    lowest = max(chip.opset_min, OPSET_SWAP if steps.takes("swap") else 0)
    return run_passes(graph, ConvertOpset(lowest, chip.opset_max))


def with_outputs_of(chip: Target, graph: ir.Model) -> ir.Model:
    """The graph with what the chip's outputs need to be stored quantised, where they are."""
    return run_passes(graph, StoreOutputs()) if chip.place.outputs else graph


def _bytes(graph: ir.Model) -> bytes:
    return ir.to_proto(run_passes(graph, Strip("yoloq", __version__))).SerializeToString(deterministic=True)


def _hosted(content: PackageContent) -> PackageContent:
    """The package with the graph that a chip's compiler gets, as the CPU runs it: any machine can measure that. One for
    the CPU stays as it is."""
    if compiler_of(content.target) is None:
        return content
    host = load_target(HOST)
    return replace(content, target=host, backend_options=host.backend_options.get(content.precision, {}))


def _measured(content: PackageContent, float_artifact: bytes, data: str | Path, beside: Path) -> dict[str, Any]:
    """By the library where it computes on every CPU what the target computes; else by the reference."""
    engine = "auto" if content.target.weights.sums_fit else "reference"
    return measure_package(_hosted(content), float_artifact, data, beside, engine)


@dataclass
class _Job:
    """One quantisation: the subject as it changes, and what was done to it."""

    subject: Subject
    recipe: Recipe
    classes: tuple[str, ...]
    checkpoint: Path
    original: Subject = field(init=False)
    plan: Plan | None = None
    calibration: Calibration | None = None
    steps: list[StepDone] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.original = self.subject  # what every loss is measured against, a swap's too

    def make(self, precision: str, files: Sequence[Path], train_pictures: str | Path | None) -> ir.Model:
        """The package's graph. files: the calibration pictures."""
        if self.recipe.takes("boxes"):
            self.step("boxes", self._boxes)
        return self._quantize(files, train_pictures) if precision == "int8" else self.subject.graph

    def _quantize(self, files: Sequence[Path], train_pictures: str | Path | None) -> ir.Model:
        """Takes the recipe's steps; the QDQ graph."""
        recipe = self.recipe
        self.warn(check_calibration(files))
        if recipe.takes("swap"):
            self.step("swap", lambda: self._swap(train_pictures))
        if recipe.takes("equalize"):
            self.step("equalize", self._equalize)
        if recipe.takes("prescale") and self.subject.target.place.prescale:
            self.step("prescale", self._prescale)
        self.step("calibrate", self._calibrate)
        if recipe.takes("ranges"):
            self.step("ranges", self._ranges)
        if recipe.takes("rounding"):
            self.step("rounding", self._rounding)
        if recipe.takes("biases"):
            self.step("biases", self._biases)
        if recipe.takes("reconstruct"):
            self.step("reconstruct", lambda: self._reconstruct(train_pictures))
        if recipe.takes("spend"):
            self.step("spend", self._spend)
        if recipe.takes("mixed"):
            self.step("mixed", self._mixed)
        return quantized(self.subject, self.plan)

    def step(self, name: str, run: Callable[[], dict[str, Any]]) -> None:
        start = time.perf_counter()
        detail = run()
        self.steps.append(StepDone(name, detail, time.perf_counter() - start))

    def warn(self, texts: Sequence[str]) -> None:
        self.warnings.extend(texts)

    def summary(self) -> dict[str, Any]:
        """For the manifest: no times, so that equal inputs give equal bytes."""
        model = self.subject.graph
        if self.plan is None:
            return {"recipe": None, **int8_shares(model, ())}
        chip = self.subject.target
        return {
            "recipe": self.recipe.name,
            "steps": [{"step": done.step, **done.detail} for done in self.steps],
            "activations": describe_activations(chip.activations, any(done.step == "prescale" for done in self.steps)),
            "weights": describe_weights(chip.weights),
            "pictures": len(self.subject.pictures),
            **int8_shares(model, self.plan.placement.weighted),
        }

    def content(
        self,
        source: SourceModel,
        graph: ir.Model,
        shape: InputSpec,
        name: str | None,
        precision: str,
        backend_options: dict[str, str],
    ) -> PackageContent:
        chip = self.subject.target
        return PackageContent(
            name=name or source.name,
            precision=precision,
            classes=self.classes,
            input=shape,
            head=self.subject.head,
            target=chip,
            backend_options={**chip.backend_options.get(precision, {}), **backend_options},
            compiler=f"yoloq {__version__}",
            artifact=_bytes(graph),
            summary=self.summary(),
            source=source_of(source),
        )

    def write(self, out: Path, content: PackageContent, order: Order | None, force: bool) -> QuantizeResult:
        """With what the chip's compiler makes of the graph, where it has one and `order` is given."""
        compiler, chip = compiler_of(content.target), content.target
        if order is None:
            content = _hosted(content)
        elif needs_kit(chip):
            manifest, labels = build_manifest(content), labels_text(content.classes)

            def manifest_of(made: Compiled) -> dict[str, Any]:
                self.warn(made.warnings)
                return for_chip(manifest, chip, made)

            files = compiler.kit(content.artifact, chip, order, manifest_of, labels, out.name)
            kit = out.with_suffix(KIT)
            write_kit(kit, files, force)
            return replace(self.done(kit, content), kit=True)
        elif compiler is not None:
            log = out.with_name(f"{out.name}.log")
            made = compiler.run(content.artifact, chip, order, log, self.subject.progress)
            self.warn(made.warnings)
            content = replace(content, compiled=made)
        write_package(out, content, force)
        return self.done(out, content)

    def done(self, out: Path, content: PackageContent) -> QuantizeResult:
        """The package is there: what was kept to go on from goes."""
        self.checkpoint.unlink(missing_ok=True)
        return QuantizeResult(
            package=str(out),
            target=content.target.chip,
            precision=content.precision,
            recipe=self.recipe.name,
            family=content.head.family,
            classes=content.classes,
            width=content.input.width,
            height=content.input.height,
            pictures=len(self.subject.pictures),
            convolutions=content.summary["convolutions"],
            int8_convolutions=content.summary["int8_convolutions"],
            int8_macs=content.summary["int8_macs"],
            bytes=len(content.compiled.artifact if content.compiled else content.artifact),
            accuracy=content.accuracy,
            steps=tuple(self.steps),
            warnings=tuple(self.warnings),
        )

    # ------------------------------------------------------------------------------------------------------- steps

    def _boxes(self) -> dict[str, Any]:
        self.subject, fit = boxes_to_labels(self.subject, self.classes)
        if fit.scale != fit.measured:
            self.warn([f"step boxes: scaling boxes by {fit.measured} gains nothing ({fit.gain} of mAP50-95); left out"])
        return {"scale": list(fit.scale), "measured": list(fit.measured), "pairs": fit.pairs, "gain": fit.gain}

    def _swap(self, train_pictures: str | Path | None) -> dict[str, Any]:
        from yoloq_quantize.swap import swap_activations  # PyTorch: only where a recipe asks for it

        more = _more(train_pictures)
        self.subject = swap_activations(self.subject, train_pictures=more, checkpoint=self.checkpoint)
        swapped = sum(node.op_type == "HardSwish" for node in self.subject.graph.graph)
        return {"activations": swapped, "pictures": len(self.subject.pictures) + len(more or ())}

    def _equalize(self) -> dict[str, Any]:
        self.subject, pairs = equalize(self.subject)
        return {"pairs": len(pairs)}

    def _prescale(self) -> dict[str, Any]:
        scaled = prescale(self.subject, place(self.subject.graph, self.subject.target.place, self.subject.head))
        self.subject = scaled.subject
        return {"tensors": len(scaled.values)}

    def _calibrate(self) -> dict[str, Any]:
        subject, chip = self.subject, self.subject.target
        placement = place(subject.graph, chip.place, subject.head)
        self.calibration = calibrate(
            subject.graph, placement.groups, subject.pictures, chip.activations.bins, subject.progress
        )
        params = find_params(subject.graph, placement, self.calibration, chip, output_floors(subject.head))
        self.plan = Plan(placement, params)
        return {"scales": len(placement.groups), "method": chip.activations.method}

    def _ranges(self) -> dict[str, Any]:
        before = self.plan.params.activations
        extremes = [(observed.minimum, observed.maximum) for observed in self.calibration.ranges]
        self.plan = search_ranges(self.subject, self.plan, extremes)
        return {"changed": sum(self.plan.params.activations[name] != params for name, params in before.items())}

    def _rounding(self) -> dict[str, Any]:
        before = self.plan.params.weights
        self.plan = round_together(self.subject, self.plan)
        after = self.plan.params.weights
        return {"moved": sum(int((after[name].stored != old.stored).sum()) for name, old in before.items())}

    def _biases(self) -> dict[str, Any]:
        self.plan = correct_biases(self.subject, self.plan)
        return {"corrected": len(self.plan.params.biases)}

    def _reconstruct(self, train_pictures: str | Path | None) -> dict[str, Any]:
        from yoloq_quantize.train.reconstruct import reconstruct  # PyTorch: only where a recipe asks for it

        self.plan = reconstruct(self.subject, self.plan, pictures=_more(train_pictures))
        return {}

    def _spend(self) -> dict[str, Any]:
        if self.objective is None:
            return {"time": 0.0, "float": []}
        recipe = self.recipe
        purse = Purse(recipe.time, recipe.min_int8_macs, recipe.little_time, recipe.raw_error)
        found = spend(self.subject, self.plan, self.objective, purse)
        self.plan = found.plan
        told = {name: round(getattr(found, name), 4) for name in ("raw_error", "time", "error")}
        return told | {"float": list(found.kept_float)}

    @cached_property
    def objective(self) -> Objective | None:
        """FP32's answers on calibration pictures; None where it finds nothing."""
        labels = load_labelled(self.subject.pictures.files, self.classes)
        try:
            found = Objective(self.original, labels if labels.has_labels else None)
        except NothingSeenError as error:  # pictures of good parts only, say: no reason to make nothing
            if self.recipe.insists:
                raise
            self.warn([f"the loss is not measured: {error}"])
            return None
        if found.size_hint and not self.recipe.takes("boxes"):
            self.warn([found.size_hint])
        return found

    def _mixed(self) -> dict[str, Any]:
        limit = self.recipe.max_drop
        if self.objective is None:
            return {"max_drop": limit, "judged_by": "nothing"}
        found = mixed_precision(self.subject, self.plan, self.objective, limit, self.recipe.min_int8_macs)
        self.plan = found.plan
        if not found.met:
            self.warn([found.message(limit)])
        return {
            "max_drop": limit,
            "loss": round(found.loss, 4),
            "judged_by": "labels" if self.objective.labelled else "agreement",
            "float": list(found.kept_float),
            "graphs": len(found.steps),
        }


def _names(classes: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    """The classes' names; one that is missing or blank is called by its number."""
    given = classes or ("",) * count
    return tuple(name if name.strip() else f"class{index}" for index, name in enumerate(given))


def _more(folder: str | Path | None) -> list[Path] | None:
    return None if folder is None else list_images(folder)


def _pictures(calib: str | Path | None) -> list[Path]:
    if calib is None:
        raise QuantizeError("no calibration pictures; give a folder with --calib (precision float32 needs none)")
    return list_images(calib)


def _check_options(chip: Target, precision: str, color: str, align: str, input_scale: float) -> None:
    for what, value, known in (
        ("precision", precision, PRECISIONS),
        ("color", color, ("RGB", "BGR")),
        ("align", align, ("center", "topleft")),
    ):
        if value not in known:
            raise QuantizeError(f"{what} {value!r} is not known; expected {' or '.join(known)}")
    if not np.isfinite(input_scale) or input_scale <= 0:
        raise QuantizeError(f"input scale {input_scale} is not a positive number; use 1/255 or 1")
    if precision != "int8" and not chip.has_float:
        raise QuantizeError(f"target {chip.chip!r} has no float; take precision int8, or another target")


def _check_out(out: Path, chip: Target, order: Order | None, force: bool) -> None:
    """What is written, by which compiler: order None for none."""
    check_free(out, force)
    if order is not None:
        check(chip, order)
        if needs_kit(chip):
            check_free(out.with_suffix(KIT), force, kit=True)


def _check_steps(steps: Recipe, wanted: Sequence[str], chip: Target, float_time: float | None) -> None:
    if not chip.has_float and (float_time is not None or "spend" in wanted):
        asked = "the step spend" if float_time is None else "--float-time"
        raise QuantizeError(f"target {chip.chip!r} has no float to spend time on; leave out {asked}")
    if "prescale" in wanted and not chip.place.prescale:
        raise QuantizeError(f"target {chip.chip!r} has one scale per activation; leave out the step prescale")
    learning = [step for step in LEARNING if steps.takes(step)]
    if learning and importlib.util.find_spec("torch") is None:  # now, not after minutes of work
        raise QuantizeError(f"step {learning[0]!r} needs PyTorch: install yoloq[train], or take recipe default")


def float_graph(
    source: SourceModel,
    size: tuple[int, int] | None,
    form: str,
    classes: tuple[str, ...] | None,
    input_scale: float,
    box_voting: bool = True,
) -> tuple[Head, ir.Model]:
    """The head, and the float graph from uint8 pixels to the head's raw tensors. Arguments as of `quantize`."""
    size = size or source.size
    if size is None:
        raise QuantizeError("the model leaves its input size open and no metadata tells it; give it with --size")
    model = run_passes(source.model, *canonical_passes(*size))
    count = None if classes is None else len(classes)
    found = find_head(model, count) if form == "auto" else passthrough_head(model, form, count)
    model = cut_head(model, found)
    found = replace(found, box_voting=box_voting and found.nms)
    return found, run_passes(model, Uint8Input(input_scale))
