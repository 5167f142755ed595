# SPDX-License-Identifier: Apache-2.0
"""The one place that knows the order of a pipeline: reference, quantize, evaluate, gate, compile, package, push."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow import deploy
from yoloq_quantize.flow.cache import Cache, key_of
from yoloq_quantize.flow.plan import Job, Plan
from yoloq_quantize.flow.sites import open_site
from yoloq_quantize.flow.steps import PACKAGE, RUNS, STEPS, SUMMARY, Context, inputs_of, judge, read_figures, wanted

FROM = (*STEPS, "push")  # names for --from, in order
Say = Callable[[str], None]


@dataclass
class StepReport:
    """status: done, cached, failed, or "to do" in a dry run. detail: figures, or why it ran."""

    name: str
    status: str
    detail: str = ""
    key: str = ""
    seconds: float = 0.0


@dataclass
class JobReport:
    """quantized: what `quantize` says of its result. figures: in points. package: the finished one, in the work folder.
    error: None if all went well."""

    name: str
    target: str
    steps: list[StepReport] = field(default_factory=list)
    quantized: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    package: str | None = None
    error: str | None = None


@dataclass
class Report:
    plan: str
    dry_run: bool
    jobs: list[JobReport] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(job.error for job in self.jobs)

    @property
    def changed(self) -> bool:
        """Whether anything was computed or pushed, or would be."""
        return any(step.status in ("done", "to do") for job in self.jobs for step in job.steps if step.name != "gate")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "failed": self.failed, "changed": self.changed}


@dataclass(frozen=True)
class Options:
    """first: rerun from this step on, one of FROM; None: only what changed. force: rerun all, push what was rolled
    back. say: takes a line of progress. progress(items, what), bars: for bars on a terminal."""

    dry_run: bool = False
    force: bool = False
    first: str | None = None
    say: Say = lambda line: None
    progress: Callable[[Iterable, str], Iterable] | None = None
    bars: bool = False


def run(plan: Plan, options: Options) -> Report:
    """Runs all jobs; one that fails does not keep the others from running. Interrupts pass through: what was finished
    stays, what was not leaves nothing."""
    report = Report(str(plan.source), options.dry_run)
    cache = Cache(plan.work)
    if options.dry_run:
        for job in plan.jobs:
            report.jobs.append(_guarded(job, cache, options))
        return report
    with cache.locked():
        for job in plan.jobs:
            report.jobs.append(_guarded(job, cache, options))
    return report


def _guarded(job: Job, cache: Cache, options: Options) -> JobReport:
    report = JobReport(job.name, job.target)
    options.say(f"{job.name} ({job.target})")
    try:
        _run_job(job, cache, options, report)
    except QuantizeError as error:
        report.error = str(error)
    except OSError as error:
        report.error = f"{error.filename or cache.root}: {error.strerror or error}; check space and rights"
    return report


def _run_job(job: Job, cache: Cache, options: Options, report: JobReport) -> None:
    keys: dict[str, str] = {}
    done: dict[str, Path] = {}
    stale = False  # in a dry run: a step before this one has no result yet
    for step in wanted(job):
        inputs = inputs_of(step, job, keys)
        keys[step] = key_of(inputs)
        found = None if stale or _forced(step, options) else cache.find(job.name, step, keys[step])
        if found is not None:
            done[step] = found
            _note(report, options, StepReport(step, "cached", key=keys[step]))
        elif options.dry_run:
            stale = True
            _note(report, options, StepReport(step, "to do", cache.changes(job.name, step, inputs), keys[step]))
        else:
            done[step] = _run_step(step, job, cache, options, report, inputs, done)
        if step == "quantize" and step in done:
            report.quantized = read_figures(done[step], SUMMARY)
            for warning in report.quantized.get("warnings", ()):
                options.say(f"  warning: {warning}")
        if step == "evaluate" and step in done:
            _gate(job, done, options, report)
    if "package" in done:
        report.package = str(done["package"] / PACKAGE)
    for destination in job.push:
        _push(job, str(destination), destination, done, options, report)


def _forced(step: str, options: Options) -> bool:
    return options.force or (options.first is not None and FROM.index(step) >= FROM.index(options.first))


def _run_step(
    step: str,
    job: Job,
    cache: Cache,
    options: Options,
    report: JobReport,
    inputs: dict[str, Any],
    done: dict[str, Path],
) -> Path:
    why, key, start = cache.changes(job.name, step, inputs), key_of(inputs), time.monotonic()
    try:
        with cache.make(job.name, step, key, inputs) as out:
            RUNS[step](Context(job, out, dict(done), options.progress, options.bars))
    except QuantizeError as error:
        _note(report, options, StepReport(step, "failed", str(error), key, time.monotonic() - start))
        raise QuantizeError(f"{step}: {error}") from error
    _note(report, options, StepReport(step, "done", why, key, time.monotonic() - start))
    return cache.place(job.name, step, key)


def _gate(job: Job, done: dict[str, Path], options: Options, report: JobReport) -> None:
    before = read_figures(done["reference"]) if "reference" in done else {}
    report.figures = {**read_figures(done["evaluate"]), "float32": before}
    shown, wrong = judge(job.gate, report.figures, before)
    _note(report, options, StepReport("gate", "failed" if wrong else "done", shown))
    if wrong:
        raise QuantizeError(f"gate: {'; '.join(wrong)}")


def _push(job: Job, where: str, destination: Any, done: dict[str, Path], options: Options, report: JobReport) -> None:
    if options.dry_run:
        _note(
            report, options, StepReport("push", "to do" if "package" not in done else "cached", f"{where}, not asked")
        )
        return
    start = time.monotonic()
    try:
        site = open_site(destination, f"{job.name}.yoloq")
        pushed = deploy.push(site, done["package"] / PACKAGE, destination.keep, options.force)
    except QuantizeError as error:
        _note(report, options, StepReport("push", "failed", str(error), seconds=time.monotonic() - start))
        raise QuantizeError(f"push to {where}: {error}") from error
    status = "done" if pushed.changed else "cached"
    _note(report, options, StepReport("push", status, f"{where}: {pushed.version}", seconds=time.monotonic() - start))


def _note(report: JobReport, options: Options, step: StepReport) -> None:
    step.seconds = round(step.seconds, 2)
    report.steps.append(step)
    took = f"{step.seconds:6.1f} s" if step.seconds >= 0.05 else " " * 8
    options.say(f"  {step.name:<10} {step.status:<7} {took}  {step.detail}".rstrip())


def rollback(plan: Plan, to: str | None, name: str | None, say: Say) -> list[dict[str, Any]]:
    """Switches every destination of the jobs (of the one called `name`) back. The first error ends it."""
    jobs = [job for job in plan.jobs if name in (None, job.name)]
    if not jobs:
        raise QuantizeError(f"no model {name}; the file has {', '.join(job.name for job in plan.jobs)}")
    if not any(job.push for job in jobs):
        raise QuantizeError(f"{plan.source}: no `push` there; nothing to roll back")
    switched = []
    for job in jobs:
        for destination in job.push:
            try:
                pushed = deploy.rollback(open_site(destination, f"{job.name}.yoloq"), to)
            except QuantizeError as error:
                raise QuantizeError(f"{job.name}: rollback at {destination}: {error}") from error
            say(f"{job.name}: {destination}: {pushed.version} is current")
            switched.append({"name": job.name, "destination": str(destination), "version": pushed.version})
    return switched
