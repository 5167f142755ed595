# SPDX-License-Identifier: Apache-2.0
"""The proof `quantisation`: real models of several families, every toolkit on the same pictures by the same rule.

Pictures and labels are rendered, so that the truth is exact; calibration and validation pictures have seeds of their
own. The peers get the float model as they know it (family.py: `plain`), yoloq gets it as it was shipped. Where a head
has NMS, all have box voting: what is compared is quantisation; one row more says what the float model has without.
Losses have the 95 % interval of a paired bootstrap over the pictures.

    python3 build.py prove quantisation-NAME      a family of families/family.py; half an hour to an hour and a half
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yoloq_quantize
from exact import exact_session
from families.family import FAMILIES, Family, PlainDetector
from families.peers import peers_python
from yoloq_quantize.baselines import quantize_conv_only, quantize_generic
from yoloq_quantize.bootstrap import Difference, paired_bootstrap
from yoloq_quantize.dataset import Dataset, list_images, load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import Run, run_detector, run_model
from yoloq_quantize.metrics import measure_accuracy
from yoloq_quantize.peers.nncf_peer import OpenVinoSession, quantize_nncf

LEAST_FLOAT = 30.0  # points of mAP50 by which the float model shows that pictures and decoder suit it
MOST_FLOAT = 0.1  # points of mAP50-95 between the exported model and yoloq's float32 package
MOST_LOSS = {"fast": 1.0, "default": 0.2, "best": 0.1}  # points of mAP50 and of mAP50-95
PLAIN_NMS = "float, plain NMS"  # as other tools decode it; all others of a head with NMS have box voting
LEAST_INT8 = 0.95  # of the multiply-adds, default recipe


@dataclass(frozen=True)
class Contestant:
    """Somebody's quantised model, its answers, and what it took to make it."""

    name: str
    run: Run | None
    seconds: float
    facts: dict[str, object]


def contestants(family: Family, data: Dataset, folder: Path) -> Iterator[Contestant]:
    """The peers, then yoloq's recipes; a toolkit that gives up is a result too."""
    pictures = list_images(family.calibration)
    value = exact_session(family.plain)
    names = value.get_inputs()[0].name, value.get_outputs()[0].name

    def plain(session: object, box_voting: bool = True) -> Run:
        return run_detector(PlainDetector(family, session, *names, data.class_names, box_voting), data)

    def peer(name: str, made: Path, make: object, opened: object) -> Contestant:
        start = time.perf_counter()
        try:
            make(made)
        except Exception as error:  # a toolkit raises what it likes
            return Contestant(name, None, time.perf_counter() - start, {"failed": _first_line(error)})
        seconds = time.perf_counter() - start
        return Contestant(name, plain(opened(made)), seconds, {})

    yield Contestant("float", plain(value), 0.0, {})
    if family.head.nms:
        yield Contestant(PLAIN_NMS, plain(value, box_voting=False), 0.0, {})
    yield peer(
        "ONNX Runtime generic", folder / "generic.onnx", lambda out: quantize_generic(family.plain, pictures, out),
        exact_session,
    )  # fmt: skip
    yield peer(
        "ONNX Runtime Conv only", folder / "conv.onnx", lambda out: quantize_conv_only(family.plain, pictures, out),
        exact_session,
    )  # fmt: skip
    yield peer(
        "NNCF", folder / "nncf.xml", lambda out: quantize_nncf(family.plain, pictures, out, str(peers_python())),
        OpenVinoSession,
    )  # fmt: skip
    yield ours(family, data, folder, "float32", {"precision": "float32"})
    for recipe in family.recipes:
        yield ours(family, data, folder, recipe, {"recipe": recipe})


def ours(family: Family, data: Dataset, folder: Path, name: str, options: dict[str, object]) -> Contestant:
    """`yoloq quantize` as people run it, its package run by the library."""
    package, start = folder / f"{name}.yoloq", time.perf_counter()
    try:
        made = yoloq_quantize.quantize(
            family.model, family.calibration, package, target="cpu", measure=False, **family.options, **options
        )
    except QuantizeError as error:
        return Contestant(f"yoloq {name}", None, time.perf_counter() - start, {"failed": str(error)})
    seconds = time.perf_counter() - start
    facts = {"int8_macs": made.int8_macs, "bytes": made.bytes, "head": made.family}
    return Contestant(f"yoloq {name}", run_model(package, data), seconds, facts)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def judge(name: str, folder: Path) -> dict:
    """One family: a row for each contestant."""
    family = FAMILIES[name]()
    data = load_dataset(family.data, "val")
    rows: dict[str, dict] = {}
    reference = None
    for each in contestants(family, data, folder):
        row = {"seconds": round(each.seconds, 1), **each.facts}
        if each.run is not None:
            reference = reference or each.run
            row |= _figures(data, reference, each.run)
        rows[each.name] = row
        print(f"quantisation  {name:16} {each.name:24} {json.dumps(row)}", flush=True)
    used = [each for each in measure_accuracy(data, reference.detections).per_class if each.instances]
    return {
        "model": family.name,
        "source": family.source,
        "pictures": len(data.samples),
        "calibration_pictures": len(list_images(family.calibration)),
        "calibration_labels": labels_beside(family.calibration).is_dir(),
        "instances": {each.name: each.instances for each in used},
        "rows": rows,
        "claims": claims(rows, family.recipes),
    }


def labels_beside(images: Path) -> Path:
    """Where labels of a folder images/SPLIT would lie."""
    return images.parent.parent / "labels" / images.name


def _figures(data: Dataset, reference: Run, run: Run) -> dict:
    accuracy = measure_accuracy(data, run.detections)
    figures = {"mAP50": round(accuracy.map50, 3), "mAP50-95": round(accuracy.map50_95, 3)}
    if run is not reference:
        loss: Difference = paired_bootstrap(data, reference.detections, run.detections)
        for name, interval in (("mAP50", loss.map50), ("mAP50-95", loss.map50_95)):
            figures[f"loss {name}"] = round(interval.estimate, 3)
            figures[f"loss {name}, 95 %"] = [round(interval.low, 3), round(interval.high, 3)]
    return figures


def claims(rows: dict[str, dict], recipes: Sequence[str]) -> dict[str, bool]:
    """Each claim and whether it holds. recipes: those that were tried, `default` among them."""
    base, exact = rows["float"], rows["yoloq float32"]
    held = {
        f"float reaches {LEAST_FLOAT:.0f} points of mAP50": base["mAP50"] >= LEAST_FLOAT,
        f"float32 package within {MOST_FLOAT} of the export": abs(exact.get("loss mAP50-95", 100.0)) <= MOST_FLOAT,
    }
    for recipe in recipes:
        row, most = rows[f"yoloq {recipe}"], MOST_LOSS[recipe]
        for metric in ("mAP50", "mAP50-95"):
            held[f"{recipe} loses at most {most} of {metric}"] = row.get(f"loss {metric}", 100.0) <= most
    held[f"default has {LEAST_INT8:.0%} in INT8"] = rows["yoloq default"].get("int8_macs", 0.0) >= LEAST_INT8
    return held


def prove_quantisation(name: str) -> Callable[[Path], dict]:
    """The proof of one family."""

    def prove(folder: Path) -> dict:
        result = judge(name, folder)
        return {
            "ok": all(result["claims"].values()),
            "metric": "points, COCO rules, maxDets 300; loss = float minus candidate, interval of 1000 paired rounds",
            **result,
        }

    return prove
