# SPDX-License-Identifier: Apache-2.0
"""Step `calibrate`: what values the activations take, streamed over pictures in one pass of bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.observers import ChannelObserver, ChannelStats, GroupObserver, Histogram, Range

__all__ = ["Calibration", "ChannelStats", "Histogram", "Range", "calibrate"]

CHUNK_BYTES = 256 << 20  # activations of one run; two runs' are held at once


@dataclass(frozen=True)
class Calibration:
    """`ranges`: one per group, in the groups' order. `pictures`: how many were read. `channels`: by value name, for
    the values that were asked for."""

    ranges: tuple[Range, ...]
    pictures: int
    channels: dict[str, ChannelStats] = field(default_factory=dict)


def calibrate(
    model: ir.Model,
    groups: tuple[tuple[str, ...], ...],
    pictures: Iterable[np.ndarray],
    bins: int,
    progress: Callable[[Iterable, str], Iterable] = lambda items, _: items,
    *,
    channels: Iterable[str] = (),
) -> Calibration:
    """Observes the values of every group over `pictures`: uint8 [1, h, w, 3]. `bins` is even.

    `progress(items, what)` wraps the iteration, for a bar. `channels`: names of values, in groups or not, whose
    channels (axis 1) are observed one by one.
    """
    group_of = {name: index for index, names in enumerate(groups) for name in names}
    observers = [GroupObserver(bins) for _ in groups]
    shapes = _shapes(model, [*group_of, *channels])
    of_channels = {name: ChannelObserver(_channel_count(name, shapes[name])) for name in channels}
    runners = [_Runner(model, {name: shapes[name] for name in names}) for names in _chunks(shapes)]
    count = 0
    for last, values in _run_ahead(runners, progress(pictures, "calibrating")):
        for name, array in values.items():
            finite = observers[group_of[name]].add(array) if name in group_of else True
            if name in of_channels:
                finite = of_channels[name].add(array) and finite
            if not finite:
                raise QuantizeError(f"the model computes NaN or infinity at {name!r}; it cannot be quantised")
        if last:
            count += 1
            for observer in observers:
                observer.end_picture()
    if not count:
        raise QuantizeError("no calibration pictures")
    stats = {name: observer.stats() for name, observer in of_channels.items()}
    return Calibration(tuple(observer.range() for observer in observers), count, stats)


def _shapes(model: ir.Model, names: list[str]) -> dict[str, tuple[int, ...]]:
    values = ir.convenience.create_value_mapping(model.graph)
    missing = [name for name in names if name not in values]
    if missing:
        raise QuantizeError(f"{missing[0]!r} is not a value of the model")
    return {name: tuple(int(side) for side in values[name].shape) for name in names}


def _channel_count(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) < 2:
        raise QuantizeError(f"{name!r} of shape {list(shape)} has no channels (axis 1)")
    return shape[1]


def _bytes(shape: tuple[int, ...]) -> int:
    return 4 * int(np.prod(shape, dtype=np.int64))


def _chunks(shapes: dict[str, tuple[int, ...]]) -> list[list[str]]:
    """Splits the values so that no run holds more than CHUNK_BYTES of them, except for a single larger one."""
    chunks: list[list[str]] = []
    held = CHUNK_BYTES
    for name, shape in shapes.items():
        if held + _bytes(shape) > CHUNK_BYTES:
            chunks.append([])
            held = 0
        chunks[-1].append(name)
        held += _bytes(shape)
    return chunks


class _Runner:
    """The model with some inner values as its outputs, written to memory that the caller owns."""

    def __init__(self, model: ir.Model, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.bytes = sum(map(_bytes, shapes.values()))
        proto = ir.to_proto(model)
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in shapes)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = max(1, (os.cpu_count() or 2) - 1)  # one core counts while the others compute
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def run(self, picture: np.ndarray, memory: np.ndarray) -> dict[str, np.ndarray]:
        """The values by name: float32 views of `memory`, which is flat float32."""
        binding = self.session.io_binding()
        binding.bind_cpu_input(self.input, picture)
        values, start = {}, 0
        for name, shape in self.shapes.items():
            end = start + _bytes(shape) // 4
            values[name] = memory[start:end].reshape(shape)
            binding.bind_output(name, "cpu", 0, np.float32, shape, values[name].ctypes.data)
            start = end
        self.session.run_with_iobinding(binding)
        return values


def _run_ahead(runners: list[_Runner], pictures: Iterable[np.ndarray]) -> Iterator[tuple[bool, dict[str, np.ndarray]]]:
    """Each runner's values for each picture, and whether they are the picture's last. One run is under way while the
    caller works on the one before, in two memories by turns: values live until the next are asked for."""
    if not runners:
        yield from ((True, {}) for _ in pictures)
        return
    size = max(runner.bytes for runner in runners) // 4
    memories = [np.empty(size, np.float32) for _ in range(2)]
    waiting: tuple[bool, Future] | None = None
    with ThreadPoolExecutor(1) as pool:
        for picture in pictures:
            for runner in runners:
                run = pool.submit(runner.run, picture, memories[0])
                memories.reverse()
                if waiting:
                    yield waiting[0], waiting[1].result()
                waiting = runner is runners[-1], run
        if waiting:
            yield waiting[0], waiting[1].result()
