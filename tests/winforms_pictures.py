# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of docs/winforms.md anew, from the running host: python tests/winforms_pictures.py

Needs what the tests need (python3 build.py test sets it up), and a machine that is not busy: the charts show its times.
Look at each picture before it is kept.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import yoloq_quantize
from conftest import ROOT
from modbus_peer import client, free_port
from winforms import Host, screen, write_settings

OUT = ROOT / "docs" / "pictures"
DATA = ROOT / "datasets" / "fasteners" / "images"
NAMES = {"en": ["bolt", "nut", "washer", "screw", "scratch"], "zh": ["螺栓", "螺母", "垫圈", "螺钉", "划痕"]}
DIALOG = {"en": ("openSettings", "settings"), "zh": ("openRules", "rules")}
RUN_S, PAINT_S = 45, 2


def package(folder: Path, language: str) -> Path:
    """The demo model with class names of the language."""
    data = folder / "data.yaml"
    names = json.dumps(NAMES[language], ensure_ascii=False)
    data.write_text(f"path: .\nval: images\nnames: {names}\n", encoding="utf-8")
    out = folder / "fasteners.yoloq"
    model = ROOT / "models" / "fasteners-yolo26n-e2e.onnx"
    yoloq_quantize.quantize(model, DATA / "calib", out, recipe="fast", data=data, measure=False)
    return out


def settings(folder: Path, language: str, port: int) -> Path:
    rules = [
        {"ClassName": NAMES[language][4], "Comparison": 0, "Count": 1, "MinScore": 0.6, "Enabled": True},
        {"ClassName": "", "Comparison": 1, "Count": 3, "MinScore": 0.4, "Enabled": language == "zh"},
    ]
    plc = {"Enabled": True, "Server": True, "Host": "127.0.0.1", "Port": port, "Unit": 1, "Triggered": False}
    values = {"Language": language, "DarkTheme": language == "en", "Rate": 4, "ScoreThreshold": 0.4}
    return write_settings(folder / "settings.json", Rules=rules, Plc=plc, NgFolder="ng", **values)


def shoot(host: Host, name: str) -> None:
    host.xdotool("mousemove", 640, 795)  # off every button
    time.sleep(PAINT_S)
    host.screenshot(OUT / name)
    print(OUT / name)


def make(language: str, folder: Path) -> None:
    """The main window with an alarm, then a dialog over it in the other theme."""
    port = free_port()
    words = ("--package", package(folder, language), "--source", DATA / "val")
    with screen() as display, Host(display, settings(folder, language, port), *words) as host:
        host.wait(lambda status: status["inspected"] and host.log("log.plc_serving"))
        with client(port) as plc:
            assert not plc.read_holding_registers(0, count=1).isError()
            host.click("run")
            end = time.monotonic() + RUN_S
            host.wait(lambda _: time.monotonic() > end and host.control("verdict")["value"] == "Ng", 2 * RUN_S)
            host.click("run")
            host.wait(lambda status: status["state"] == "Ready")
            shoot(host, f"winforms-{language}.png")
            host.click("theme")
            button, dialog = DIALOG[language]
            host.click(button)
            host.wait_for_control(f"{dialog}Ok")
            shoot(host, f"winforms-{dialog}-{language}.png")
        host.quit()


def main() -> None:
    for language in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # NG pictures go to "ng" here, and no path is in the picture
            make(language, Path(folder))


if __name__ == "__main__":
    main()
