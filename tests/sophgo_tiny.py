# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/sophgo/tiny.bmodel with the product's own toolchain and Sophgo's compiler:

    PATH=$PWD/.venv/bin:$PATH PYTHONPATH=tests python tests/sophgo_tiny.py [FILE]

The network is tiny_model.py's, noise for weights; batch 1 and 4 are stages of one .bmodel, from one plan. The vendor's
kernel module is left out: nothing of the vendor's is committed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from tiny_model import CLASSES, tiny_onnx
from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.compile.sophgo import TpuMlir, compile_sophgo, without_time
from yoloq_quantize.head import Head, HeadOutput
from yoloq_quantize.params import find_params
from yoloq_quantize.passes import InsertQdq, UniqueNames, run_passes
from yoloq_quantize.place import place
from yoloq_quantize.scheme import load_target

SIDE, WIDTH, BATCHES = 64, 8, (1, 4)
TINY = Path(__file__).parent / "data" / "sophgo" / "tiny.bmodel"


def float_graph(side: int = SIDE, width: int = WIDTH) -> ir.Model:
    """From bytes to raw tensors, nodes named, shapes known."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(tiny_onnx(side, width)))
    return run_passes(ir.from_proto(model), UniqueNames())


def head_of(model: ir.Model) -> Head:
    outputs = []
    for value in model.graph.outputs:
        role, level = value.name.split("_")
        outputs.append(HeadOutput(value.name, value.name, role, int(level), tuple(map(int, value.shape))))
    return Head("ltrb", "logit", 1, False, True, (8, 16, 32), None, tuple(outputs), len(CLASSES), "tiny")


def pictures(count: int, side: int = SIDE) -> list[np.ndarray]:
    """Coloured squares on noise, uint8 [1, side, side, 3]."""
    found = []
    for index in range(count):
        rng = np.random.default_rng(index)
        picture = rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        for _ in range(3):
            x, y, size = (int(value) for value in rng.integers(0, side // 2, 3))
            picture[:, y : y + size + 8, x : x + size + 8] = rng.integers(0, 256, 3)
        found.append(picture)
    return found


def quantised(model: ir.Model, chip: str = "bm1688") -> ir.Model:
    """The QDQ graph of a float one, by the chip's scheme."""
    target = load_target(chip)
    placement = place(model, target.place, head_of(model))
    found = calibrate(model, placement.groups, pictures(8), target.activations.bins)
    params = find_params(model, placement, found, target)
    return run_passes(model.clone(), InsertQdq(placement, params, target.activations.dtype))


def with_batch(model: ir.Model, batch: int) -> bytes:
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return proto.SerializeToString()


def make(out: Path) -> None:
    """Writes the .bmodel, beside and renamed."""
    target, graph = load_target("bm1688"), quantised(float_graph())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for batch in BATCHES:
            made = compile_sophgo(
                with_batch(graph, batch), target, folder / "log", lambda items, _: items, kernel=False
            )
            (folder / f"{batch}.bmodel").write_bytes(made.artifact)
        stages = [f"{batch}.bmodel" for batch in BATCHES]
        TpuMlir.ready(folder / "log").model_tool("--combine", *stages, "-o", "tiny.bmodel", folder=folder)
        beside = out.with_name(f".{out.name}")
        beside.write_bytes(without_time((folder / "tiny.bmodel").read_bytes()))
        beside.rename(out)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY)
