# SPDX-License-Identifier: Apache-2.0
"""Runs in the environment of Canaan's compiler, in a process of its own: python nncase_worker.py JOB.json

Compiles a model, or runs pictures on the vendor's simulator. The job, paths relative to the working folder:

    kmodel          out, or in without onnx
    onnx            in; None to simulate
    shape, largest  of the picture, [1, h, w, 3] uint8, and the real that a byte of 255 is
    options         of the vendor's PTQTensorOptions
    samples         an .npy of uint8 [n, h, w, 3] for the vendor's own calibration, or None

To simulate, it answers a line "IN.npy OUT.npz" on stdin with "done", until it ends. What the vendor prints goes to
stderr; stdout is ours: a line "ready", then the answers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np


def build(job: dict[str, Any]) -> None:
    import nncase

    options = nncase.CompileOptions()
    options.target, options.dump_asm, options.dump_ir, options.dump_dir = "k230", False, False, "dump"
    options.preprocess, options.input_type, options.input_layout = True, "uint8", "NHWC"
    options.input_shape, options.input_range = job["shape"], [0, job["largest"]]
    compiler = nncase.Compiler(options)
    compiler.import_onnx(Path(job["onnx"]).read_bytes(), nncase.ImportOptions())
    quantise = nncase.PTQTensorOptions()
    for name, value in job["options"].items():
        setattr(quantise, name, value)
    if job["samples"] is not None:
        pictures = np.load(job["samples"])
        quantise.samples_count = len(pictures)
        quantise.set_tensor_data([[np.ascontiguousarray(picture[None])] for picture in pictures])
    compiler.use_ptq(quantise)
    compiler.compile()
    Path(job["kmodel"]).write_bytes(compiler.gencode_tobytes())


def simulate(job: dict[str, Any], answers: TextIO) -> None:
    """Pictures uint8 [1, h, w, 3] one after another; outputs as out0, out1, ... in the model's order."""
    import nncase

    simulator = nncase.Simulator()
    simulator.load_model(Path(job["kmodel"]).read_bytes())
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        source, target = line.split()
        simulator.set_input_tensor(0, nncase.RuntimeTensor.from_numpy(np.load(source)))
        simulator.run()
        found = [simulator.get_output_tensor(index).to_numpy() for index in range(simulator.outputs_size)]
        np.savez(target, **{f"out{index}": tensor for index, tensor in enumerate(found)})
        print("done", file=answers, flush=True)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if job["onnx"] is None:
        simulate(job, answers)
    else:
        build(job)
        print("ready", file=answers, flush=True)


if __name__ == "__main__":
    main()
