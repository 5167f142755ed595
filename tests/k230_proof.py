# SPDX-License-Identifier: Apache-2.0
"""The proof `k230`: the demo model compiled for Canaan's K230 and run on the vendor's simulator, against the CPU, the
quantised graph in ONNX Runtime, and what the vendor's own quantisation makes of the same network and pictures."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rockchip_proof import on_simulator, vendor_graph
from sophgo_proof import CALIB, CALIBRATION, DATA, DEMO, figures, matched, timed
from yoloq_quantize import quantize
from yoloq_quantize.compile.canaan import Job, Nncase, Simulator
from yoloq_quantize.dataset import Dataset, list_images, load_dataset
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.evaluate import run_model
from yoloq_quantize.flow.compilers import compile_package
from yoloq_quantize.metrics import Detections
from yoloq_quantize.pictures import PictureStream

CHIP = "k230"
PICTURES = 20  # a picture takes the simulator half a minute
RECIPE = "default"
SIDE = 640
MOST_DROP = 1.0  # points of mAP50 below the CPU's INT8
DEFAULT = "Kld, its default"
# name, the vendor's options
VENDOR = ((DEFAULT, {"calibrate_method": "Kld"}), ("NoClip", {"calibrate_method": "NoClip"}))


def our_package(folder: Path, calib: Path) -> tuple[Path, Path, dict[str, float]]:
    """Our plan, as the CPU runs it, and compiled; with the seconds of both steps and what the compiler tells."""
    host, chip = folder / "ours.cpu.yoloq", folder / "ours.yoloq"
    _, seconds = timed(lambda: quantize(DEMO, calib, host, CHIP, recipe=RECIPE, compiled=False))
    _, compiling = timed(lambda: compile_package(host, CHIP, chip, folder / "log", lambda items, _: items))
    told = json.loads((chip / "manifest.json").read_text())["quantization"]
    kept = {key: told[key] for key in ("int8_operators", "f16_operators")}
    return host, chip, {"recipe": RECIPE, "quantise_s": seconds, "compile_s": compiling, **kept}


def vendor_side(
    name: str, options: dict, like: Path, folder: Path, samples: np.ndarray, data: Dataset, plain: Sequence[Detections]
) -> dict:
    """The vendor's own quantisation of our cut float network, on the pictures `samples`."""
    graph, names = vendor_graph(like)
    job = Job(graph, (1, SIDE, SIDE, 3), 1.0, None, samples, options)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            tools = Nncase.ready(folder / "vendor.log")
            kmodel, seconds = timed(lambda: tools.compile(job, Path(work)))
        found = on_simulator(Simulator(kmodel, names, folder / "vendor.log"), like, data)
    except QuantizeError as error:
        return {"way": name, "failed": str(error).split("; its words")[0]}
    made = figures(found, data) | {"matched_float": matched(found, plain)}
    side = {"way": name, "quantise_and_compile_s": seconds, **made}
    print(json.dumps(side), flush=True)
    return side


def prove_k230(folder: Path) -> dict:
    data = load_dataset(DATA, "val")
    data = replace(data, samples=data.samples[:PICTURES])
    calib = folder / "few"
    calib.mkdir()
    for path in list_images(CALIB)[:CALIBRATION]:
        shutil.copyfile(path, calib / path.name)
    quantize(DEMO, calib, folder / "cpu.yoloq", recipe=RECIPE)
    quantize(DEMO, None, folder / "float.yoloq", CHIP, precision="float32", compiled=False)
    base = run_model(folder / "cpu.yoloq", data).detections
    plain = run_model(DEMO, data).detections
    sides = {"float": figures(plain, data), "cpu_int8": figures(base, data) | {"matched_float": matched(base, plain)}}
    host, chip, told = our_package(folder, calib)
    graph = run_model(host, data, engine="reference").detections
    found, seconds = timed(lambda: run_model(chip, data, engine="simulator").detections)
    sides["chip"] = told | figures(found, data) | {
        "matched_cpu_int8": matched(found, base),
        "matched_float": matched(found, plain),
        "matched_same_graph": matched(found, graph),
        "simulated_s_a_picture": round(seconds / (len(data.samples) + 1), 1),  # the first is run twice
    }  # fmt: skip
    print(json.dumps(sides, indent=1), flush=True)
    samples = np.concatenate(list(PictureStream(list_images(calib), SIDE, SIDE, "RGB", "center")))
    vendor = [
        vendor_side(name, options, folder / "float.yoloq", folder, samples, data, plain) for name, options in VENDOR
    ]
    return verdict(sides, {side["way"]: side for side in vendor}) | {
        "target": CHIP,
        "pictures": len(data.samples),
        "calibration_pictures": CALIBRATION,
        **sides,
        "vendor": vendor,
    }


def verdict(sides: dict, vendor: dict[str, dict]) -> dict:
    ours = sides["chip"]
    drop = sides["cpu_int8"]["map50"] - ours["map50"]
    checks = {f"mAP50 within {MOST_DROP} of the CPU's INT8": drop <= MOST_DROP}
    for name, theirs in vendor.items():
        nearer = "failed" in theirs or ours["matched_float"] > theirs["matched_float"]
        checks[f"more of the float model's detections than the vendor's {name}"] = nearer
    time = ours["quantise_s"] + ours["compile_s"]
    faster = {
        name: time < theirs["quantise_and_compile_s"] for name, theirs in vendor.items() if "failed" not in theirs
    }
    return {"ok": all(checks.values()), "checks": checks, "less_time_than_the_vendors": faster}
