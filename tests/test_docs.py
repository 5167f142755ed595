# SPDX-License-Identifier: Apache-2.0
"""What the documents say is true: commands run, programs compile, links lead somewhere, both languages agree."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

READMES = ("README.md", "README.zh-CN.md")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)


@pytest.fixture
def workspace(root: Path, tmp_path: Path, demo_package: Path) -> Path:
    """A folder that looks like the repository to the README's commands."""
    for name in ("models", "datasets"):
        (tmp_path / name).symlink_to(root / name)
    return tmp_path


def command_path() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_readme_commands_run(root: Path, workspace: Path) -> None:
    commands = [line for block in blocks(root / "README.md", "bash") for line in block.splitlines()]
    ours = [line for line in commands if line.startswith("yoloq ")]
    assert len(ours) == 5
    for line in ours:
        done = subprocess.run(shlex.split(line), cwd=workspace, env=command_path(), capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert list((workspace / "found").glob("00000.*"))


def test_build_commands_exist(root: Path) -> None:
    """Every `build.py X` that a document names is a command (test and demo run elsewhere: they contain this test)."""
    usage = subprocess.run(
        [sys.executable, root / "build.py", "--help"], capture_output=True, text=True, check=True
    ).stdout
    named = set()
    for path in [*root.glob("*.md"), *root.glob("docs/*.md")]:
        named |= set(re.findall(r"build\.py (\w+)", path.read_text(encoding="utf-8")))
    assert {"demo", "test", "bench"} <= named
    for command in named:
        assert re.search(rf"build\.py {command}\b", usage), command


@pytest.mark.parametrize("readme", READMES)
def test_c_program_compiles(root: Path, build_dir: Path, tmp_path: Path, readme: str) -> None:
    (program,) = blocks(root / readme, "c")
    source = tmp_path / "readme.c"
    source.write_text(program + 'int main(void) { return detect("none.yoloq", 0, 1, 1) == 1 ? 0 : 2; }\n')
    out = tmp_path / "readme"
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", root / "include", "-L", build_dir / "lib"]
    subprocess.run(["gcc", *flags, source, "-o", out, "-lyoloq", f"-Wl,-rpath,{build_dir / 'lib'}"], check=True)
    done = subprocess.run([out], capture_output=True, text=True)
    assert done.returncode == 0 and "no package folder" in done.stdout


@pytest.mark.parametrize("readme", READMES)
def test_python_program_runs(root: Path, workspace: Path, demo_package: Path, readme: str) -> None:
    (program,) = blocks(root / readme, "python")
    (workspace / "fasteners.yoloq").symlink_to(demo_package)
    done = subprocess.run([sys.executable, "-c", program], cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("readme", READMES)
def test_csharp_program_is_the_one_that_is_run(root: Path, readme: str) -> None:
    """tests/test_csharp_binding.py compiles and runs examples/csharp/Detect.cs, in Wine too."""
    (shown,) = blocks(root / readme, "csharp")
    whole = (root / "examples/csharp/Detect.cs").read_text(encoding="utf-8")
    assert "".join(whole.splitlines(keepends=True)[2:]) == shown
    assert len(shown.splitlines()) <= 16


def test_both_languages_say_the_same(root: Path) -> None:
    english, chinese = ((root / name).read_text(encoding="utf-8") for name in READMES)
    for language in ("bash", "c"):
        assert blocks(root / READMES[0], language) == blocks(root / READMES[1], language)
    assert english.count("\n## ") == chinese.count("\n## ")
    assert english.count("\n| ") == chinese.count("\n| ")
    for mark in ("bench", "accuracy"):
        tables = [
            re.search(rf"<!-- {mark} -->(.*?)<!-- /{mark} -->", text, flags=re.S).group(1)
            for text in (english, chinese)
        ]
        assert tables[0] == tables[1]
        assert "|" in tables[0], f"the {mark} table is empty: run build.py {'bench' if mark == 'bench' else 'demo'}"


def test_links_lead_somewhere(root: Path) -> None:
    for path in [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("examples/**/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_dependencies_are_pinned(root: Path) -> None:
    for line in (root / "requirements.txt").read_text().splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line
