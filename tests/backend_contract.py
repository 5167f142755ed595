# SPDX-License-Identifier: Apache-2.0
"""The contract of include/yoloq_backend.h as tests that every backend module passes, driven through its table.

Subclass BackendContract for a backend, ArtifactContract for one that looks into its artefact.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cffi
import numpy as np
import pytest

HEADER = Path(__file__).resolve().parent.parent / "include" / "yoloq_backend.h"
OK, EINVAL, ENOTFOUND, EPACKAGE, EBACKEND, ETIMEOUT, ENOMEM, EDEVICE = range(8)
ROLES = {"input": 0, "box": 1, "score": 2, "objectness": 3, "combined": 4, "end2end": 5}
DTYPES = {"uint8": 1, "int8": 2, "float16": 3, "float32": 4}
REQUIRED = ["sdk_version", "probe", "session_create", "session_destroy", "session_input", "submit", "wait", "output"]
FOREVER = -1


def declarations(header: Path) -> str:
    """The header's C without preprocessor lines, comments and decorations: what cffi reads."""
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", header.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    entry = "const yqb_api *yq_backend_entry(uint32_t core_version);"
    return text.replace("YQB_CALL", "") + entry


ffi = cffi.FFI()
ffi.cdef(declarations(HEADER))


class BackendError(Exception):
    """A call of the table failed."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


@dataclass(frozen=True)
class Tensor:
    """A tensor as a package describes it; shape with the batch first."""

    name: str
    shape: tuple[int, ...]
    role: str
    dtype: str = "float32"
    level: int = 0
    scale: float = 0.0
    zero_point: int = 0

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Case:
    """A model for a backend: what session_create is given."""

    artifact: Path
    input: Tensor
    outputs: tuple[Tensor, ...]
    options: dict[str, str] = field(default_factory=dict)
    slots: int = 1
    device: str = "0"
    cache_dir: Path | None = None
    hint: int = 0

    @property
    def batch(self) -> int:
        return self.input.shape[0]

    def with_output(self, index: int, **changes: object) -> Case:
        outputs = list(self.outputs)
        outputs[index] = replace(outputs[index], **changes)
        return replace(self, outputs=tuple(outputs))


class Module:
    """A loaded backend module."""

    def __init__(self, path: Path) -> None:
        self.library = ffi.dlopen(str(path))
        self.api = self.library.yq_backend_entry(1)
        assert self.api != ffi.NULL, f"{path} refuses version 1 of the contract"

    def call(self, name: str, *arguments: object) -> None:
        """Calls an entry that reports errors; raises BackendError, after checking the text's form."""
        error = ffi.new("yqb_error *")
        ffi.buffer(error)[:] = b"\xff" * ffi.sizeof("yqb_error")  # neither text nor terminator
        status = getattr(self.api, name)(*arguments, error)
        if status == OK:
            return
        assert EINVAL <= status <= EDEVICE, f"{name} returned {status}, which is no yqb_status"
        raw = bytes(ffi.buffer(error))
        assert b"\0" in raw, f"the error of {name} has no terminator"
        text = raw.partition(b"\0")[0].decode("utf-8")
        assert text and text.isprintable(), f"the error of {name} is empty or not one line: {text!r}"
        raise BackendError(status, text)

    @contextmanager
    def session(self, case: Case) -> Iterator[Session]:
        session = Session(self, case)
        try:
            yield session
        finally:
            session.close()


class Session:
    """A session and its slots. log: (level, text) of the lines written so far."""

    def __init__(self, module: Module, case: Case) -> None:
        self.module, self.case = module, case
        self.log: list[tuple[int, str]] = []
        self._keep: list[object] = []  # alive while session_create runs
        self._log = ffi.callback(
            "void(void *, int32_t, const char *)",
            lambda _user, level, text: self.log.append((level, ffi.string(text).decode("utf-8"))),
        )
        out = ffi.new("yqb_session **", ffi.cast("yqb_session *", 1))
        try:
            module.call("session_create", self._config(), out)
        except BackendError:
            assert out[0] == ffi.NULL, "session_create failed and left a session"
            raise
        finally:
            for item in self._keep:  # everything is borrowed for the call only: nobody may read it later
                ffi.buffer(item)[:] = b"\xdd" * ffi.sizeof(ffi.typeof(item).item) * self._length(item)
        self.handle = out[0]

    @staticmethod
    def _length(item: object) -> int:
        return len(item) if ffi.typeof(item).kind == "array" else 1

    def _new(self, kind: str, value: object = None) -> object:
        made = ffi.new(kind, value)
        self._keep.append(made)
        return made

    def _text(self, text: object) -> object:
        return self._new("char[]", os.fsencode(text))

    def _tensors(self, tensors: tuple[Tensor, ...]) -> object:
        array = self._new("yqb_tensor[]", len(tensors))
        for item, tensor in zip(array, tensors, strict=True):
            item.name = self._text(tensor.name)
            item.dtype, item.role, item.level = DTYPES[tensor.dtype], ROLES[tensor.role], tensor.level
            item.scale, item.zero_point = tensor.scale, tensor.zero_point
            item.rank = len(tensor.shape)
            item.dims[0 : item.rank] = tensor.shape
        return array

    def _config(self) -> object:
        case = self.case
        config = self._new("yqb_config[]", 1)
        first = config[0]
        first.size = ffi.sizeof("yqb_config")
        first.artifact, first.package_dir = self._text(case.artifact), self._text(case.artifact.parent)
        first.device = self._text(case.device)
        first.cache_dir = self._text(case.cache_dir) if case.cache_dir else ffi.NULL
        first.slots, first.batch, first.hint = case.slots, case.batch, case.hint
        first.input, first.outputs = self._tensors((case.input,)), self._tensors(case.outputs)
        first.output_count, first.option_count = len(case.outputs), len(case.options)
        first.option_keys = self._new("const char *[]", [self._text(key) for key in case.options])
        first.option_values = self._new("const char *[]", [self._text(value) for value in case.options.values()])
        first.log, first.log_user = self._log, ffi.NULL
        return config

    def close(self) -> None:
        if self.handle:
            self.module.api.session_destroy(self.handle)
        self.handle = None

    def input(self, slot: int = 0) -> np.ndarray:
        """The slot's own input buffer, uint8, in the input's shape."""
        data, size = ffi.new("void **"), ffi.new("uint64_t *")
        self.module.call("session_input", self.handle, slot, data, size)
        assert size[0] == self.case.input.bytes
        return np.frombuffer(ffi.buffer(data[0], size[0]), np.uint8).reshape(self.case.input.shape)

    def submit(self, slot: int = 0, count: int | None = None) -> None:
        self.module.call("submit", self.handle, slot, self.case.batch if count is None else count)

    def wait(self, slot: int = 0, timeout_us: int = FOREVER) -> None:
        self.module.call("wait", self.handle, slot, timeout_us)

    def output(self, index: int, slot: int = 0) -> np.ndarray:
        """A copy of an output of the slot's finished request."""
        view = ffi.new("yqb_view *")
        self.module.call("output", self.handle, slot, index, view)
        tensor = self.case.outputs[index]
        assert view.bytes == tensor.bytes
        return np.frombuffer(ffi.buffer(view.data, view.bytes), tensor.dtype).reshape(tensor.shape).copy()

    def run(self, pixels: np.ndarray, slot: int = 0) -> list[np.ndarray]:
        self.input(slot)[:] = pixels
        self.submit(slot)
        self.wait(slot)
        return [self.output(index, slot) for index in range(len(self.case.outputs))]


def pictures(case: Case, seed: int) -> np.ndarray:
    """Smooth random pictures, uint8, in the input's shape."""
    rng = np.random.default_rng(seed)
    batch, height, width, channels = case.input.shape
    small = rng.integers(0, 256, (batch, 8, 8, channels), dtype=np.uint8)
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    return small[:, rows][:, :, columns]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def refused(status: int, call: object, *arguments: object) -> str:
    """Asserts that a call fails with `status`; returns its text."""
    with pytest.raises(BackendError) as failure:
        call(*arguments)
    assert failure.value.status == status, failure.value
    return failure.value.text


def process_counts() -> tuple[int, int]:
    """Threads and open files of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


class BackendContract:
    """What every backend does. A subclass gives the fixtures `module`, `case` (a small model) and `slow_case` (one
    whose request takes 20 ms or more), and the class attributes below.
    """

    name: str
    targets: str
    unknown_option: str
    lives: tuple[int, int] = (5, 30)  # sessions before the first count of threads and files, and until the second

    def test_table(self, module: Module) -> None:
        api = module.api
        assert (api.size, api.version) == (ffi.sizeof("yqb_api"), 1)
        assert ffi.string(api.name).decode() == self.name
        assert ffi.string(api.targets).decode() == self.targets
        assert [entry for entry in REQUIRED if not getattr(api, entry)] == []
        assert ffi.string(api.sdk_version()).decode().isprintable() and ffi.string(api.sdk_version()) != b""
        assert module.library.yq_backend_entry(2) == ffi.NULL

    def test_probe(self, module: Module) -> None:
        module.call("probe")

    def test_exports_only_its_entry(self, module_path: Path) -> None:
        command = ["nm", "-D", "--defined-only", str(module_path)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [line.split()[-1] for line in listed.splitlines()] == ["yq_backend_entry"]

    @pytest.mark.parametrize("device", ["1", "-1", "", "CPU", "0 "])
    def test_unknown_device(self, module: Module, case: Case, device: str) -> None:
        refused(EINVAL, Session, module, replace(case, device=device))

    def test_missing_artifact(self, module: Module, case: Case, tmp_path: Path) -> None:
        missing = tmp_path / "没有这个文件.onnx"
        text = refused(ENOTFOUND, Session, module, replace(case, artifact=missing))
        assert str(missing) in text

    def test_long_error_is_cut_at_a_character(self, module: Module, case: Case, tmp_path: Path) -> None:
        for lead in ("", "a", "ab"):
            missing = tmp_path / (lead + "螺" * 80) / ("母" * 80) / ("垫" * 80)
            refused(ENOTFOUND, Session, module, replace(case, artifact=missing))

    def test_options(self, module: Module, case: Case) -> None:
        for key in (self.unknown_option, f"{self.name}.no_such_option"):
            unknown = replace(case, options={**case.options, key: "1"})
            assert key in refused(EINVAL, Session, module, unknown)
        with module.session(replace(case, options={**case.options, "another_backend.key": "1"})):
            pass

    def test_inputs(self, module: Module, case: Case) -> None:
        with module.session(replace(case, slots=3)) as session:
            addresses = [session.input(slot).ctypes.data for slot in range(3)]
            assert all(address % 64 == 0 for address in addresses)
            order = sorted(addresses)
            assert all(b - a >= case.input.bytes for a, b in itertools.pairwise(order))
            for slot in range(3):
                session.run(pictures(case, slot), slot)
            assert [session.input(slot).ctypes.data for slot in range(3)] == addresses

    def test_repeats_in_every_slot(self, module: Module, case: Case) -> None:
        a, b = pictures(case, 1), pictures(case, 2)
        with module.session(replace(case, slots=2)) as session:
            first = session.run(a, 0)
            other = session.run(b, 0)
            assert not same(first, other), "two pictures give the same outputs"
            assert same(session.run(a, 1), first)
            assert same(session.run(b, 1), other)
            assert same(session.run(a, 0), first)
        with module.session(case) as session:
            assert same(session.run(a), first)

    def test_outputs_of_slots_are_apart(self, module: Module, case: Case) -> None:
        with module.session(replace(case, slots=2)) as session:
            first = session.run(pictures(case, 1), 0)
            session.run(pictures(case, 2), 1)
            assert same([session.output(index, 0) for index in range(len(case.outputs))], first)

    def test_wrong_order_of_calls(self, module: Module, case: Case) -> None:
        with module.session(case) as session:
            refused(EINVAL, session.wait, 0)
            refused(EINVAL, session.output, 0)
            refused(EINVAL, session.submit, 0, 0)
            refused(EINVAL, session.submit, 0, case.batch + 1)
            for call in (session.input, session.submit, session.wait):
                refused(EINVAL, call, 1)
            session.run(pictures(case, 1))
            refused(EINVAL, session.wait, 0)
            view = ffi.new("yqb_view *")
            refused(EINVAL, module.call, "output", session.handle, 0, len(case.outputs), view)
            session.run(pictures(case, 1))

    def test_submit_returns_and_wait_polls(self, module: Module, slow_case: Case) -> None:
        with module.session(slow_case) as session:
            session.run(pictures(slow_case, 1))
            begin = time.monotonic()
            session.submit()
            refused(ETIMEOUT, session.wait, 0, 0)
            polled = time.monotonic() - begin
            refused(ETIMEOUT, session.wait, 0, 1000)
            refused(EINVAL, session.submit)  # the slot is taken
            refused(EINVAL, session.output, 0)
            session.wait(0, 60_000_000)
            whole = time.monotonic() - begin
            assert polled < whole / 2, f"submit and a poll took {polled:.4f} of {whole:.4f} s"

    @pytest.mark.parametrize("timeout_us", [FOREVER, 2**63 - 1, 60_000_000])
    def test_long_waits(self, module: Module, slow_case: Case, timeout_us: int) -> None:
        with module.session(slow_case) as session:
            session.submit()
            session.wait(0, timeout_us)
            session.output(0)

    def test_slots_run_in_parallel_threads(self, module: Module, case: Case) -> None:
        slots, rounds = 4, 25
        with module.session(replace(case, slots=slots)) as session:
            expected = [session.run(pictures(case, seed), 0) for seed in range(3)]
            wrong: list[str] = []

            def work(slot: int) -> None:
                try:
                    for i in range(rounds):
                        seed = (slot + i) % 3
                        if not same(session.run(pictures(case, seed), slot), expected[seed]):
                            wrong.append(f"slot {slot}, round {i}")
                except BackendError as error:
                    wrong.append(str(error))

            threads = [threading.Thread(target=work, args=(slot,)) for slot in range(slots)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == []

    def test_destroy_while_a_request_runs(self, module: Module, slow_case: Case) -> None:
        for _ in range(self.lives[0]):
            with module.session(replace(slow_case, slots=2)) as session:
                session.submit(0)
                session.submit(1)
                refused(ETIMEOUT, session.wait, 1, 0)

    def test_create_and_destroy_leave_nothing(self, module: Module, case: Case) -> None:
        def cycles(count: int) -> tuple[int, int]:
            for seed in range(count):
                with module.session(replace(case, slots=2)) as session:
                    session.run(pictures(case, seed), seed % 2)
            time.sleep(0.2)  # threads that were told to end
            return process_counts()

        before, after = (cycles(count) for count in self.lives)
        assert after[0] <= before[0] + 2 and after[1] <= before[1] + 2, f"threads and files: {before} -> {after}"


class ArtifactContract(BackendContract):
    """For backends that look into their artefacts: the package must say what is inside."""

    def test_damaged_artifact(
        self, module: Module, case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        whole = case.artifact.read_bytes()
        damaged = tmp_path / f"损坏{case.artifact.suffix}"
        for data in (b"", whole[: len(whole) // 2], b"\0" * len(whole), b"no model\n\twhatever\x01\n" * 9):
            damaged.write_bytes(data)
            refused(EPACKAGE, Session, module, replace(case, artifact=damaged))
        assert capfd.readouterr() == ("", ""), "a module prints nothing"

    def test_artifact_in_a_chinese_folder(self, module: Module, case: Case, tmp_path: Path) -> None:
        moved = tmp_path / "紧固件 模型" / f"模型{case.artifact.suffix}"
        moved.parent.mkdir()
        moved.write_bytes(case.artifact.read_bytes())
        with module.session(case) as one, module.session(replace(case, artifact=moved)) as other:
            assert same(one.run(pictures(case, 1)), other.run(pictures(case, 1)))

    def test_wrong_outputs(self, module: Module, case: Case) -> None:
        assert "没有" in refused(EPACKAGE, Session, module, case.with_output(0, name="没有"))
        shape = case.outputs[0].shape
        for wrong in ((*shape[:-1], shape[-1] + 1), (*shape, 1), (shape[0] + 1, *shape[1:])):
            refused(EPACKAGE, Session, module, case.with_output(0, shape=wrong))
        refused(EPACKAGE, Session, module, case.with_output(0, dtype="int8"))

    def test_wrong_input(self, module: Module, case: Case) -> None:
        refused(EPACKAGE, Session, module, replace(case, input=replace(case.input, dtype="float32")))
        refused(EPACKAGE, Session, module, replace(case, input=replace(case.input, shape=case.input.shape[:3])))
