# SPDX-License-Identifier: Apache-2.0
"""The executor in PyTorch beside ONNX Runtime: operator by operator, other batches and sizes, the demo models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.model import load_model
from yoloq_quantize.passes import RemoveDead, Uint8Input, canonical_passes, run_passes
from yoloq_quantize.train.executor import Executor, write_back

CLOSE = 1e-5  # float32, sums of a few dozen products


def parsed(body: str, shape: str = "1,4,8,8", opset: int = 17, kind: str = "float") -> onnx.ModelProto:
    """A graph from x to y, in ONNX text; shapes inferred."""
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g ({kind}[{shape}] x) => (y) {body}'
    model = onnx.parser.parse_model(text)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def by_runtime(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def by_torch(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    executor = Executor(ir.from_proto(model))
    with torch.no_grad():
        found = executor(torch.from_numpy(x))
    return [found[name].numpy() for name in executor.outputs]


def noise(shape: str, seed: int = 0) -> np.ndarray:
    sides = [int(side) for side in shape.split(",")]
    return np.random.default_rng(seed).normal(0, 2, sides).astype(np.float32)


W = "<float[6,4,3,3] w = {" + ",".join(f"{(7 * i) % 23 / 23 - 0.5:.4f}" for i in range(216)) + "}>"
DEPTH = "<float[4,1,3,3] w = {" + ",".join(f"{(5 * i) % 17 / 17 - 0.4:.4f}" for i in range(36)) + "}>"
UP = "<float[4,3,2,2] w = {" + ",".join(f"{(5 * i) % 19 / 19 - 0.4:.4f}" for i in range(48)) + "}>"
OPERATORS = {
    "conv": f"{W} {{ y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w) }}",
    "conv, uneven pads": f"{W} {{ y = Conv<pads=[0,1,2,1]>(x, w) }}",
    "conv, same pads": f'{W} {{ y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w) }}',
    "conv, dilated": f"{W} {{ y = Conv<pads=[2,2,2,2], dilations=[2,2]>(x, w) }}",
    "conv, groups": f"{DEPTH} {{ y = Conv<pads=[1,1,1,1], group=4>(x, w) }}",
    "conv transposed": f"{UP} {{ y = ConvTranspose<strides=[2,2]>(x, w) }}",
    "conv transposed, pads": f"{UP} {{ y = ConvTranspose<strides=[2,2], pads=[1,0,0,1], output_padding=[1,0]>(x, w) }}",
    "silu": "{ s = Sigmoid(x) y = Mul(x, s) }",
    "hard swish": "{ y = HardSwish(x) }",
    "hard sigmoid": "{ y = HardSigmoid<alpha=0.3, beta=0.4>(x) }",
    "hard sigmoid, defaults": "{ y = HardSigmoid(x) }",
    "leaky relu": "{ y = LeakyRelu<alpha=0.2>(x) }",
    "leaky relu, default": "{ y = LeakyRelu(x) }",
    "relu": "{ y = Relu(x) }",
    "elu": "{ y = Elu<alpha=0.7>(x) }",
    "prelu": "<float[4,1,1] a = {0.1,0.2,0.3,0.4}> { y = PRelu(x, a) }",
    "clip": "<float low = {-1}, float high = {1.5}> { y = Clip(x, low, high) }",
    "clip above": "<float high = {1.5}> { y = Clip(x, , high) }",
    "tanh softplus": "{ a = Softplus(x) y = Tanh(a) }",
    "mish": "{ y = Mish(x) }",
    "gelu": "{ y = Gelu(x) }",
    "gelu, tanh": '{ y = Gelu<approximate="tanh">(x) }',
    "arithmetic": "<float[4,1,1] a = {1,2,3,4}> { b = Add(x, a) c = Sub(x, a) d = Div(b, a) y = Mul(c, d) }",
    "powers": "<float two = {2}> { a = Pow(x, two) b = Sqrt(a) c = Neg(b) y = Exp(c) }",
    "extremes": "<float a = {0.5}> { b = Max(x, a) y = Min(b, a, x) }",
    "split": "<int64[2] s = {1,3}> { a, b = Split<axis=1>(x, s) y = Concat<axis=1>(b, a) }",
    "split, even": "{ a, b = Split<axis=1, num_outputs=2>(x) y = Sub(b, a) }",
    "slice": "<int64[2] s = {1,2}, int64[2] e = {-1,100}, int64[2] d = {1,3}, int64[2] t = {1,2}>"
    " { y = Slice(x, s, e, d, t) }",
    "slice backwards": "<int64[1] s = {-1}, int64[1] e = {-100}, int64[1] d = {2}, int64[1] t = {-2}>"
    " { y = Slice(x, s, e, d, t) }",
    "max pool": "{ y = MaxPool<kernel_shape=[5,5], pads=[2,2,2,2]>(x) }",
    "max pool, ceil": "{ y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x) }",
    "max pool, uneven": "{ y = MaxPool<kernel_shape=[2,2], pads=[0,0,1,1]>(x) }",
    "average pool": "{ y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x) }",
    "average pool, with pads": "{ y = AveragePool<kernel_shape=[3,3], pads=[1,0,1,0], count_include_pad=1>(x) }",
    "global pools": "{ a = GlobalAveragePool(x) b = GlobalMaxPool(x) y = Sub(a, b) }",
    "nearest": '<float[4] s = {1,1,2,2}> { y = Resize<mode="nearest", nearest_mode="floor",'
    ' coordinate_transformation_mode="asymmetric">(x, , s) }',
    "nearest, sizes": '<int64[4] s = {1,4,12,20}> { y = Resize<mode="nearest">(x, , , s) }',
    "linear": '<float[4] s = {1,1,2,2}> { y = Resize<mode="linear">(x, , s) }',
    "linear, corners": '<int64[4] s = {1,4,15,15}> { y = Resize<mode="linear",'
    ' coordinate_transformation_mode="align_corners">(x, , , s) }',
    "reshape": "<int64[3] s = {0,2,-1}> { y = Reshape(x, s) }",
    "transpose": "{ y = Transpose<perm=[0,2,3,1]>(x) }",
    "flatten": "{ y = Flatten(x) }",
    "squeeze": "<int64[1] a = {0}> { b = Squeeze(x, a) y = Unsqueeze(b, a) }",
    "matmul": "{ t = Transpose<perm=[0,1,3,2]>(x) a = MatMul(x, t) y = Softmax<axis=-1>(a) }",
    "means": "{ y = ReduceMean<axes=[2,3], keepdims=0>(x) }",
    "sums": "<int64[1] a = {1}> { y = ReduceSum(x, a) }",
    "batch norm": "<float[4] s = {1,2,3,4}, float[4] b = {0,1,0,1}, float[4] m = {0.1,0.2,0.3,0.4},"
    " float[4] v = {1,0.5,2,3}> { y = BatchNormalization(x, s, b, m, v) }",
    "layer norm": "<float[8] s = {1,2,3,4,5,6,7,8}> { y = LayerNormalization<axis=-1>(x, s) }",
    "casts": "{ a = Cast<to=6>(x) y = Cast<to=1>(a) }",
    "pads": "<int64[8] p = {0,0,1,2,0,0,3,0}, float v = {1.5}> { y = Pad(x, p, v) }",
    "depth to space": "{ a = DepthToSpace<blocksize=2>(x) b = SpaceToDepth<blocksize=2>(a) y = Mul(x, b) }",
    "gather": "<int64[2] i = {3,-4}> { y = Gather<axis=1>(x, i) }",
    "quantised": "<float s = {0.03}, uint8 z = {9}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
    "quantised per channel": "<float[4] s = {0.1,0.02,0.3,0.04}, int8[4] z = {0,1,-2,3}>"
    " { q = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(q, s, z) }",
    "pool of integers": "<float s = {0.03}, uint8 z = {128}> { q = QuantizeLinear(x, s, z)"
    " p = MaxPool<kernel_shape=[3,3]>(q) y = DequantizeLinear(p, s, z) }",
}
NEWER = {"gelu": 20, "gelu, tanh": 20, "split, even": 18, "mish": 18}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_gives_what_onnx_runtime_gives(name: str) -> None:
    model = parsed(OPERATORS[name], opset=NEWER.get(name, 17))
    x = noise("1,4,8,8")
    for found, wanted in zip(by_torch(model, x), by_runtime(model, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=CLOSE, atol=CLOSE)


def test_gemm() -> None:
    body = "<float[3,4] w = {1,2,3,4,5,6,7,8,9,1,2,3}, float[3] b = {1,2,3}> { y = Gemm<transB=1, alpha=0.5>(x, w, b) }"
    model, x = parsed(body, "2,4"), noise("2,4")
    np.testing.assert_allclose(by_torch(model, x)[0], by_runtime(model, x)[0], rtol=CLOSE, atol=CLOSE)


def test_integers_of_four_bits() -> None:
    body = "<float s = {0.4}, int4 z = {1}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    model, x = parsed(body, opset=21), noise("1,4,8,8")
    wanted = (np.clip(np.rint(x / np.float32(0.4)) + 1, -8, 7) - 1) * np.float32(0.4)
    np.testing.assert_allclose(by_torch(model, x)[0], wanted, rtol=CLOSE, atol=CLOSE)


def attention(side: int) -> onnx.ModelProto:
    """Pictures, a convolution of stride 4, attention with two heads over all cells, and back to a grid."""
    cells = (side // 4) ** 2
    rng = np.random.default_rng(3)
    shapes = {"heads": [1, 2, 12, cells], "grid": [1, 8, side // 4, side // 4]}
    constants = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    constants.append(numpy_helper.from_array(np.array([2, 2, 8], np.int64), "parts"))
    constants.append(numpy_helper.from_array(np.float32(1 / 64), "scale"))
    constants.append(numpy_helper.from_array(np.uint8(0), "zero"))
    weights = rng.normal(0, 0.3, (24, 3, 4, 4)).astype(np.float32)
    constants.append(numpy_helper.from_array(weights, "w"))
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["real"]),
        helper.make_node("Transpose", ["real"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w"], ["qkv"], strides=[4, 4]),
        helper.make_node("Reshape", ["qkv", "heads"], ["split"]),
        helper.make_node("Split", ["split", "parts"], ["q", "k", "v"], axis=2),
        helper.make_node("Transpose", ["q"], ["qt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["qt", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("Transpose", ["shares"], ["back"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["v", "back"], ["mixed"]),
        helper.make_node("Split", ["mixed"], ["up", "down"], axis=2),
        helper.make_node("Concat", ["down", "up"], ["joined"], axis=2),
        helper.make_node("Reshape", ["joined", "wide"], ["y"]),
    ]
    constants.append(numpy_helper.from_array(np.array([1, 16, side // 4, side // 4], np.int64), "wide"))
    made = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, side, side, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


@pytest.mark.parametrize("side", [16, 32, 24])
def test_fixed_shapes_follow_batch_and_size(side: int) -> None:
    """The executor of the graph for 32 x 32 pixels, fed with three pictures of another size at once."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    executor = Executor(ir.from_proto(attention(32)))
    with torch.no_grad():
        found = executor(torch.from_numpy(pictures))["y"].numpy()
    wanted = np.concatenate([by_runtime(attention(side), picture[None])[0] for picture in pictures])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_runs_from_inner_value_to_inner_value() -> None:
    executor = Executor(ir.from_proto(attention(32)))
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        whole = executor(pictures, keep=["qkv", "joined"])
        part = executor.run({"qkv": whole["qkv"]}, ["joined"])
    assert torch.equal(part["joined"], whole["joined"])
    assert [step.op for step in executor.between(["qkv"], ("split",))] == ["Reshape"]
    with pytest.raises(QuantizeError, match="'x' cannot be computed from elsewhere"):
        executor.run({"elsewhere": pictures}, ["y"])


def test_an_operator_that_is_not_known_is_named() -> None:
    model = ir.from_proto(parsed("<int64 k = {1}> { v, y = TopK(x, k) }"))
    next(iter(model.graph)).name = "best"
    with pytest.raises(QuantizeError, match="TopK 'best' cannot be trained through"):
        Executor(model)


def test_a_form_that_is_not_known_is_named() -> None:
    model = parsed('<float[4] s = {1,1,2,2}> { y = Resize<mode="cubic">(x, , s) }')
    with pytest.raises(QuantizeError, match=r"Resize .* has mode cubic"):
        by_torch(model, noise("1,4,8,8"))


def test_gradients_reach_weights_and_trained_weights_go_back() -> None:
    model = ir.from_proto(attention(32))
    before = model.graph.initializers["w"].const_value.numpy().copy()
    executor = Executor(model)
    assert [parameter.shape for parameter in executor.parameters()] == [(24, 3, 4, 4)]
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    executor(pictures)["y"].square().mean().backward()
    weight = executor.constant("w")
    assert weight.grad.abs().sum() > 0
    with torch.no_grad():
        weight += 0.25
    changed = write_back(executor, model)
    np.testing.assert_array_equal(changed.graph.initializers["w"].const_value.numpy(), before + np.float32(0.25))
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), before)


@pytest.mark.parametrize("form", ["e2e", "dense"])
def test_demo_model_up_to_the_box_tensors(root: Path, form: str) -> None:
    """The real graph up to its last convolution over the smallest grid, which everything leads to, at 160 pixels."""
    source = load_model(root / "models" / f"fasteners-yolo26n-{form}.onnx").model
    model = run_passes(source, *canonical_passes(640, 640))
    last = [node for node in model.graph if node.op_type == "Conv" and node.outputs[0].shape[2] == 20][-1]
    model.graph.outputs[:] = last.outputs
    model = run_passes(model, RemoveDead(), Uint8Input(1 / 255))
    picture = np.random.default_rng(0).integers(0, 256, (1, 640, 640, 3), dtype=np.uint8)
    proto = ir.to_proto(model)
    np.testing.assert_allclose(by_torch(proto, picture)[0], by_runtime(proto, picture)[0], atol=1e-4)


def test_torch_is_not_needed_elsewhere() -> None:
    """Without the extra `train` the command and every step but the learned ones work."""
    code = "import sys; sys.modules['torch'] = None; import yoloq_quantize.cli, yoloq_quantize.pipeline"
    subprocess.run([sys.executable, "-c", code], check=True)
