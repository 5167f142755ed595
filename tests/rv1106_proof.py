# SPDX-License-Identifier: Apache-2.0
"""The proof `rv1106`: the demo model compiled for RV1106, which has no float, and run on the vendor's simulator, beside
what the vendor's own INT8 makes of the same network and calibration pictures, each judged twice as in the proof
`rockchip`; and where the sizes of the vendor's boxes come from: our plan without the rule for attention, which its
compiler then computes otherwise than the graph."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from importlib import resources
from pathlib import Path

import rockchip_proof
from families.family import FAMILIES
from rockchip_proof import Trial
from sophgo_proof import CALIB, DEMO, figures, matched
from yoloq_quantize import quantize
from yoloq_quantize.dataset import list_images, load_dataset, load_labelled
from yoloq_quantize.evaluate import run_model

CHIP = "rv1106"
PICTURES = 200  # the simulator takes a second each
RULE = 'symmetric_second = ["MatMul"]'  # of the target's file
SAME_SIZE = 0.005  # by which sides of boxes may differ from the float model's on average
MOST_DROP = 1.0  # points of mAP50 below the float model
LEAST_SAME_GRAPH = 95.0  # percent of detections as the same graph in ONNX Runtime


def prove_rv1106(folder: Path) -> dict:
    data = load_dataset(FAMILIES["fasteners-e2e"]().data, "val")
    data = replace(data, samples=data.samples[:PICTURES])
    labelled = load_labelled(list_images(CALIB), data.class_names)
    trial = Trial(data, labelled, lambda pictures: run_model(DEMO, pictures).detections)
    ours = {recipe: our_side(folder, recipe, CHIP, trial) for recipe in ("fast", "default")}
    without = our_side(folder, "fast", without_rule(folder), trial)
    vendor = vendor_side(folder, trial)
    fast, default = ours["fast"], ours["default"]
    checks = {
        f"default loses no more than {MOST_DROP} of mAP50": default["loss_map50"][0] <= MOST_DROP,
        "no operator in F16 or on the CPU": all(
            side["f16_operators"] == side["cpu_operators"] == 0 for side in ours.values()
        ),
        f"{LEAST_SAME_GRAPH} % of detections as the same graph": fast["matched_same_graph"] >= LEAST_SAME_GRAPH,
    }
    checks["without the rule the simulator shrinks boxes and the graph does not; with it neither does"] = shrunk(
        without
    ) and not any(shrunk(side) for side in (without["same_graph"], fast, fast["same_graph"]))
    if "failed" not in vendor:
        checks["the vendor's INT8 shrinks them, too"] = shrunk(vendor)
        checks |= rockchip_proof.compared(ours, "INT8", vendor)
        checks["no more cycles, by its compiler's count"] = fast["expected_cycles"] <= vendor["expected_cycles"]
    return {
        "ok": all(checks.values()),
        "checks": checks,
        "target": CHIP,
        "pictures": len(data.samples),
        "calibration": len(labelled.samples),
        "float": figures(trial.plain, data) | {"boxes_to_labels": trial.figures},
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


def our_side(folder: Path, recipe: str, target: str, trial: Trial) -> dict:
    name = f"{Path(target).stem}-{recipe}"
    host, package, told = rockchip_proof.our_package(folder, CALIB, name, recipe, target)
    side, found = trial.judge(lambda pictures: run_model(package, pictures, engine="simulator").detections)
    graph = run_model(host, trial.data, engine="reference").detections
    counts = json.loads((package / "manifest.json").read_text())["quantization"]
    side = told | {"cpu_operators": counts["cpu_operators"]} | side
    same = rockchip_proof.beside(graph, trial.data, trial.plain)
    side |= {"matched_same_graph": matched(found, graph), "same_graph": same}
    print(json.dumps({name: side}), flush=True)
    return side


def vendor_side(folder: Path, trial: Trial) -> dict:
    """The network is cut and laid out for another of the family: this chip has no float to ask it for."""
    like = folder / "float.yoloq"
    quantize(DEMO, None, like, rockchip_proof.CHIP, precision="float32", compiled=False)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        dataset = rockchip_proof.calibration_list(Path(work), list_images(CALIB))
        way = (rockchip_proof.INT8, ({}, {}))
        return rockchip_proof.vendor_side(*way, like, folder, dataset, lambda run: trial.judge(run)[0], CHIP)
