# SPDX-License-Identifier: Apache-2.0
"""Our declarations of AscendCL are the vendor's; a mistake in one is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

import ascend_headers


def test_declarations_are_the_vendors(tmp_path: Path) -> None:
    assert ascend_headers.complaints(ascend_headers.OURS.read_text(), tmp_path) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("aclrtMalloc, int, (void **, size_t, int)", "aclrtMalloc, int, (void **, int, size_t)", "aclrtMalloc"),
        ("aclmdlUnload, int, (uint32_t)", "aclmdlUnload, int, (uint64_t)", "aclmdlUnload"),
        ("aclrtGetSocName, const char *", "aclrtGetSocName, char *", "aclrtGetSocName"),
        ("(uint32_t, const Dataset *, Dataset *, Stream)", "(uint32_t, Dataset *, Dataset *, Stream)", "ExecuteAsync"),
        ("ACL_MEMCPY_DEVICE_TO_HOST, 2", "ACL_MEMCPY_DEVICE_TO_HOST, 3", "constant device_to_host"),
        ("CODE(507046, ", "CODE(507047, ", "code 507047"),
        ("char name[128];", "char name[64];", "aclmdlIODims"),
        ("int32_t cube, vector, aicpu, memory;", "int32_t cube, vector, memory, aicpu;", "memoryUtilization"),
    ],
)
def test_a_mistake_is_seen(right: str, wrong: str, words: str, tmp_path: Path) -> None:
    ours = ascend_headers.OURS.read_text()
    assert ours.count(right) == 1
    complaint = ascend_headers.complaints(ours.replace(right, wrong), tmp_path)
    assert "static assertion failed" in complaint and words in complaint, complaint
