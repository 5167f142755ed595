# SPDX-License-Identifier: Apache-2.0
"""The compile step of each backend: a quantised package in, a package that the chip takes out.

A compiler fills the second folder from the first. Adding a chip is one function and one line of COMPILERS.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.scheme import load_target

Compiler = Callable[[Path, Path], None]


def keep(package: Path, out: Path) -> None:
    """For backends that compile QDQ ONNX themselves when they load it: the artefact is the package's own."""
    shutil.copytree(package, out)


COMPILERS: dict[str, Compiler] = {"cpu": keep}


def compiler_for(target: str) -> Compiler:
    """The compiler of a target's backend; unknown targets and backends without one are refused."""
    backend = load_target(target).backend
    if backend not in COMPILERS:
        raise QuantizeError(f"target {target}: nothing compiles for the backend {backend}; remove it from targets")
    return COMPILERS[backend]
