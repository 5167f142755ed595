# SPDX-License-Identifier: Apache-2.0
"""A build kit: a folder with everything that ATC needs and one script, for a machine that has CANN and nothing of ours.
The script compiles and writes the finished package. Also AMCT's way, as an alternative, and other pictures' AIPP."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from yoloq_quantize.compile.ascend import HOMES, Job, om, prepare
from yoloq_quantize.compile.ascend_aipp import aipp
from yoloq_quantize.compile.compiled import Compiled, Order
from yoloq_quantize.lower.ascend import LAYERS, Lowered, lower
from yoloq_quantize.scheme import Target

HERE = Path(__file__).parent
LATER = "@CANN@"  # what finish.py puts the version in place of

BUILD = """#!/bin/bash
# Compiles this kit with ATC and writes the package beside it, or into the folder that $1 names.
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
out=$(cd "${{1:-$here/..}}" && pwd) || exit 1
cd "$here" || exit 1
if ! command -v atc >/dev/null; then
    for home in "${{ASCEND_HOME_PATH:-}}" {homes}; do
        if [ -f "$home/set_env.sh" ]; then
            set +u
            . "$home/set_env.sh"
            set -u
            break
        fi
    done
fi
if ! command -v atc >/dev/null; then
    echo "build.sh: there is no atc: install CANN, source its set_env.sh, and run this again" >&2
    exit 1
fi
: >atc.log
build() {{
    name=$1
    shift
    echo "compiling $name for {soc}; this takes minutes"
    rm -f "$name"*.om
    atc "$@" >atc.part 2>&1 </dev/null
    code=$?
    cat atc.part >>atc.log
    if [ $code -ne 0 ] || ! grep -q "ATC run success" atc.part; then
        python3 finish.py --explain atc.part $code
        exit 1
    fi
    rm -f atc.part
}}
{steps}
python3 finish.py "$out"/{package}
"""

README = """Build kit for {soc}, made by yoloq.

Carry this folder to a Linux machine with CANN (the toolkit, and from 8.5 on the operator package of the chip; no chip
is needed to compile), and run:

    ./build.sh [FOLDER]

It writes the package {package} beside this folder, or into FOLDER. ATC's own words are in atc.log.
CANN up to 8.1 wants Python 3.7 to 3.10 and numpy<2 for its own tools; finish.py runs on any Python from 3.7 on.

amct/          the vendor's own quantiser in place of ours: see amct/README.txt
other_inputs/  AIPP for a host that feeds NV12 or BGR to the .om by itself; yoloq's library hands over RGB or BGR as the
               model wants it, and needs aipp.cfg only
"""

AMCT = """# Calibration by AMCT in place of ours. float.onnx takes a letterboxed picture, NCHW, bytes / 256, float32, as
# .bin files of one batch each in ./bins. Then compile out/amct_deploy_model.onnx as build.sh does, with this aipp.cfg.

amct_onnx calibration --model float.onnx --save_path out/amct --input_shape "{shape}" \\
    --data_dir ./bins --data_types float32 --calibration_config quant.cfg --batch_num 16
"""


def kit_files(
    graph: bytes,
    target: Target,
    order: Order,
    manifest_of: Callable[[Compiled], dict[str, Any]],
    labels: bytes,
    package: str,
) -> dict[str, bytes]:
    """graph: as of compile_ascend. manifest_of: the manifest, without digests, of a package with what is compiled.
    package: the file name of the package that the kit makes. Files by their path in the kit."""
    job = prepare(graph, target, order)
    made = job.compiled(target, dict.fromkeys(job.commands, b""), order.sdk_version or LATER)
    manifest = manifest_of(made)
    names = [artifact["file"] for artifact in manifest["artifacts"]]
    plan = {
        "manifest": manifest,
        "models": dict(zip(names, map(om, sorted(job.commands)), strict=True)),
        "otherwise": target.sdk_version,
    }
    files = {
        "package.json": (json.dumps(plan, ensure_ascii=False, indent=1) + "\n").encode(),
        "labels.txt": labels,
        "build.sh": _script(job, package).encode(),
        "README.txt": README.format(soc=job.soc, package=package).encode(),
        "finish.py": (HERE / "ascend_finish.py").read_bytes(),
        "ascend_errors.py": (HERE / "ascend_errors.py").read_bytes(),
    }
    return {**job.files, **files, **_amct(graph), **_other_inputs(manifest["input"], job)}


def _script(job: Job, package: str) -> str:
    steps = [f"build {om(batch)} {shlex.join(arguments)}" for batch, arguments in sorted(job.commands.items())]
    return BUILD.format(package=shlex.quote(package), homes=" ".join(HOMES), soc=job.soc, steps="\n".join(steps))


def _amct(graph: bytes) -> dict[str, bytes]:
    """The float network, and a configuration that leaves out what our plan keeps out of INT8."""
    deploy = lower(ir.from_proto(onnx.load_from_string(graph)))
    plain = lower(ir.from_proto(onnx.load_from_string(graph)), integers=False)
    picture = plain.graph.graph.inputs[0]
    shape = f"{picture.name}:{','.join(str(int(side)) for side in picture.shape)}"
    _, _, height, width = (int(side) for side in picture.shape)
    return {
        "amct/float.onnx": ir.to_proto(plain.graph).SerializeToString(deterministic=True),
        "amct/quant.cfg": _amct_config(deploy).encode(),
        "amct/aipp.cfg": aipp(width, height, plain.pixel).encode(),
        "amct/README.txt": AMCT.format(shape=shape).encode(),
    }


def _amct_config(deploy: Lowered) -> str:
    skipped = [node.name for node in deploy.graph.graph if node.op_type in LAYERS and node.name not in deploy.int8]
    lines = ["batch_num : 16", "activation_offset : true", *[f'skip_layers : "{name}"' for name in skipped]]
    return "\n".join(
        [
            *lines,
            "common_config : {",
            "  arq_quantize : { channel_wise : true }",
            "  ifmr_quantize : {",
            "    search_range_start : 0.7",
            "    search_range_end : 1.3",
            "    search_step : 0.01",
            "    max_percentile : 0.999999",
            "    min_percentile : 0.999999",
            "    asymmetric : true",
            "  }",
            "}",
            "",
        ]
    )


def _other_inputs(given: dict[str, Any], job: Job) -> dict[str, bytes]:
    width, height, model = given["width"], given["height"], given["color"]
    other = "BGR" if model == "RGB" else "RGB"
    files = {f"other_inputs/{other.lower()}.cfg": aipp(width, height, job.pixel, other, model).encode()}
    if width % 2 == 0 and height % 2 == 0:
        for name, full in (("nv12", False), ("nv12_full_range", True)):
            files[f"other_inputs/{name}.cfg"] = aipp(width, height, job.pixel, "NV12", model, full).encode()
    return files
