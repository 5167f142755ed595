# SPDX-License-Identifier: Apache-2.0
"""Step `evaluate`: how accurate a package or an ONNX model is on labelled pictures, or how far it agrees with another.

Both sides of every comparison get the same rule: score >= 0.001, multi-label, NMS at IoU 0.7 where the head needs it,
300 detections per picture, COCO's average precision.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from tqdm import tqdm

from yoloq_quantize.dataset import Dataset, Sample, load_dataset, load_pictures
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.metrics import (
    MAX_DETECTIONS,
    Accuracy,
    Agreement,
    Detections,
    measure_accuracy,
    measure_agreement,
    size_hint,
)
from yoloq_quantize.reference import ReferenceDetector, package_head

SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.7
SIMULATOR = "simulator"
_DEVICE = ("device_temperature_c", "device_power_w", "device_utilization_percent", "device_memory_used")


class Detector(Protocol):
    """What can be evaluated: finds Detections in a uint8 (h, w, 3) BGR picture."""

    class_names: tuple[str, ...] | None
    engine_ms: float  # of the last detect(): the network alone

    def detect(self, image: np.ndarray) -> Detections: ...

    def close(self) -> None: ...


class LibraryDetector:
    """A package run by the C library."""

    def __init__(self, path: Path | str, **options: Any) -> None:
        """options: those of `yoloq.Detector`."""
        import yoloq  # here: the quantiser works on machines where the library is not built

        try:
            self._detector = yoloq.Detector(path, **options)
        except yoloq.Error as error:
            raise QuantizeError(str(error)) from error
        self.class_names: tuple[str, ...] | None = tuple(self._detector.class_names)
        self.engine_ms = 0.0

    def detect(self, image: np.ndarray) -> Detections:
        found = self._detector.detect(image, format="BGR")
        self.engine_ms = found.timings.engine_ms
        return Detections(found.boxes, found.scores, found.class_ids)

    @property
    def device(self) -> dict[str, float | None]:
        """Temperature, power, ... of the device now, as its SDK tells; None: it does not."""
        stats = asdict(self._detector.stats)
        return {name.removeprefix("device_"): stats[name] for name in stats if name in _DEVICE}

    def close(self) -> None:
        self._detector.close()


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the decoded picture to boxes, over the pictures of the evaluation."""

    p50_ms: float
    p90_ms: float
    mean_ms: float

    @staticmethod
    def of(times_ms: Sequence[float]) -> Latency:
        p50, p90 = np.percentile(times_ms, [50, 90])
        return Latency(float(p50), float(p90), float(np.mean(times_ms)))


@dataclass(frozen=True)
class Run:
    """A detector's answers for each picture of a data set, in its order."""

    detections: tuple[Detections, ...]
    latency: Latency


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`. accuracy: None without labels; agreement: None without a reference model. size_hint: for
    people, where labels say that all boxes are too large or too small."""

    model: str
    engine: str
    data: str
    split: str
    pictures: int
    accuracy: Accuracy | None
    reference: str | None
    agreement: Agreement | None
    latency: Latency
    size_hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    path: Path | str,
    data: Path | str,
    *,
    split: str = "val",
    images: Path | str | None = None,
    reference: Path | str | None = None,
    engine: str = "auto",
    progress: bool = False,
) -> Evaluation:
    """Evaluates a `.yoloq` package or a float `.onnx`.

    data: a data.yaml, a COCO .json, or (with `reference`) a folder of pictures.
    reference: a second model; how far the first agrees with it is measured too.
    engine: "library" runs packages by the C library, "reference" by ONNX Runtime and NumPy, "simulator" by that of the
    chip's compiler and NumPy; "auto": what fits.
    """
    path = Path(path)
    dataset = load_pictures(data) if Path(data).is_dir() else load_dataset(data, split, images)
    if not dataset.has_labels and reference is None:
        raise QuantizeError(f"{data}: no picture has labels; add them, or name a model to compare with: --reference")
    run = run_model(path, dataset, engine=engine, progress=progress)
    agreement = None
    if reference is not None:
        other = run_model(reference, dataset, progress=progress, **_box_rules(path, reference))
        agreement = measure_agreement(run.detections, other.detections)
    return Evaluation(
        model=str(path),
        engine=_engine_name(path, engine),
        data=str(data),
        split=dataset.split,
        pictures=len(dataset.samples),
        accuracy=measure_accuracy(dataset, run.detections) if dataset.has_labels else None,
        reference=None if reference is None else str(reference),
        agreement=agreement,
        latency=run.latency,
        size_hint=size_hint(run.detections, dataset.samples),
    )


def _box_rules(path: Path, reference: Path | str) -> dict[str, Any]:
    """What an ONNX beside a package has to do with boxes so that both do the same; a package does what it says."""
    if Path(reference).is_dir() or not path.is_dir():
        return {}
    head = package_head(path)
    return {"box_voting": head.box_voting, "box_scale": head.box_scale}


def run_model(
    path: Path | str,
    dataset: Dataset,
    *,
    engine: str = "auto",
    progress: bool = False,
    box_voting: bool | None = None,
    box_scale: tuple[float, float] | None = None,
) -> Run:
    """Opens a model as accuracy is measured everywhere, and runs it over a data set."""
    detector = open_detector(path, engine=engine, box_voting=box_voting, box_scale=box_scale)
    try:
        return run_detector(detector, dataset, Path(path).name, progress)
    finally:
        detector.close()


def open_detector(
    path: Path | str,
    *,
    engine: str = "auto",
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = IOU_THRESHOLD,
    threads: int = 0,
    exact: bool = True,
    box_voting: bool | None = None,
    box_scale: tuple[float, float] | None = None,
) -> Detector:
    """A detector for a package or an ONNX model; close() it. threads, exact: of ONNX Runtime; box_voting, box_scale:
    of an ONNX model; see ReferenceDetector."""
    path = Path(path)
    if not path.exists():
        raise QuantizeError(f"{path}: no such file; give a .yoloq package or a .onnx model")
    for rule, given in (("box_voting", box_voting), ("box_scale", box_scale)):
        if given is not None and path.is_dir():
            raise QuantizeError(f"{path}: a package says itself what is done to boxes; leave {rule} out")
    limits = {
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_detections": MAX_DETECTIONS,
    }
    if engine == SIMULATOR:
        from yoloq_quantize.compile import open_simulator  # compilers are for those who ask

        return ReferenceDetector(path, session=open_simulator(path), **limits)
    if _uses_library(path, engine):
        return LibraryDetector(path, **limits)
    return ReferenceDetector(path, threads=threads, exact=exact, box_voting=box_voting, box_scale=box_scale, **limits)


def run_detector(detector: Detector, dataset: Dataset, title: str = "", progress: bool = False) -> Run:
    """All pictures one after another. The detector's classes must fit the data set's."""
    names, wanted = detector.class_names, dataset.class_names
    if names and wanted and len(names) != len(wanted):
        raise QuantizeError(
            f"{title}: the model knows {len(names)} classes ({', '.join(names[:3])}, ...), "
            f"{dataset.source} has {len(wanted)}; use the data it was trained for"
        )
    if dataset.samples:
        detector.detect(dataset.samples[0].read())  # the first call pays for lazy set-up
    detections, times = [], []
    for sample in tqdm(dataset.samples, desc=title, unit="picture", disable=not progress, leave=False):
        image = _read(sample)
        start = time.perf_counter()
        detections.append(detector.detect(image))
        times.append((time.perf_counter() - start) * 1e3)
    return Run(tuple(detections), Latency.of(times))


def _read(sample: Sample) -> np.ndarray:
    image = sample.read()
    if image.shape[:2] != (sample.height, sample.width):
        raise QuantizeError(f"{sample.path}: header and pixels disagree about the size; save the picture again")
    return image


def _uses_library(path: Path, engine: str) -> bool:
    if engine not in ("auto", "library", "reference", SIMULATOR):
        raise QuantizeError(f"engine '{engine}' is unknown; choose auto, library, reference or simulator")
    if engine == "library" and not path.is_dir():
        raise QuantizeError(f"{path}: the library runs .yoloq packages only; leave --engine away")
    return path.is_dir() and engine in ("auto", "library")


def _engine_name(path: Path, engine: str) -> str:
    if engine == SIMULATOR:
        return "the simulator of the chip's compiler"
    if _uses_library(path, engine):
        import yoloq

        return f"yoloq {yoloq.version()}"
    return f"ONNX Runtime {ort.__version__}"
