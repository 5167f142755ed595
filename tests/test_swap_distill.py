# SPDX-License-Identifier: Apache-2.0
"""Training: learns, gives the same numbers twice, goes on where it was stopped, refuses what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mixed_subject import SIDE, make_subject
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.passes import run_passes
from yoloq_quantize.passes.swap_activations import SwapActivations
from yoloq_quantize.subject import Subject
from yoloq_quantize.swap.augment import Views
from yoloq_quantize.swap.distill import Schedule, distill, features
from yoloq_quantize.train.executor import Executor

SCHEDULE = Schedule(steps=12, size=(SIDE // 2, SIDE // 2), full=(SIDE, SIDE), batch=4, rate=0.02, features=4, save=4)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return make_subject(tmp_path / "data", hurt=False)


def student_of(subject: Subject) -> Executor:
    return Executor(run_passes(subject.graph.clone(), SwapActivations("all", "Relu")))


def train(subject: Subject, schedule: Schedule = SCHEDULE, seed: int = 0, **options: object) -> tuple[Executor, list]:
    student = student_of(subject)
    views = Views(subject.pictures.files, (SIDE, SIDE), "RGB", seed)
    return student, distill(student, Executor(subject.graph), subject.head, views, schedule, **options)


def same(one: Executor, other: Executor) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_training_brings_the_student_nearer(subject: Subject) -> None:
    teacher, before = Executor(subject.graph), student_of(subject)
    after, losses = train(subject, replace(SCHEDULE, steps=40))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    pictures = torch.from_numpy(np.concatenate(list(subject.pictures)))
    with torch.no_grad():
        wanted, old, new = (executor(pictures) for executor in (teacher, before, after))
    for name in subject.head.outputs:
        assert (new[name.name] - wanted[name.name]).norm() < (old[name.name] - wanted[name.name]).norm()


def test_the_same_seed_gives_the_same_numbers(subject: Subject) -> None:
    one, first = train(subject)
    other, second = train(subject)
    assert first == second
    assert same(one, other)
    assert not same(one, train(subject, seed=1)[0])


def test_a_stopped_run_goes_on_as_if_it_had_not_been(subject: Subject, tmp_path: Path) -> None:
    def stop_at_seven(steps: Iterable[int], what: str) -> Iterator[int]:
        for step in steps:
            if step == 7:
                raise KeyboardInterrupt
            yield step

    path = tmp_path / "run.ckpt"
    with pytest.raises(KeyboardInterrupt):
        train(subject, checkpoint=path, progress=stop_at_seven)
    resumed, losses = train(subject, checkpoint=path)
    assert len(losses) == SCHEDULE.steps - 4  # the last checkpoint was after the fourth step
    assert same(resumed, train(subject)[0])
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["run.ckpt"]


def test_a_finished_checkpoint_is_the_result(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / ".run"  # PyTorch by itself refuses to write by such a name
    done, _ = train(subject, checkpoint=path)
    again, losses = train(subject, checkpoint=path)
    assert losses == []
    assert same(done, again)


def test_a_checkpoint_of_another_run_is_refused(subject: Subject, tmp_path: Path) -> None:
    train(subject, checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(QuantizeError, match="another run"):
        train(subject, seed=1, checkpoint=tmp_path / "run.ckpt")


def test_a_damaged_checkpoint_is_refused(subject: Subject, tmp_path: Path) -> None:
    train(subject, checkpoint=tmp_path / "run.ckpt")
    data = (tmp_path / "run.ckpt").read_bytes()
    (tmp_path / "run.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(QuantizeError, match="not a checkpoint"):
        train(subject, checkpoint=tmp_path / "run.ckpt")


def test_divergence_is_an_error(subject: Subject) -> None:
    with pytest.raises(QuantizeError, match="diverged"):
        train(subject, replace(SCHEDULE, rate=1e12))


def test_the_last_steps_see_full_pictures_at_the_same_cost() -> None:
    schedule = Schedule(steps=100, size=(320, 320), full=(640, 640), batch=8, finish=0.2)
    assert schedule.at(79) == (8, (320, 320))
    assert schedule.at(80) == (2, (640, 640))


def test_the_pace_rises_and_falls() -> None:
    paces = [SCHEDULE.pace(step) for step in range(SCHEDULE.steps)]
    assert max(paces) == 1
    assert paces[-1] < 0.05
    assert paces == sorted(paces, reverse=True)  # one step of rise in twelve


def test_compared_values_lie_all_over_the_graph(subject: Subject) -> None:
    student, teacher = student_of(subject), Executor(subject.graph)
    names = features(student, teacher, 4)
    assert len(set(names)) == 4
    assert not set(names) & set(student.outputs)
    everything = features(student, teacher, 1000)
    assert set(names) < set(everything)
    assert len(everything) == sum(step.op == "Conv" for step in student.steps) - len(student.outputs)
