# SPDX-License-Identifier: Apache-2.0
"""The proof `rv1106`: the demo model compiled for RV1106, which has no float, and run on the vendor's simulator, beside
what the vendor's own INT8 makes of the same network and the same few pictures; and where the sizes of the vendor's
boxes come from: our plan without the rule for attention, which its compiler then computes otherwise than the graph."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import rockchip_proof
from families.family import FAMILIES
from sophgo_proof import CALIB, CALIBRATION, DEMO, figures, matched
from yoloq_quantize import quantize
from yoloq_quantize.dataset import Dataset, list_images, load_dataset
from yoloq_quantize.evaluate import run_model
from yoloq_quantize.metrics import Detections

CHIP = "rv1106"
PICTURES = 80  # the simulator takes a second each
RULE = 'symmetric_second = ["MatMul"]'  # of the target's file
SAME_SIZE = 0.005  # by which sides of boxes may differ from the float model's on average
MOST_DROP = 1.0  # points of mAP50 below the float model
LEAST_SAME_GRAPH = 95.0  # percent of detections as the same graph in ONNX Runtime


def prove_rv1106(folder: Path) -> dict:
    data = load_dataset(FAMILIES["fasteners-e2e"]().data, "val")
    data = replace(data, samples=data.samples[:PICTURES])
    plain = run_model(DEMO, data).detections
    calib = folder / "few"
    calib.mkdir()
    for path in list_images(CALIB)[:CALIBRATION]:
        shutil.copyfile(path, calib / path.name)
    ours = {recipe: our_side(folder, calib, recipe, CHIP, data, plain) for recipe in ("fast", "default")}
    without = our_side(folder, calib, "fast", without_rule(folder), data, plain)
    vendor = vendor_side(folder, calib, data, plain)
    fast, default = ours["fast"], ours["default"]
    checks = {
        f"default loses no more than {MOST_DROP} of mAP50": default["loss_map50"][0] <= MOST_DROP,
        "no operator in F16 or on the CPU": all(
            side["f16_operators"] == side["cpu_operators"] == 0 for side in ours.values()
        ),
        f"{LEAST_SAME_GRAPH} % of detections as the same graph": fast["matched_same_graph"] >= LEAST_SAME_GRAPH,
    }
    for recipe, side in ours.items():
        nearer = "failed" in vendor or side["matched_float"] > vendor["matched_float"]
        checks[f"{recipe}: more of the float model's detections than the vendor's INT8"] = nearer
    checks["without the rule the simulator shrinks boxes and the graph does not; with it neither does"] = shrunk(
        without
    ) and not any(shrunk(side) for side in (without["same_graph"], fast, fast["same_graph"]))
    if "failed" not in vendor:
        checks["the vendor's INT8 shrinks them, too"] = shrunk(vendor)
        for figure, what in (("loss_map50", "mAP50"), ("loss_map50_95", "mAP50-95")):
            checks[f"default loses no more {what} than the vendor's INT8"] = default[figure][0] <= vendor[figure][0]
        checks["no more cycles, by its compiler's count"] = fast["expected_cycles"] <= vendor["expected_cycles"]
    return {
        "ok": all(checks.values()),
        "checks": checks,
        "target": CHIP,
        "pictures": len(data.samples),
        "calibration": CALIBRATION,
        "float": figures(plain, data),
        "ours": ours,
        "without_rule": without,
        "vendor": vendor,
    }


def without_rule(folder: Path) -> str:
    """A target's file that does not know what the compiler does to attention."""
    text = (resources.files("yoloq_quantize") / "targets" / f"{CHIP}.toml").read_text(encoding="utf-8")
    assert RULE in text
    (folder / "ignorant.toml").write_text(text.replace(RULE, ""), encoding="utf-8")
    return str(folder / "ignorant.toml")


def shrunk(side: dict) -> bool:
    return max(side["width"], side["height"]) < 1 - SAME_SIZE


def our_side(folder: Path, calib: Path, recipe: str, target: str, data: Dataset, plain: Sequence[Detections]) -> dict:
    name = f"{Path(target).stem}-{recipe}"
    host, package, told = rockchip_proof.our_package(folder, calib, name, recipe, target)
    found = run_model(package, data, engine="simulator").detections
    graph = run_model(host, data, engine="reference").detections
    counts = json.loads((package / "manifest.json").read_text())["quantization"]
    side = told | {"cpu_operators": counts["cpu_operators"]} | rockchip_proof.beside(found, data, plain)
    side |= {"matched_same_graph": matched(found, graph), "same_graph": rockchip_proof.beside(graph, data, plain)}
    print(json.dumps({name: side}), flush=True)
    return side


def vendor_side(folder: Path, calib: Path, data: Dataset, plain: Sequence[Detections]) -> dict:
    """The network is cut and laid out for another of the family: this chip has no float to ask it for."""
    like = folder / "float.yoloq"
    quantize(DEMO, None, like, rockchip_proof.CHIP, precision="float32", compiled=False)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        dataset = rockchip_proof.calibration_list(Path(work), list_images(calib))
        way = (rockchip_proof.INT8, ({}, {}))

        def judge(run: Callable[[Dataset], Sequence[Detections]]) -> dict:
            return rockchip_proof.beside(run(data), data, plain)

        return rockchip_proof.vendor_side(*way, like, folder, dataset, judge, CHIP)
