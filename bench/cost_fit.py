# SPDX-License-Identifier: Apache-2.0
"""Fits the rates of a target's table [cost] to OpenVINO's own times of each node, and prints the table.

    python bench/cost_fit.py models/*.onnx --calib datasets/fasteners/images/calib

Each model runs in float32 and in INT8 on one thread with PERF_COUNT; a node's time is its least over the rounds, which
other processes can only lengthen. Non-negative least squares of relative errors: a millisecond's node counts no more
than a microsecond's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx_ir as ir
import openvino as ov

from yoloq_quantize.calibrate import calibrate
from yoloq_quantize.dataset import list_images
from yoloq_quantize.mixed.cost import RATES, CostModel, Features
from yoloq_quantize.mixed.plans import widest
from yoloq_quantize.model import load_model
from yoloq_quantize.params import find_params
from yoloq_quantize.pictures import PictureStream
from yoloq_quantize.pipeline import float_graph
from yoloq_quantize.place import Placement, place
from yoloq_quantize.scheme import load_target
from yoloq_quantize.subject import Plan, Subject, quantized

LEAST_NS = 10_000  # shorter nodes measure the profiler


def node_times(model: ir.Model, picture: np.ndarray, rounds: int) -> dict[str, tuple[float, str]]:
    """Nanoseconds and what the node ran as, by each name that was fused into it, "|"-joined."""
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERF_COUNT": True}
    compiled = ov.compile_model(ov.Core().read_model(ir.to_proto(model).SerializeToString()), "CPU", config)
    request = compiled.create_infer_request()
    least: dict[str, float] = {}
    for _ in range(rounds):
        request.infer([picture])
        for entry in request.get_profiling_info():
            nanoseconds = entry.real_time.total_seconds() * 1e9
            least[entry.node_name] = min(least.get(entry.node_name, np.inf), nanoseconds)
    found = {}
    for operation in compiled.get_runtime_model().get_ordered_ops():
        about = operation.get_rt_info()
        name = operation.get_friendly_name()
        if least.get(name, 0) > 0:
            kind = str(about["layerType"].astype(str))
            found[str(about["originalLayersNames"].astype(str)) or name] = (least[name], kind)
    return found


def observations(path: Path, calib: Path, target: str, rounds: int) -> list[tuple[Features, float]]:
    """What the nodes of one model do, and how long they take, in float and in INT8."""
    chip = load_target(target)
    source = load_model(path)
    head, graph = float_graph(source, None, "auto", source.classes, 1 / 255)
    height, width = int(graph.graph.inputs[0].shape[1]), int(graph.graph.inputs[0].shape[2])
    stream = PictureStream(list_images(calib), width, height, "RGB").spread(8)
    subject = Subject(graph, head, chip, stream)
    placement = place(graph, widest(chip.place), head)
    params = find_params(graph, placement, calibrate(graph, placement.groups, stream, chip.activations.bins), chip)
    nothing = Placement({}, (), (), ())
    rows = []
    model = CostModel(graph, {})
    for runs, planned in ((graph, nothing), (quantized(subject, Plan(placement, params)), placement)):
        times = node_times(runs, stream[0], rounds)
        for name, features in model.features(planned).items():
            hits = [time for names, (time, kind) in times.items() if name in names.split(",") and kind != "Reorder"]
            if len(hits) == 1 and hits[0] >= LEAST_NS:
                rows.append((features, hits[0]))
    return rows


def fit(rows: list[tuple[Features, float]], precision: str) -> tuple[dict[str, float], float]:
    """Rates of one precision, ns, and the median relative error."""
    chosen = [(features, time) for features, time in rows if features.precision == precision]
    matrix = np.array([[getattr(features, name) / time for name in RATES] for features, time in chosen])
    rates = non_negative(matrix, np.ones(len(chosen)))
    return dict(zip(RATES, rates, strict=True)), float(np.median(np.abs(matrix @ rates - 1)))


def non_negative(matrix: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares with unknowns >= 0: the best of all subsets of columns whose free solution is not negative."""
    best, least = np.zeros(matrix.shape[1]), np.inf
    for chosen in range(1, 1 << matrix.shape[1]):
        columns = [index for index in range(matrix.shape[1]) if chosen >> index & 1]
        solution = np.linalg.lstsq(matrix[:, columns], wanted, rcond=None)[0]
        error = float(np.square(matrix[:, columns] @ solution - wanted).sum())
        if (solution >= 0).all() and error < least:
            best, least = np.zeros(matrix.shape[1]), error
            best[columns] = solution
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--calib", type=Path, required=True)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    rows = [row for path in args.models for row in observations(path, args.calib, args.target, args.rounds)]
    for precision in ("int8", "float"):
        rates, error = fit(rows, precision)
        print(f"[cost.{precision}]  # median error of a node: {100 * error:.0f} %")
        print("\n".join(f"{name} = {value:.4g}" for name, value in rates.items()))


if __name__ == "__main__":
    main()
