# SPDX-License-Identifier: Apache-2.0
"""Our declarations of AscendCL held against the vendor's real headers, which a wheel on PyPI carries: the compiler
compares every prototype, constant, code and layout. Nothing of the vendor's is kept but in build/."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
downloads: Any = importlib.import_module("downloads")

KEEP = "torch_npu/include/third_party/acl/inc/"
WHEEL = downloads.Download(
    "torch_npu",
    "2.14.0",  # AscendCL 1.17.0
    "7736f7d82cf9f16c7dfc4537f7e7c638153da760273a193455e70857f912189e",
    (KEEP + "acl/",),
    "manylinux_2_28_x86_64",  # 44 MB; the headers are the same for every processor
)
OURS = ROOT / "src" / "backends" / "ascend_api.h"

# Types are compared after this: enumerations are int, pointers to structs void *; constness counts.
SOURCE = r"""
#include <type_traits>
#include "ascend_api.h"
#include "acl/acl.h"

template <typename T, typename = void> struct Plain { using type = T; };
template <typename T> struct Plain<T, std::enable_if_t<std::is_enum_v<T>>> {
    static_assert(sizeof(T) == sizeof(int));
    using type = int;
};
template <typename T> struct Plain<const T, std::enable_if_t<std::is_class_v<T>>> { using type = const void; };
template <typename T> struct Plain<T, std::enable_if_t<std::is_class_v<T> && !std::is_const_v<T>>> {
    using type = void;
};
template <typename T> struct Plain<T *> { using type = typename Plain<T>::type *; };
template <typename R, typename... P> struct Plain<R(P...)> {
    using type = typename Plain<R>::type(typename Plain<P>::type...);
};
template <typename T> using plain = typename Plain<T>::type;

#define PROTOTYPE(name, result, parameters) static_assert(std::is_same_v<plain<decltype(::name)>, \
    plain<std::remove_pointer_t<result(*) parameters>>>, "prototype of " #name);
#define CONSTANT(name, vendors, value) static_assert(value == static_cast<int>(vendors), "constant " #name);
#define CODE(value, name) static_assert(value == static_cast<int>(name), "code " #value);
namespace ascend {
ASCEND_RUNTIME(PROTOTYPE)
ASCEND_MODEL(PROTOTYPE)
ASCEND_OPTIONAL_RUNTIME(PROTOTYPE)
ASCEND_OPTIONAL_MODEL(PROTOTYPE)
ASCEND_CONSTANTS(CONSTANT)
ASCEND_CODES(CODE)
}
static_assert(std::is_same_v<ascend::Context, aclrtContext> && std::is_same_v<ascend::Stream, aclrtStream>);
static_assert(sizeof(ascend::IODims) == sizeof(aclmdlIODims));
static_assert(offsetof(ascend::IODims, rank) == offsetof(aclmdlIODims, dimCount));
static_assert(offsetof(ascend::IODims, dims) == offsetof(aclmdlIODims, dims));
static_assert(sizeof(ascend::Utilization) == sizeof(aclrtUtilizationInfo));
static_assert(offsetof(ascend::Utilization, cube) == offsetof(aclrtUtilizationInfo, cubeUtilization));
static_assert(offsetof(ascend::Utilization, memory) == offsetof(aclrtUtilizationInfo, memoryUtilization));
static_assert(offsetof(ascend::Utilization, reserved) == offsetof(aclrtUtilizationInfo, utilizationExtend));
"""


def fetch() -> Path:
    """The folder to include from, with the vendor's acl/."""
    return downloads.fetch(WHEEL, ROOT / "build" / "ascend") / KEEP


def complaints(ours: str, scratch: Path) -> str:
    """What the compiler says of our declarations, given as text, against the vendor's; "" if nothing."""
    (scratch / "ascend_api.h").write_text(ours)
    source = scratch / "check.cpp"
    source.write_text(SOURCE)
    vendors = fetch()
    command = ["g++", "-std=c++17", "-fsyntax-only", "-w", f"-I{scratch}", f"-isystem{vendors}", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or "the compiler failed"
