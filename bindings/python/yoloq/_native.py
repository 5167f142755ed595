# SPDX-License-Identifier: Apache-2.0
"""The C library through cffi in ABI mode. The declarations are read from yoloq.h itself, so they cannot drift."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import cffi

from yoloq.errors import Error, from_status

ABI_VERSION = 1
TIMEOUT_NONE = 0xFFFFFFFF
"""A timeout_ms that means: wait for ever. (A macro in yoloq.h, which cffi cannot see.)"""

_PACKAGE = Path(__file__).resolve().parent
_LIBRARY_NAME = "yoloq.dll" if sys.platform == "win32" else "libyoloq.so"


def _header() -> Path:
    """yoloq.h: in a wheel beside this file, in a source tree in include/."""
    shipped = _PACKAGE / "yoloq.h"
    return shipped if shipped.is_file() else _PACKAGE.parents[2] / "include" / "yoloq.h"


def _declarations(header: str) -> str:
    """What cffi understands of the header: no preprocessor, no C++, no linkage words."""
    header = re.sub(r"^#ifdef __cplusplus.*?^#endif", "", header, flags=re.MULTILINE | re.DOTALL)
    header = re.sub(r"^\s*#.*$", "", header, flags=re.MULTILINE)
    return re.sub(r"\bYQ_(API|CALL)\b", "", header)


def _library() -> str:
    chosen = os.environ.get("YOLOQ_LIBRARY")
    path = Path(chosen) if chosen else _PACKAGE / "lib" / _LIBRARY_NAME
    if path.is_file():
        return str(path.resolve())
    if chosen:
        raise ImportError(f"YOLOQ_LIBRARY names {chosen}, which does not exist: set it to the full path of {path.name}")
    raise ImportError(
        f"the native library {path} is missing: install the yoloq wheel for this platform, or set YOLOQ_LIBRARY to "
        f"the full path of a built {_LIBRARY_NAME}"
    )


def _make_ffi() -> cffi.FFI:
    ffi = cffi.FFI()
    try:
        ffi.cdef(_declarations(_header().read_text(encoding="utf-8")))
    except OSError as error:
        raise ImportError(f"cannot read the header of the native library: {error}; install yoloq again") from None
    return ffi


def _load() -> Any:
    path = _library()
    try:
        library = ffi.dlopen(path)
        found = library.yq_abi_version()
    except (OSError, AttributeError) as error:
        raise ImportError(f"cannot load the native library {path}: {error}") from None
    if found != ABI_VERSION:
        raise ImportError(f"the native library {path} has ABI {found}, not {ABI_VERSION}: install the wheel again")
    return library


class _Library:
    """The C functions. Loads the library at the first use, so that `yoloq --help` needs none and a missing one is an
    error that the command can report; raises ImportError."""

    def __getattr__(self, name: str) -> Any:
        library = self.__dict__.get("_loaded") or self.__dict__.setdefault("_loaded", _load())
        value = getattr(library, name)
        setattr(self, name, value)  # from now on a plain attribute
        return value


ffi = _make_ffi()
lib = _Library()


def text(pointer: Any) -> str:
    """A C string as str; "" for NULL."""
    return ffi.string(pointer).decode("utf-8", "replace") if pointer else ""


def last_error(status: int) -> Error:
    """The exception for this thread's call that has just failed with `status`."""
    return from_status(status, text(lib.yq_last_error()) or text(lib.yq_status_name(status)))


def fields(struct: Any) -> dict[str, Any]:
    """A C struct, or a pointer to one, as a dict: texts decoded, nested structs as dicts, no `size` or `reserved`."""
    values: dict[str, Any] = {}
    kind = ffi.typeof(struct)
    for name, field in (kind.item if kind.kind == "pointer" else kind).fields:
        if name in ("size", "reserved"):
            continue
        value = getattr(struct, name)
        if field.type.kind == "array":
            value = text(value)
        elif field.type.kind == "struct":
            value = fields(value)
        values[name] = value
    return values


def sized(kind: str) -> Any:
    """A zeroed struct of the C type `kind` with its size set."""
    struct = ffi.new(f"{kind} *")
    struct.size = ffi.sizeof(kind)
    return struct
