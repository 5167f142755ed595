# SPDX-License-Identifier: Apache-2.0
"""Runs in the environment of Rockchip's compiler, in a process of its own: python rknn_worker.py JOB.json

Builds a model, and runs pictures on the vendor's simulator while it is asked to: the simulator takes only what its own
process has built. The job, paths relative to the working folder:

    onnx, rknn      in and out
    platform        "rk3588", ...
    mean, std       of a byte: (byte - mean) / std is the network's input
    config, build   further options of the vendor's calls; without any for build(), the graph's own scales are kept
    simulate        then answer a line "IN.npy OUT.npz" on stdin with "done", until it ends

What the vendor prints goes to stderr; stdout is ours: a line "ready", then the answers.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

KEEP_ADDRESSES = 0x0040000  # of personality(2): the kernel puts nothing at random addresses
ASK = 0xFFFFFFFF


def keep_addresses() -> None:
    """Starts this process anew with the same addresses each time: the compiler leaves some of its own in the .rknn, and
    equal inputs shall give equal bytes. Where the kernel forbids it, they differ."""
    personality = ctypes.CDLL(None).personality
    personality.argtypes = [ctypes.c_ulong]
    now = personality(ASK)
    if now == -1 or now & KEEP_ADDRESSES or personality(now | KEEP_ADDRESSES) == -1:
        return
    if personality(ASK) & KEEP_ADDRESSES:
        os.execv(sys.executable, sys.orig_argv)


def check(name: str, code: int | None) -> None:
    if code not in (0, None):
        raise SystemExit(f"{name} gave {code}")


def build(job: dict[str, Any]) -> Any:
    from rknn.api import RKNN

    rknn = RKNN(verbose=True)  # its table of layers is read from what it says
    mean, std = [[job["mean"]] * 3], [[job["std"]] * 3]
    check("config", rknn.config(mean_values=mean, std_values=std, target_platform=job["platform"], **job["config"]))
    check("load_onnx", rknn.load_onnx(job["onnx"]))
    check("build", rknn.build(**{"do_quantization": False, **job["build"]}))
    check("export_rknn", rknn.export_rknn(job["rknn"]))
    return rknn


def simulate(rknn: Any, answers: TextIO) -> None:
    """Pictures uint8 [1, h, w, 3] one after another; outputs as out0, out1, ... in the model's order."""
    import numpy as np

    check("init_runtime", rknn.init_runtime())
    for line in sys.stdin:
        source, target = line.split()
        found = rknn.inference(inputs=[np.load(source)], data_format=["nhwc"])
        if found is None:
            raise SystemExit("inference gave nothing")
        np.savez(target, **{f"out{index}": tensor for index, tensor in enumerate(found)})
        print("done", file=answers, flush=True)


def main() -> None:
    keep_addresses()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rknn = build(job)
    print("ready", file=answers, flush=True)
    if job["simulate"]:
        simulate(rknn, answers)
    rknn.release()


if __name__ == "__main__":
    main()
