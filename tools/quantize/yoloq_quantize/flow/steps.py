# SPDX-License-Identifier: Apache-2.0
"""The steps of a pipeline: what each depends on, and what it does. None knows the order; `run.py` does."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yoloq_quantize.compile.compiled import Order
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import Evaluation, evaluate
from yoloq_quantize.flow.cache import folder_digests
from yoloq_quantize.flow.compilers import compile_package
from yoloq_quantize.flow.inputs import data_digest, model_digest, option_digests, tools
from yoloq_quantize.flow.plan import METRICS, Gate, Job
from yoloq_quantize.pipeline import quantize
from yoloq_quantize.report import write_json

STEPS = ("reference", "quantize", "evaluate", "compile", "package")  # whose results are kept
PACKAGE, FIGURES, SUMMARY = "package.yoloq", "figures.json", "summary.json"
_ABOUT_THE_MODEL = ("data", "head", "size", "color", "input_scale", "align", "box_voting", "name")
_REFERENCE_TARGET = "cpu"  # float32 is measured on the host, whatever chip the package is for
_NAMES = {"map50": "mAP50", "map50_95": "mAP50-95"}


@dataclass(frozen=True)
class Context:
    """What a running step sees. out: its own new folder; done: the folders of the steps before it, by name."""

    job: Job
    out: Path
    done: dict[str, Path]
    progress: Callable[[Iterable, str], Iterable] | None
    bars: bool


def wanted(job: Job) -> list[str]:
    """The steps that this job has."""
    left_out = set()
    if job.gate is None:
        left_out = {"reference", "evaluate"}
    elif not job.gate.max_drop and job.gate.agreement is None:
        left_out = {"reference"}
    return [step for step in STEPS if step not in left_out]


def inputs_of(step: str, job: Job, keys: dict[str, str]) -> dict[str, Any]:
    """What the step's result depends on. keys: of the steps before it."""
    inputs: dict[str, Any] = {"tools": tools()}
    if step in ("reference", "quantize"):
        options = job.options if step == "quantize" else _float_options(job)
        inputs["model"] = model_digest(job.model)
        inputs |= {f"quantize.{key}": value for key, value in option_digests(options).items()}
    if step == "quantize":
        inputs["target"] = job.target
    if step == "compile" and job.order != Order():
        inputs["order"] = asdict(job.order)
    if job.gate is not None and step in ("reference", "evaluate"):
        inputs["data"] = data_digest(job.gate.data, job.gate.split, job.gate.images)
        if step == "evaluate":
            inputs["agreement"] = job.gate.agreement is not None
    before = {"evaluate": ("quantize", "reference"), "compile": ("quantize",), "package": ("compile", "evaluate")}
    inputs |= {name: keys[name] for name in before.get(step, ()) if name in keys}
    return inputs


def _float_options(job: Job) -> dict[str, Any]:
    """What makes the same detector of the float model, boxes scaled to labels included."""
    options = {key: value for key, value in job.options.items() if key in _ABOUT_THE_MODEL}
    if "boxes" in job.options.get("steps_on", ()):
        options |= {"calib": job.options.get("calib"), "steps_on": ["boxes"]}
    return options


# ------------------------------------------------------------------------------------------------ the steps themselves


def reference(context: Context) -> None:
    """The same model, cut and fed the same way, in float32: what every loss is measured against."""
    package = context.out / PACKAGE
    options = {"calib": None, **_float_options(context.job)}
    quantize(context.job.model, out=package, target=_REFERENCE_TARGET, precision="float32", measure=False, **options)
    if not context.job.gate.data.is_dir():
        write_json(context.out / FIGURES, _figures(_measure(context, package)))


def run_quantize(context: Context) -> None:
    job = context.job
    options = {key: value for key, value in job.options.items() if key != "calib"}
    calib = job.options.get("calib")
    package = context.out / PACKAGE
    given = {"measure": False, "compiled": False, "progress": context.progress, **options}
    result = quantize(job.model, calib, package, job.target, **given)
    summary = {key: value for key, value in result.to_json().items() if key != "package"}
    write_json(context.out / SUMMARY, summary)


def run_evaluate(context: Context) -> None:
    against = context.done["reference"] / PACKAGE if context.job.gate.agreement is not None else None
    result = _measure(context, context.done["quantize"] / PACKAGE, against)
    write_json(context.out / FIGURES, _figures(result))


def run_compile(context: Context) -> None:
    log = context.out.parent / "compile.log"
    quantised = context.done["quantize"] / PACKAGE
    compile_package(
        quantised,
        context.job.target,
        context.out / PACKAGE,
        log,
        context.progress or (lambda items, _: items),
        order=context.job.order,
    )


def run_package(context: Context) -> None:
    """The compiled package with the measured accuracy in its manifest, and every digest checked again."""
    package = context.out / PACKAGE
    shutil.copytree(context.done["compile"] / PACKAGE, package)
    manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    if "evaluate" in context.done:
        manifest["accuracy"] = _accuracy(context)
    text = (json.dumps(manifest, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()
    (package / "manifest.json").write_bytes(text)
    (package / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n", newline="\n")
    check_package(folder_digests(package), text)


def _accuracy(context: Context) -> dict[str, Any]:
    """For the manifest: what was measured, in points."""
    got = read_figures(context.done["evaluate"])
    before = read_figures(context.done["reference"]) if "reference" in context.done else {}
    sides = {"float": before, "package": got}
    return {
        "split": "" if context.job.gate.data.is_dir() else context.job.gate.split,
        "pictures": got["pictures"],
        **{side: {k: v for k, v in figures.items() if k != "pictures"} for side, figures in sides.items() if figures},
    }


RUNS: dict[str, Callable[[Context], None]] = {
    "reference": reference,
    "quantize": run_quantize,
    "evaluate": run_evaluate,
    "compile": run_compile,
    "package": run_package,
}


def check_package(digests: dict[str, str], manifest: bytes) -> None:
    """Refuses a package whose files are not those of its manifest. digests: SHA-256 by file name."""
    try:
        said = {name: entry["sha256"] for name, entry in json.loads(manifest)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise QuantizeError("its manifest is damaged") from None
    for name, digest in {**said, "manifest.json": hashlib.sha256(manifest).hexdigest()}.items():
        if digests.get(name) != digest:
            raise QuantizeError(f"its file {name} is missing or altered")


def _measure(context: Context, package: Path, against: Path | None = None) -> Evaluation:
    gate = context.job.gate
    return evaluate(package, gate.data, split=gate.split, images=gate.images, reference=against, progress=context.bars)


def _figures(result: Evaluation) -> dict[str, Any]:
    figures: dict[str, Any] = {"pictures": result.pictures}
    if result.accuracy is not None:
        figures |= {"map50": round(result.accuracy.map50, 4), "map50_95": round(result.accuracy.map50_95, 4)}
    if result.agreement is not None:
        # 100 where neither side finds anything: then they do agree
        shares = (result.agreement.candidate_confirmed, result.agreement.reference_confirmed)
        figures["agreement"] = round(min(100.0 if share is None else share for share in shares), 4)
    return figures


def read_figures(folder: Path, name: str = FIGURES) -> dict[str, Any]:
    path = folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


# ------------------------------------------------------------------------------------------------ the gate


def judge(gate: Gate, got: dict[str, Any], before: dict[str, Any]) -> tuple[str, list[str]]:
    """The figures as text, and what is wrong with them (empty: the gate is open).

    got, before: what `evaluate` and `reference` measured, in points. The limits are no part of any step's key, so that
    changing them measures nothing again.
    """
    if (gate.max_drop or gate.least) and not set(METRICS) <= got.keys():
        raise QuantizeError(f"{gate.data}: no picture has labels; use min_agreement under gate")
    shown, wrong = [], []
    for metric in METRICS:
        if metric not in got:
            continue
        name, value = _NAMES[metric], got[metric]
        drop = round(before[metric] - value, 4) if metric in before else None
        shown.append(f"{name} {value:.2f}" + ("" if drop is None else f" (FP32 {before[metric]:.2f})"))
        if drop is not None and metric in gate.max_drop and drop > gate.max_drop[metric]:
            wrong.append(f"{name} {value:.2f} is {drop:.2f} below FP32's {before[metric]:.2f}, "
                         f"at most {gate.max_drop[metric]:g} is allowed")  # fmt: skip
        if metric in gate.least and value < gate.least[metric]:
            wrong.append(f"{name} {value:.2f} is below the least allowed, {gate.least[metric]:g}")
    if "agreement" in got:
        shown.append(f"agreement {got['agreement']:.2f} %")
        if gate.agreement is not None and got["agreement"] < gate.agreement:
            wrong.append(f"agreement with FP32 {got['agreement']:.2f} % is below {gate.agreement:g} %")
    return ", ".join(shown), wrong
