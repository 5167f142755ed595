# SPDX-License-Identifier: Apache-2.0
"""The ABI is pinned: struct layouts, enum values and exported symbols as the compiler and linker see them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

HEADERS = ("yoloq.h", "yoloq_backend.h")


def declarations(header: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Struct name -> field names, and all enumerators, read from the header's text."""
    text = re.sub(r"/\*.*?\*/", " ", header.read_text(encoding="utf-8"), flags=re.S)
    structs = {}
    for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, flags=re.S):
        fields = []
        for statement in (part.strip() for part in body.split(";")):
            if pointer := re.search(r"\(YQB?_CALL \*(\w+)\)", statement):
                fields.append(pointer.group(1))
            elif statement:
                fields += [re.search(r"(\w+)(\[\d+\])?$", part.strip()).group(1) for part in statement.split(",")]
        structs[name] = fields
    enumerators = []
    for body in re.findall(r"enum(?: \w+)? \{(.*?)\}", text, flags=re.S):
        enumerators += re.findall(r"(YQ\w+)\s*=", body)
    macros = re.findall(r"^#define (YQ_\w*VERSION\w*|YQ_TIMEOUT_NONE) ", text, flags=re.M)
    return structs, enumerators + macros


def probe_source(header: Path) -> str:
    structs, constants = declarations(header)
    assert len(structs) >= 7 and len(constants) >= 7, "the header was not understood"
    lines = ["#include <stdio.h>", f'#include "{header.name}"', "int main(void) {"]
    for struct, fields in structs.items():
        lines.append(f'printf("struct {struct} %zu\\n", sizeof({struct}));')
        for field in fields:
            member = f"(({struct} *)0)->{field}"
            lines.append(f'printf("  {field} %zu %zu\\n", offsetof({struct}, {field}), sizeof {member});')
    lines += [f'printf("{name} %lld\\n", (long long){name});' for name in constants]
    return "\n".join([*lines, "return 0; }", ""])


def compiled_abi(root: Path, library: Path, scratch: Path) -> str:
    parts = []
    for name in HEADERS:
        source = scratch / f"{name}.c"
        source.write_text(probe_source(root / "include" / name))
        program = scratch / f"{name}.probe"
        subprocess.run(["gcc", "-std=c99", "-I", root / "include", source, "-o", program], check=True)
        parts.append(f"# {name}\n" + subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    return "\n".join([*parts, "# exported by libyoloq.so", *exported(library), ""])


def exported(library: Path) -> list[str]:
    table = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return sorted(line.split()[-1] for line in table.splitlines())


def test_abi_equals_the_golden_file(
    root: Path, build_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    golden = root / "tests" / "data" / "abi.txt"
    abi = compiled_abi(root, build_dir / "lib" / "libyoloq.so", tmp_path)
    if request.config.getoption("--regen"):
        golden.write_text(abi)
    assert abi == golden.read_text(), (
        "the ABI changed: only additions are allowed; then pytest --regen tests/test_abi.py"
    )


def test_exports_are_the_declared_functions(root: Path, build_dir: Path) -> None:
    text = (root / "include" / "yoloq.h").read_text(encoding="utf-8")
    declared = set(re.findall(r"^YQ_API [^;]*?YQ_CALL (yq_\w+)\(", text, flags=re.M))
    assert len(declared) >= 17
    assert set(exported(build_dir / "lib" / "libyoloq.so")) == declared


@pytest.mark.parametrize("module", ["cpu", "dummy"])
def test_modules_export_one_function(build_dir: Path, module: str) -> None:
    assert exported(build_dir / "lib" / f"libyoloq_{module}.so") == ["yq_backend_entry"]


def test_library_needs_only_the_system(build_dir: Path) -> None:
    dynamic = subprocess.run(
        ["readelf", "-d", build_dir / "lib" / "libyoloq.so"], check=True, capture_output=True, text=True
    ).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "libdl.so.2"}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "compiler",
    [
        ["gcc", "-std=c99", "-x", "c"],
        ["g++", "-std=c++98", "-Wno-long-long", "-x", "c++"],
        ["g++", "-std=c++17", "-x", "c++"],
    ],
)
def test_header_compiles_alone(root: Path, tmp_path: Path, header: str, compiler: list[str]) -> None:
    """Alone: a copy in an empty folder, so that nothing of ours lies beside it."""
    copy = tmp_path / header
    copy.write_bytes((root / "include" / header).read_bytes())
    use = tmp_path / "use.c"
    use.write_text(f'#include "{header}"\n#include "{header}"\nint main(void) {{ return 0; }}\n')
    flags = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    subprocess.run([*compiler[:-2], *flags, *compiler[-2:], use], check=True, cwd=tmp_path)


@pytest.mark.parametrize("header", HEADERS)
def test_every_public_function_is_documented(root: Path, header: str) -> None:
    """Each exported function has a comment with its threads and since when, or names one that has."""
    text = (root / "include" / header).read_text(encoding="utf-8")
    for match in re.finditer(r"/\*\*((?:(?!\*/).)*)\*/\s*YQ_API [^;]*?YQ_CALL (yq_\w+)\(", text, flags=re.S):
        comment, function = match.groups()
        assert "@since" in comment, function
        assert "@threadsafety" in comment or "As yq_" in comment, function
    documented = re.findall(r"\*/\s*YQ_API [^;]*?YQ_CALL (yq_\w+)\(", text, flags=re.S)
    assert len(documented) == text.count("\nYQ_API ")


def test_a_changed_layout_is_seen(root: Path, tmp_path: Path) -> None:
    """The probe is no rubber stamp: swapping two fields changes its output."""
    original = root / "include" / "yoloq.h"
    swapped = tmp_path / "yoloq.h"
    before = "    float score;          /**< 0 to 1 */\n    int32_t class_id;"
    text = original.read_text(encoding="utf-8")
    assert before in text
    swapped.write_text(text.replace(before, "    int32_t class_id;\n    float score;"))
    outputs = []
    for header in (original, swapped):
        source = tmp_path / "probe.c"
        source.write_text(probe_source(header))
        program = tmp_path / "probe"
        subprocess.run(["gcc", "-std=c99", "-I", header.parent, source, "-o", program], check=True)
        outputs.append(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    assert outputs[0] != outputs[1]
