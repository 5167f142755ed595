# SPDX-License-Identifier: Apache-2.0
"""yoloq doctor: what a machine lacks for a backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import ascend_double
import rockchip
import sophgo
from yoloq import doctor
from yoloq.cli import main

Capture = pytest.CaptureFixture[str]


def run(*arguments: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "yoloq", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=sophgo.environment(runtime), check=False)


def test_all(capsys: Capture) -> None:
    assert main(["doctor"]) == 0, "what is not asked for may be missing"
    printed = capsys.readouterr().out
    assert "ok  backend cpu" in printed and "backend sophgo" in printed
    assert main(["doctor", "--json", "-"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {check["subject"] for check in checks} >= {"backend cpu", "sophgo devices", "sophgo runtime"}
    assert all(set(check) == {"subject", "ok", "text"} for check in checks)


def test_a_runtime_that_is_there(build_dir: Path) -> None:
    double = build_dir / "testing" / "sophgo"
    done = run("sophgo", runtime=double)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok  backend sophgo       BMRuntime 1.0.0 double, usable" in done.stdout
    assert f"{double} is there (YOLOQ_SOPHGO_RUNTIME)" in done.stdout


def test_rockchip(build_dir: Path, tmp_path: Path) -> None:
    for runtime, code, words in (
        (build_dir / "testing" / "rockchip", 0, "ok  backend rockchip     RKNN runtime, usable"),
        (tmp_path / "none", 1, "copy librknnrt.so to /usr/lib, or name its folder in YOLOQ_ROCKCHIP_RUNTIME"),
    ):
        command = [sys.executable, "-m", "yoloq", "doctor", "rockchip"]
        environment = rockchip.environment(runtime)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert words in done.stdout and "(YOLOQ_ROCKCHIP_RUNTIME)" in done.stdout


def test_the_toolchains_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yoloq_quantize.doctor import checks

    monkeypatch.setenv("YOLOQ_CACHE", str(tmp_path))
    for name in ("PYENV_ROOT", "XDG_DATA_HOME", "PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    assert "no Python 3.11 to install it with" in {row[0]: row[2] for row in checks()}["rockchip compiler"]
    for name in ("rknn_toolkit2-2.5.0-0123", "nncase-2.11.0-0123"):
        (tmp_path / name / "bin").mkdir(parents=True)
    found = {row[0]: row[2] for row in checks()}
    assert found["rockchip compiler"] == f"rknn-toolkit2 2.5.0 in {tmp_path / 'rknn_toolkit2-2.5.0-0123'}"
    assert found["canaan compiler"] == f"nncase 2.11.0 in {tmp_path / 'nncase-2.11.0-0123'}"
    assert found["sophgo compiler"].startswith("tpu-mlir: none")


def test_a_runtime_that_is_missing(tmp_path: Path) -> None:
    done = run("sophgo", runtime=tmp_path / "none")
    assert done.returncode == 1
    assert "no  backend sophgo" in done.stdout and "install libsophon" in done.stdout
    assert "is not there" in done.stdout


def test_unknown_backend(capsys: Capture) -> None:
    assert main(["doctor", "nosuch"]) == 1
    assert "there is no backend nosuch" in capsys.readouterr().err


def needs(folder: Path) -> doctor.Needs:
    return doctor.Needs(str(folder / "bm-sophon*"), folder, "YOLOQ_NO_SUCH_VARIABLE", folder / "driver_version")


def test_a_driver(tmp_path: Path) -> None:
    (tmp_path / "bm-sophon0").touch()
    (tmp_path / "driver_version").write_text("release version:0.5.1\n")
    found = {check.subject: check for check in doctor.vendor_checks("sophgo", needs(tmp_path))}
    assert found["sophgo devices"].text == str(tmp_path / "bm-sophon0")
    assert found["sophgo driver"].text == "release version:0.5.1"
    assert found["sophgo runtime"].text == f"{tmp_path} is there"


def test_a_node_without_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "bm-sophon0"
    node.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path != node)  # root may open everything
    found = next(doctor.vendor_checks("sophgo", needs(tmp_path)))
    assert found.ok is False and f"no access to {node}" in found.text


# --------------------------------------------------------------------------------------------- a package that is tried


def try_package(folder: Path, package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "yoloq", "doctor", "--backend", "ascend", "--package", str(package), *arguments]
    environment = ascend_double.environment(folder)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_package_that_works(tmp_path: Path) -> None:
    package = ascend_double.package(tmp_path / "tiny.yoloq", (1, 4))
    done = try_package(ascend_double.runtime(), package, "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok  package              tiny for ascend310p on ascend, AscendCL 1.99.0" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    checks = {check["subject"]: check for check in report["checks"]}
    assert checks["smoke test"]["ok"] is True
    assert "in a batch of 4, always the same; engine p50" in checks["smoke test"]["text"]
    assert checks["backend ascend"]["ok"] is True and "machine" in checks


def test_a_package_that_does_not(tmp_path: Path) -> None:
    package = ascend_double.package(tmp_path / "tiny.yoloq", facts={"soc": "Ascend910B4"})
    done = try_package(ascend_double.runtime(), package)
    assert done.returncode == 1
    assert "no  smoke test           backend ascend, loading the model: aclmdlLoadFromFile failed" in done.stdout


def test_a_vendors_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "show-npu"
    tool.write_text("#!/bin/sh\necho '+------+'\necho '| 310P3 | OK |'\necho '| 30 C |'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    shown = replace(needs(tmp_path), command=("show-npu",), others=(tmp_path,), folder=tmp_path / "none")
    found = {check.subject: check for check in doctor.vendor_checks("ascend", shown)}
    assert found["ascend show-npu"].text == "310P3 | OK / 30 C"
    assert found["ascend runtime"].text == f"{tmp_path} is there"
