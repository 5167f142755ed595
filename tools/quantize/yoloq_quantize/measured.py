# SPDX-License-Identifier: Apache-2.0
"""What a finished package is worth: it and its float model on the validation pictures, once, for the manifest."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from yoloq_quantize.dataset import Dataset, DatasetError, load_dataset
from yoloq_quantize.evaluate import run_model
from yoloq_quantize.metrics import measure_accuracy
from yoloq_quantize.package import PackageContent, write_package


def measure_package(
    content: PackageContent, float_artifact: bytes, data: str | Path, beside: Path, engine: str = "auto"
) -> dict[str, Any]:
    """mAP50 and mAP50-95 in points of the float graph and of the package, both run by `engine` (evaluate.run_model);
    empty if the data set has no labelled validation pictures. The packages are tried in a folder `beside` that goes
    away."""
    dataset = _validation(data)
    if dataset is None:
        return {}
    plain = replace(
        content,
        precision="float32",
        artifact=float_artifact,
        backend_options=content.target.backend_options.get("float32", {}),
    )
    beside.mkdir(parents=True, exist_ok=True)
    figures = {}
    with tempfile.TemporaryDirectory(prefix=".measure-", dir=beside) as folder:
        for key, trial in (("float", plain), ("package", content)):
            path = Path(folder) / f"{key}.yoloq"
            write_package(path, trial)
            accuracy = measure_accuracy(dataset, run_model(path, dataset, engine=engine).detections)
            figures[key] = {"map50": round(accuracy.map50, 3), "map50_95": round(accuracy.map50_95, 3)}
    return {"split": "val", "pictures": len(dataset.samples), **figures}


def _validation(data: str | Path) -> Dataset | None:
    try:
        dataset = load_dataset(data, "val")
    except DatasetError:  # a data.yaml that is here for its names
        return None
    return dataset if dataset.has_labels else None
