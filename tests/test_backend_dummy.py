# SPDX-License-Identifier: Apache-2.0
"""The dummy backend: the contract, its heads through the real decode and NMS, and its failures on demand."""

from __future__ import annotations

import ctypes
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend_contract import (
    EBACKEND,
    EDEVICE,
    EINVAL,
    EPACKAGE,
    ETIMEOUT,
    BackendContract,
    Case,
    Module,
    Session,
    Tensor,
    ffi,
    pictures,
    refused,
    same,
)
from head_factory import STRUCTURES, Structure, make_head
from native_decode import NativeDecoder, nms

CANDIDATES = 256


@pytest.fixture(scope="module")
def module_path(build_dir: Path) -> Path:
    path = build_dir / "lib" / "libyoloq_dummy.so"
    assert path.exists(), f"{path} is missing: run python3 build.py build"
    return path


@pytest.fixture(scope="module")
def module(module_path: Path) -> Module:
    return Module(module_path)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    artifact = tmp_path_factory.mktemp("dummy") / "model.bin"
    artifact.write_bytes(b"anything")
    outputs = []
    for level, side in enumerate((20, 10, 5)):
        outputs.append(Tensor(f"box_{level}", (1, 4, side, side), "box", level=level))
        outputs.append(Tensor(f"score_{level}", (1, 5, side, side), "score", level=level))
    return Case(artifact, Tensor("images_u8", (1, 160, 160, 3), "input", "uint8"), tuple(outputs))


@pytest.fixture(scope="module")
def slow_case(case: Case) -> Case:
    return with_options(case, delay_ms=60)


def with_options(case: Case, **options: object) -> Case:
    return replace(case, options={f"dummy.{key}": str(value) for key, value in options.items()})


class TestContract(BackendContract):
    name, targets, unknown_option = "dummy", "*", "dummy.no_such_option"


# ---------------------------------------------------------------------------------------------------------------- heads


def tensors_of(head: object) -> tuple[Tensor, ...]:
    """A test head's tensors as the core describes them to a backend."""
    described = []
    for index, tensor in enumerate(head.tensors):
        place = next(output for output in head.outputs if output.tensor == index)
        part = (tensor.dtype, place.level, tensor.scale, tensor.zero_point)
        described.append(Tensor(tensor.name, tuple(tensor.shape), place.role, *part))
    return tuple(described)


def overlapping(found: np.ndarray, library: ctypes.CDLL) -> int:
    """How many candidates the real NMS suppresses at IoU 0.7."""
    return len(found) - len(nms(library, found, 0.7, len(found)))


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.name)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_decoder_finds_overlapping_candidates(
    module: Module, case: Case, testing_library: str, structure: Structure, dtype: str
) -> None:
    library = ctypes.CDLL(testing_library)
    dense = structure.box in ("cxcywh", "xyxy")
    head, _ = make_head(structure, dtype=dtype, layout="channels_cells" if dense else "nchw", size=(320, 256))
    image = Tensor("images_u8", (2, 256, 320, 3), "input", "uint8")
    with module.session(replace(case, input=image, outputs=tensors_of(head))) as session:
        arrays = session.run(pictures(session.case, 1))
    for picture in range(2):
        found = NativeDecoder(library, head, 100000).run(arrays, picture)
        assert len(found) >= 200
        assert overlapping(found, library) >= 20
        assert np.all(found["x2"] > found["x1"]) and np.all(found["y2"] > found["y1"])


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "channels_cells", "cells_channels"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_layouts_and_integers(module: Module, case: Case, testing_library: str, layout: str, dtype: str) -> None:
    head, _ = make_head(STRUCTURES[0], dtype=dtype, layout=layout, size=(320, 256))
    image = Tensor("images_u8", (2, 256, 320, 3), "input", "uint8")
    with module.session(replace(case, input=image, outputs=tensors_of(head))) as session:
        arrays = session.run(pictures(session.case, 1))
    found = NativeDecoder(ctypes.CDLL(testing_library), head, 100000).run(arrays, 1)
    assert len(found) == CANDIDATES


def test_end2end_rows(module: Module, case: Case) -> None:
    rows = replace(case, outputs=(Tensor("boxes", (1, 300, 6), "end2end"),))
    with module.session(rows) as session:
        (found,) = session.run(pictures(rows, 1))
    x1, y1, x2, y2, score, label = found[0].T
    assert np.count_nonzero(score > 0.25) == CANDIDATES
    assert np.all(np.diff(score) <= 0) and np.all(label == 0)
    real = score > 0
    assert np.all((x1 >= 0) & (x2 <= 160) & (y1 >= 0) & (y2 <= 160))
    assert np.all(x2[real] > x1[real]) and np.all(y2[real] > y1[real])


@pytest.mark.parametrize("wanted", [0, 1, 7, 1000])
def test_number_of_candidates(module: Module, case: Case, wanted: int) -> None:
    with module.session(with_options(case, candidates=wanted)) as session:
        outputs = session.run(pictures(case, 1))
    assert sum(int(np.sum(score > 0)) for score in outputs[1::2]) == wanted


def test_half_floats_hold_the_same_values(module: Module, case: Case) -> None:
    halves = replace(case, outputs=tuple(replace(tensor, dtype="float16") for tensor in case.outputs))
    with module.session(case) as full, module.session(halves) as half:
        for a, b in zip(full.run(pictures(case, 1)), half.run(pictures(case, 1)), strict=True):
            assert np.array_equal(a.astype(np.float16), b)


def test_every_byte_sampled_counts(module: Module, case: Case) -> None:
    pixels = pictures(case, 1)
    with module.session(case) as session:
        first = session.run(pixels)
        pixels[0, -1, -1, -1] ^= 1
        assert not same(session.run(pixels), first)
        pixels[0, -1, -1, -1] ^= 1
        pixels[0, 0, 0, 0] ^= 1
        assert not same(session.run(pixels), first)


def test_pictures_of_a_batch_are_apart(module: Module, case: Case) -> None:
    outputs = tuple(replace(tensor, shape=(3, *tensor.shape[1:])) for tensor in case.outputs)
    batch = replace(case, input=replace(case.input, shape=(3, 160, 160, 3)), outputs=outputs)
    pixels = pictures(batch, 1)
    with module.session(batch) as session, module.session(case) as single:
        whole = session.run(pixels)
        for picture in range(3):
            alone = single.run(pixels[picture : picture + 1])
            assert same([tensor[picture : picture + 1] for tensor in whole], alone)
        session.input()[:] = pictures(batch, 2)
        session.submit(0, 1)  # only the first picture: the others' results stay
        session.wait()
        assert session.output(1)[1:].tobytes() == whole[1][1:].tobytes()
        assert session.output(1)[:1].tobytes() != whole[1][:1].tobytes()


# ------------------------------------------------------------------------------------------------------ times, failures


def test_delay(module: Module, case: Case) -> None:
    with module.session(with_options(case, delay_ms=50)) as session:
        begin = time.monotonic()
        session.submit()
        refused(ETIMEOUT, session.wait, 0, 10_000)
        assert 0.009 < time.monotonic() - begin < 0.045
        session.wait()
        assert time.monotonic() - begin >= 0.049


def test_input_is_read_at_the_end(module: Module, case: Case) -> None:
    with module.session(case) as session:
        expected = session.run(pictures(case, 2))
    with module.session(with_options(case, delay_ms=50)) as session:
        session.input()[:] = pictures(case, 1)
        session.submit()
        session.input()[:] = pictures(case, 2)  # what a host must not do; the dummy shows it
        session.wait()
        assert same([session.output(index) for index in range(6)], expected)


def test_hangs_every_third(module: Module, case: Case) -> None:
    with module.session(with_options(case, hang_every=3, hang_ms=150)) as session:
        for _ in range(2):
            for hangs in (False, False, True):
                begin = time.monotonic()
                session.submit()
                session.wait()
                assert (time.monotonic() - begin >= 0.149) == hangs


def test_destroy_does_not_sit_out_a_delay(module: Module, case: Case) -> None:
    session = Session(module, with_options(case, delay_ms=3_600_000))
    session.submit()
    begin = time.monotonic()
    session.close()
    assert time.monotonic() - begin < 1


def test_fails_every_third(module: Module, case: Case) -> None:
    with module.session(with_options(case, fail_every=3)) as session:
        for number in range(1, 8):
            session.submit()
            if number % 3:
                session.wait()
            else:
                refused(EBACKEND, session.wait)
                refused(EINVAL, session.output, 0)


def lose(session: Session, most: int) -> int:
    """Runs requests until the device is lost; returns how many that took, the losing one included."""
    for number in range(1, most + 1):
        session.submit()
        try:
            session.wait()
        except Exception as error:
            assert getattr(error, "status", None) == EDEVICE, error
            return number
    pytest.fail(f"{most} requests and the device is still there")


def test_loses_every_fifth_over_all_sessions(module: Module, case: Case) -> None:
    losing = with_options(case, lose_every=5)
    with module.session(losing) as session:
        lose(session, 5)  # whatever other tests have counted before
    with module.session(losing) as session:
        for _ in range(3):
            session.run(pictures(case, 1))
    with module.session(replace(losing, slots=2)) as session:
        session.run(pictures(case, 1), 1)
        assert lose(session, 5) == 1
        for slot in range(2):
            for call in (session.input, session.submit, session.wait):
                refused(EDEVICE, call, slot)
        refused(EDEVICE, session.output, 0)
        refused(EDEVICE, module.call, "health", session.handle, ffi.new("yqb_health *"))


def test_loss_ends_waits_of_other_slots(module: Module, case: Case) -> None:
    slow = replace(with_options(case, lose_every=1, delay_ms=100), slots=2)
    with module.session(slow) as session:
        session.submit(0)
        time.sleep(0.05)
        session.submit(1)
        begin = time.monotonic()
        refused(EDEVICE, session.wait, 1)
        assert time.monotonic() - begin < 0.09


def test_creation_fails_twice(module: Module, case: Case) -> None:
    failing = with_options(case, fail_create=2)
    for _ in range(2):
        refused(EDEVICE, Session, module, failing)
        refused(EDEVICE, Session, module, failing)
        with module.session(failing) as session:
            session.run(pictures(case, 1))


def test_recovery_fails_twice(module: Module, case: Case) -> None:
    losing = with_options(case, lose_every=1, fail_recreate=2)
    with module.session(losing) as session:
        lose(session, 1)
    refused(EDEVICE, Session, module, losing)
    refused(EDEVICE, Session, module, losing)
    Session(module, losing).close()


@pytest.mark.parametrize(
    "option", [{"delay_ms": "x"}, {"delay_ms": "-1"}, {"delay_ms": ""}, {"lose_every": "0"}, {"candidates": "1e3"}]
)
def test_bad_options(module: Module, case: Case, option: dict[str, str]) -> None:
    assert next(iter(option)) in refused(EINVAL, Session, module, with_options(case, **option))


def test_bad_end2end(module: Module, case: Case) -> None:
    wrong = replace(case, outputs=(Tensor("boxes", (1, 300, 7), "end2end"),))
    refused(EPACKAGE, Session, module, wrong)


def test_health(module: Module, case: Case) -> None:
    def read(case: Case) -> tuple[float, float, float, int, int]:
        health = ffi.new("yqb_health *", {"size": ffi.sizeof("yqb_health")})
        with module.session(case) as session:
            module.call("health", session.handle, health)
        floats = (health.temperature_c, health.power_w, health.utilization_percent)
        return (*floats, health.memory_used, health.memory_total)

    unknown = read(case)
    assert all(math.isnan(value) for value in unknown[:3]) and unknown[3:] == (2**64 - 1, 2**64 - 1)
    known = with_options(case, temperature_c=61, power_w=8, utilization_percent=40, memory_used=5, memory_total=9)
    assert read(known) == (61.0, 8.0, 40.0, 5, 9)
