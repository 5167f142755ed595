# SPDX-License-Identifier: Apache-2.0
"""The sample host's rooms without a screen (settings, rules, counters, sources, NG store, loop), on Mono."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from winforms import FOLDER, HOST, environment, model_tests


@pytest.fixture(scope="module")
def outcome() -> dict[str, str]:
    """Test name -> "" or why it failed."""
    command = ["timeout", "60", "mono", str(model_tests())]
    run = subprocess.run(command, cwd=FOLDER, env=environment(), capture_output=True, text=True, check=False)
    lines = [re.fullmatch(r"(ok|failed) (\S+?)(?:: (.*))?", line) for line in run.stdout.splitlines()]
    assert lines and all(lines), run.stdout + run.stderr
    return {match[2]: match[3] or "" for match in lines if match}


def declared(root: Path) -> list[str]:
    names = []
    for path in sorted((root / "bindings/csharp" / f"{HOST}.Tests").glob("*.cs")):
        group = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"    public static class (\w+Tests)", line):
                group = found[1]
            elif found := re.match(r"        public static void (\w+)\(\)", line):
                names.append(f"{group}.{found[1]}")
    return names


def test_all_pass(outcome: dict[str, str], root: Path) -> None:
    assert set(outcome) == set(declared(root)) and len(outcome) >= 25
    assert {name: why for name, why in outcome.items() if why} == {}


def test_model_and_inspection_know_no_windows(root: Path) -> None:
    """And the model knows no pictures either."""
    host = root / "bindings/csharp" / HOST
    for room in ("Model", "Inspection"):
        for path in (host / room).glob("*.cs"):
            text = path.read_text(encoding="utf-8")
            assert "System.Windows.Forms" not in text and "WinForms.Views" not in text, path.name
            assert room != "Model" or "System.Drawing" not in text, path.name


def test_every_text_is_there_in_both_languages(root: Path) -> None:
    host = root / "bindings/csharp" / HOST
    table = (host / "Texts.cs").read_text(encoding="utf-8")
    rows = re.findall(
        r'^            "((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)",?$', table, flags=re.M
    )
    keys = {row[0] for row in rows}
    assert len(rows) == len(keys) > 100
    for key, english, chinese in rows:
        assert sorted(re.findall(r"\{\d\}", english)) == sorted(re.findall(r"\{\d\}", chinese)), key
        assert not re.search("[\u4e00-\u9fff]", english), key
    groups = "|".join({key.split(".")[0] for key in keys})
    used = {f"status.{state}" for state in ("empty", "loading", "ready", "running")}  # made from the state's name
    for path in host.rglob("*.cs"):
        if path.name != "Texts.cs":
            used |= set(re.findall(rf'"((?:{groups})\.[a-z0-9_]+)"', path.read_text(encoding="utf-8")))
    used -= {"settings.json"}
    assert used == keys
