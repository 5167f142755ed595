# SPDX-License-Identifier: Apache-2.0
"""For the tests of passes: a model in ONNX text, before and after, run by ONNX Runtime on the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from yoloq_quantize.passes import UniqueNames, run_passes
from yoloq_quantize.passes.rewrite import infer_shapes


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def outputs(model: ir.Model, seed: int = 0) -> list[np.ndarray]:
    """What the model gives for random inputs, without ONNX Runtime's own optimiser."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(seed)
    feeds = {each.name: generator.normal(0, 3, each.shape).astype(np.float32) for each in session.get_inputs()}
    return session.run(None, feeds)


def same_numbers(model: ir.Model | str, *passes: ir.passes.PassBase, tolerance: float = 1e-5) -> ir.Model:
    """Runs the passes on the model, whose shapes are inferred first; asserts that its outputs stay what they were."""
    if isinstance(model, str):
        model = ir.from_onnx_text(model)
    run_passes(model, UniqueNames())
    infer_shapes(model)
    names = [value.name for value in model.graph.outputs]
    before = outputs(model)
    after = run_passes(model, *passes)
    assert [value.name for value in after.graph.outputs] == names
    for one, other in zip(before, outputs(after), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    assert np.ptp(before[0].astype(np.float64)) > 0  # a constant output would prove nothing
    return after


def with_weights(text: str, **arrays: np.ndarray) -> ir.Model:
    """The model with initializers put in: in the text they are inputs of the graph, by name."""
    model = ir.from_onnx_text(text)
    for name, array in arrays.items():
        value = next(value for value in model.graph.inputs if value.name == name)
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(np.asarray(array), name=name)
        model.graph.register_initializer(value)
    return model


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)
