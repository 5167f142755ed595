# SPDX-License-Identifier: Apache-2.0
"""The Python binding: the library it loads, and an exception of a documented type for everything that goes wrong."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import yoloq
from yoloq import _native
from yoloq.errors import from_status

MakePackage = Callable[..., Path]
ERRORS = {
    1: (yoloq.InvalidArgument, ValueError),
    2: (yoloq.NotFound, FileNotFoundError),
    3: (yoloq.PackageError, RuntimeError),
    4: (yoloq.BackendError, RuntimeError),
    5: (yoloq.Timeout, TimeoutError),
    6: (yoloq.OutOfMemory, MemoryError),
    7: (yoloq.DeviceError, RuntimeError),
    8: (yoloq.InternalError, RuntimeError),
}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """uint8 [240, 320, 3] noise."""
    return np.random.default_rng(7).integers(0, 256, (240, 320, 3), np.uint8)


def test_version_is_the_projects(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert yoloq.version() == project["version"]


def test_declarations_come_from_the_header() -> None:
    assert _native.ffi.sizeof("yq_detection") == 32
    assert _native.lib.YQ_MAX_IMAGE_SIDE == 16384


@pytest.mark.parametrize("status", ERRORS)
def test_each_status_is_an_exception(status: int) -> None:
    kind, builtin = ERRORS[status]
    error = from_status(status, "what happened")
    assert type(error) is kind
    assert isinstance(error, yoloq.Error)
    assert isinstance(error, builtin)
    assert (error.status, str(error)) == (status, "what happened")
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), copied.status, str(copied)) == (kind, status, "what happened")


def test_status_of_a_newer_library_is_kept() -> None:
    error = from_status(99, "new")
    assert type(error) is yoloq.Error
    assert error.status == 99


def import_with(library: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "YOLOQ_LIBRARY": str(library)}
    command = [sys.executable, "-c", "import yoloq; yoloq.version()"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_missing_library_is_an_import_error(tmp_path: Path) -> None:
    run = import_with(tmp_path / "libyoloq.so")
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: YOLOQ_LIBRARY names ")
    assert "set it to the full path" in last


def test_library_that_is_not_ours_is_an_import_error(tmp_path: Path) -> None:
    wrong = tmp_path / "libyoloq.so"
    wrong.write_bytes(b"not a library")
    last = import_with(wrong).stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: cannot load the native library ")


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(yoloq.NotFound, match="nothing"):
        yoloq.Detector(tmp_path / "nothing.yoloq", backend="dummy")


def test_no_backend(dummy_package: Path) -> None:
    with pytest.raises(yoloq.NotFound, match="nosuch"):
        yoloq.Detector(dummy_package, backend="nosuch")


def test_altered_package(make_dummy_package: MakePackage) -> None:
    package = make_dummy_package()
    (package / "model.bin").write_bytes(b"altered")
    with pytest.raises(yoloq.PackageError, match=r"model\.bin"):
        yoloq.Detector(package, backend="dummy")


def test_failing_backend(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    package = make_dummy_package(options={"dummy.fail_every": "1"})
    with yoloq.Detector(package, backend="dummy") as failing, pytest.raises(yoloq.BackendError) as caught:
        failing.detect(picture)
    assert caught.value.status == 4


def test_lost_device_comes_back(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    package = make_dummy_package(options={"dummy.lose_every": "2"})
    with yoloq.Detector(package, backend="dummy") as losing:
        assert len(losing.detect(picture)) > 0
        with pytest.raises(yoloq.DeviceError):
            losing.detect(picture)
        assert len(losing.detect(picture)) > 0
        assert (losing.stats.device_lost, losing.stats.device_recovered) == (1, 1)


def test_timeout(make_dummy_package: MakePackage, picture: np.ndarray) -> None:
    package = make_dummy_package(options={"dummy.delay_ms": "400"})
    with yoloq.Detector(package, backend="dummy") as slow:
        with pytest.raises(yoloq.Timeout):
            slow.detect(picture, timeout_ms=20)
        assert slow.stats.timeouts == 1
        assert len(slow.detect(picture, timeout_ms=yoloq.TIMEOUT_NONE)) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hint": "fast"}, "hint"),
        ({"score_threshold": 0}, "score_threshold"),
        ({"score_threshold": float("nan")}, "score_threshold"),
        ({"iou_threshold": 1.5}, "iou_threshold"),
        ({"streams": 0}, "streams"),
        ({"streams": 65}, "streams"),
        ({"max_detections": -1}, "max_detections"),
        ({"timeout_ms": 2**32}, "timeout_ms"),
        ({"timeout_ms": 1.5}, "timeout_ms"),
        ({"backend": "a\0b"}, "NUL"),
    ],
)
def test_bad_options(dummy_package: Path, options: dict, words: str) -> None:
    with pytest.raises(yoloq.InvalidArgument, match=words):
        yoloq.Detector(dummy_package, **{"backend": "dummy", **options})


def test_closed_detector(dummy_package: Path, picture: np.ndarray) -> None:
    closed = yoloq.Detector(dummy_package, backend="dummy")
    closed.close()
    closed.close()
    for use in (lambda: closed.detect(picture), lambda: closed.detect_batch([picture]), lambda: closed.stats):
        with pytest.raises(yoloq.InvalidArgument, match="closed"):
            use()
    assert "closed" in repr(closed)
    assert closed.info.name == "dummy"


def test_forgotten_detector_is_freed(dummy_package: Path) -> None:
    forgotten = yoloq.Detector(dummy_package, backend="dummy")
    handle = forgotten._handle
    info = _native.sized("yq_info")
    assert _native.lib.yq_get_info(handle, info) == 0
    del forgotten
    gc.collect()
    assert _native.lib.yq_get_info(handle, info) == yoloq.InvalidArgument.status


def test_wheel_finds_openvino_wherever_it_is_installed(root: Path) -> None:
    library = Path(yoloq.__file__).parent / "lib" / "libyoloq_cpu.so"
    assert library.exists(), "install the wheel: python3 build.py build"
    content = library.read_bytes()
    assert b"$ORIGIN/../../openvino/libs" in content
    assert str(root).encode() not in content
