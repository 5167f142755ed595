# SPDX-License-Identifier: Apache-2.0
"""The house stands as docs/architecture.md draws it: arrows run one way, rooms are small, chips stay in place."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

# Each file may include only what stands above it here (and its own header).
NATIVE_ORDER = [
    {"yoloq", "yoloq_backend"},
    {"text", "deadline"},
    {"status", "head", "log", "platform", "sha256"},
    {"image"},
    {"preprocess", "decode", "candidates"},
    {"nms", "stats", "manifest"},
    {"package", "registry"},
    {"session"},
    {"engine"},
    {"detector"},
    {"handles"},
    {"api"},
]
MAX_FILE = 500
MAX_FUNCTION = 60


def sources(root: Path, *patterns: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\n")
    return [root / name for name in names if name and (root / name).exists()]


def room(name: str) -> str:
    """preprocess_avx2 and decode_plan are inner rooms of preprocess and decode."""
    known = set().union(*NATIVE_ORDER)
    while name not in known and "_" in name:
        name = name.rsplit("_", 1)[0]
    return name


def height(name: str) -> int:
    found = [i for i, layer in enumerate(NATIVE_ORDER) if room(name) in layer]
    assert found, f"src/{name}: say in tests/test_layers.py where it stands"
    return found[0]


def wrong_arrows(name: str, text: str) -> list[str]:
    included = re.findall(r'^#include "([\w/]+)\.(?:h|inl)"', text, flags=re.M)
    return [f"{name} -> {other}" for other in included if room(other) != room(name) and height(other) > height(name)]


def test_native_arrows_run_one_way(root: Path) -> None:
    files = [path for path in (root / "src").iterdir() if path.suffix in (".h", ".cpp", ".inl")]
    assert len(files) > 20
    assert [arrow for path in files for arrow in wrong_arrows(path.stem, path.read_text())] == []


def test_a_wrong_arrow_is_seen() -> None:
    assert wrong_arrows("decode", '#include "detector.h"\n') == ["decode -> detector"]


def test_detector_alone_knows_the_order_of_a_detection(root: Path) -> None:
    """Nothing else brings letterbox, engine, decode and NMS together."""
    steps = {"decode.h", "nms.h", "engine.h", "preprocess.h"}
    knowing = set()
    for path in (root / "src").glob("*.cpp"):
        header = path.with_suffix(".h")
        text = path.read_text() + (header.read_text() if header.exists() else "")
        if steps <= set(re.findall(r'#include "(\w+\.h)"', text)):
            knowing.add(path.stem)
    assert knowing == {"detector"}


def test_backends_see_only_the_contract_and_their_sdk(root: Path) -> None:
    own = {path.name for path in (root / "src" / "backends").iterdir()}
    for path in (root / "src" / "backends").glob("*.[ch]*"):
        for included in re.findall(r'#include "([^"]+)"', path.read_text()):
            assert included == "yoloq_backend.h" or included in own, f"{path.name} includes {included}"


def test_no_sdk_in_the_core(root: Path) -> None:
    for path in (root / "src").glob("*.*"):
        assert not re.search(r"#include [<\"](openvino|acl|bmlib|bmruntime|rknn|cn)", path.read_text()), path.name


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_python_binding_does_not_need_the_toolchain(root: Path) -> None:
    for path in (root / "bindings/python/yoloq").rglob("*.py"):
        if path.name != "cli.py":  # which asks for the toolchain's commands, and does without
            assert not any(name.startswith("yoloq_quantize") for name in imports(path)), path.name


def test_pipeline_alone_knows_the_order_of_a_quantisation(root: Path) -> None:
    folder = root / "tools/quantize/yoloq_quantize"
    steps = {"cut", "calibrate", "place", "package"}
    knowing = set()
    for path in folder.glob("*.py"):
        names = {name.rsplit(".", 1)[-1] for name in imports(path) if name.startswith("yoloq_quantize")}
        if steps <= names:
            knowing.add(path.stem)
    assert knowing == {"pipeline"}


def test_only_what_learns_needs_torch(root: Path) -> None:
    folder = root / "tools/quantize/yoloq_quantize"
    needing = {p.relative_to(folder).parts[0] for p in folder.rglob("*.py") if "torch" in imports(p)}
    assert needing == {"train", "swap"}


def test_no_chip_is_named_outside_its_place(root: Path) -> None:
    places = ("targets/", "lower/", "src/backends/")
    pattern = re.compile(r"\b(chip|target|backend)\w*\s*(==|!=|in)\s*[\(\[]?[\"'](cpu|ascend|mlu|bm1|rk3)")
    for path in sources(root, "src/*", "tools/*.py", "bindings/*.py"):
        if not any(place in str(path) for place in places):
            assert not pattern.search(path.read_text(encoding="utf-8")), path


def function_lengths(path: Path) -> list[tuple[str, int]]:
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        return [(n.name, n.end_lineno - n.lineno + 1) for n in nodes if isinstance(n, ast.FunctionDef)]
    lengths = []
    if path.suffix == ".cs":
        return csharp_function_lengths(path.read_text(encoding="utf-8"))
    for indent in ("", "    "):  # functions, and those inside classes
        start = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            if re.match(indent + r"(?!.*\b(namespace|class|struct|enum|extern)\b)\w.*\{$", line):
                start = number
            elif line.startswith(indent + "}") and start is not None:
                lengths.append((f"line {start + 1}", number - start + 1))
                start = None
    return lengths


def csharp_function_lengths(text: str) -> list[tuple[str, int]]:
    """Members of a class in a namespace; tables of values end with more than a brace."""
    blocks = re.finditer(r"^ {8}\{\n((?:.*\n)*?) {8}\}(.*)$", text, flags=re.M)
    members = [(text.count("\n", 0, m.start()) + 1, m[1].count("\n") + 2) for m in blocks if not m[2]]
    return [(f"line {line}", length) for line, length in members]


def test_a_long_csharp_function_is_seen() -> None:
    text = "        void Long()\n        {\n" + "            Step();\n" * 60 + "        }\n"
    assert csharp_function_lengths(text) == [("line 2", 62)]
    assert csharp_function_lengths(text.replace("}\n", "});\n")) == []


def test_rooms_are_small(root: Path) -> None:
    large = []
    for path in sources(root, "*.py", "*.cpp", "*.c", "*.h", "*.inl", "*.cs"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE:
            large.append(f"{path.name}: {lines} lines")
        if path.suffix != ".h":
            lengths = function_lengths(path)
            large += [f"{path.name}: {name} has {length} lines" for name, length in lengths if length > MAX_FUNCTION]
    assert large == []


def test_every_source_names_its_licence(root: Path) -> None:
    for path in sources(root, "*.py", "*.cpp", "*.c", "*.h", "*.inl", "*.cmake", "CMakeLists.txt", "*.cs", "*.csproj"):
        assert "SPDX-License-Identifier: Apache-2.0" in path.read_text(encoding="utf-8")[:300], path


@pytest.mark.parametrize("word", ["agpl", "gpl"])
def test_no_gpl_package_is_required(root: Path, word: str) -> None:
    """Licences of what .venv holds for run time and toolchain, as their own metadata says."""
    from importlib import metadata

    for line in (root / "requirements.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        about = metadata.metadata(line.split("==")[0])
        licences = [about.get("License-Expression") or "", (about.get("License") or "")[:200]]
        licences += [text for text in about.get_all("Classifier") or [] if text.startswith("License")]
        words = re.findall(r"[a-z]+", " ".join(licences).lower())
        assert word not in words or "lgpl" in words, f"{line}: {licences}"
