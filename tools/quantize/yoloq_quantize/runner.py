# SPDX-License-Identifier: Apache-2.0
"""Runs a graph from bytes to raw tensors while a recipe looks for its numbers: OpenVINO, float32 where not INT8.

Without VNNI its integers saturate where weights are not kept small for it, as no chip's are: heads are half of their
deviation off then. Such graphs are run with `integers` off: with weights in float32 the engine leaves convolutions so.

The engine is fast and deterministic for a number of threads; accuracy for the report is measured by other means.
"""

from __future__ import annotations

import os

import numpy as np
import onnx_ir as ir
import openvino as ov

from yoloq_quantize.errors import QuantizeError


def thread_count() -> int:
    """Threads of a search: OMP_NUM_THREADS if it is set, else the cores that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else len(os.sched_getaffinity(0))


class Runner:
    """A compiled graph. Not for several threads at once."""

    def __init__(self, model: ir.Model, outputs: list[str] | None = None, integers: bool = True) -> None:
        """`outputs`: values to return instead of the graph's own outputs; inner values are fine. `integers`: whether
        pairs may be computed as such; else weights become float32 numbers."""
        if outputs is not None:
            model = with_outputs(model, outputs)
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": thread_count(), "NUM_STREAMS": 1}
        if not integers:
            model = _real_weights(model)
        try:
            graph = ov.Core().read_model(ir.to_proto(model).SerializeToString())
            self._compiled = ov.compile_model(graph, "CPU", config)
        except RuntimeError as error:
            raise QuantizeError(f"the engine refuses the graph: {str(error).strip().splitlines()[-1][:200]}") from error
        self.names = [value.name for value in model.graph.outputs]
        self._request = self._compiled.create_infer_request()

    def run(self, picture: np.ndarray, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """`picture`: uint8 [1, h, w, 3], the input `images_u8`; `inputs`: further ones. Copies, by output name."""
        return self.run_named({"images_u8": picture, **inputs}) if inputs else self._run([picture])

    def run_named(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `run`, for graphs without a picture: every input by name."""
        return self._run(inputs)

    def _run(self, inputs: dict[str, np.ndarray] | list[np.ndarray]) -> dict[str, np.ndarray]:
        self._request.infer(inputs)
        return {name: self._request.get_output_tensor(i).data.copy() for i, name in enumerate(self.names)}


def _real_weights(model: ir.Model) -> ir.Model:
    """A copy whose stored weights are float32 numbers: the same ones."""
    copy = model.clone()
    for node in list(copy.graph):
        if node.op_type != "DequantizeLinear" or any(value.const_value is None for value in node.inputs):
            continue
        stored, scale, *zero = (value.const_value.numpy() for value in node.inputs)
        sides = [1] * stored.ndim
        if scale.ndim:
            sides[node.attributes.get_int("axis", 1)] = -1
        whole = stored.astype(np.float32) - (zero[0].astype(np.float32).reshape(sides) if zero else 0)
        name = f"{node.outputs[0].name}/real"
        value = ir.val(name, const_value=ir.tensor(whole * scale.astype(np.float32).reshape(sides), name=name))
        copy.graph.register_initializer(value)
        node.outputs[0].replace_all_uses_with(value)
        copy.graph.remove(node)
    return copy


def with_outputs(model: ir.Model, names: list[str]) -> ir.Model:
    """A copy whose outputs are the named values, in that order."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    missing = [name for name in names if name not in values]
    if missing:
        raise QuantizeError(f"{missing[0]!r} is not in the graph")
    copy.graph.outputs[:] = [values[name] for name in names]
    return copy
