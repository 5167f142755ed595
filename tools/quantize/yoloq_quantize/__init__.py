# SPDX-License-Identifier: Apache-2.0
"""The offline toolchain of yoloq: a trained ONNX detector in, a model package for a chip out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yoloq_quantize.errors import QuantizeError
    from yoloq_quantize.pipeline import QuantizeResult, quantize

__version__ = "0.1.0"
__all__ = ["QuantizeError", "QuantizeResult", "__version__", "quantize"]

_HOMES = {"QuantizeError": "errors", "QuantizeResult": "pipeline", "quantize": "pipeline"}


def __getattr__(name: str) -> Any:
    """Imports on first use: `yoloq --help` does not wait for ONNX."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
