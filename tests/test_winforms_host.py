# SPDX-License-Identifier: Apache-2.0
"""The sample host under Xvfb with the demo model on real pictures, driven by mouse and keyboard."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import yoloq
from winforms import HOST, Host, dotnet, libraries, screen, write_settings

NAMES = ["螺栓", "螺母", "垫圈", "螺钉", "划痕"]
SCRATCH = {"ClassName": "划痕", "Comparison": 0, "Count": 1, "MinScore": 0.5, "Enabled": True}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The demo model with Chinese class names, in a folder with a Chinese name."""
    import yoloq_quantize

    folder = tmp_path_factory.mktemp("模型")
    data = folder / "data.yaml"
    data.write_text(f"path: .\nval: images\nnames: {json.dumps(NAMES, ensure_ascii=False)}\n", encoding="utf-8")
    yoloq_quantize.quantize(
        root / "models/fasteners-yolo26n-e2e.onnx", root / "datasets/fasteners/images/calib", folder / "紧固件.yoloq",
        recipe="fast", data=data, measure=False, backend_options={"precision": "f32"},
    )  # fmt: skip
    return folder / "紧固件.yoloq"


@pytest.fixture(scope="module")
def pictures(root: Path) -> Path:
    return root / "datasets/fasteners/images/val"


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    with screen() as name:
        yield name


def expected(package: Path, picture: Path, score: float) -> list[str]:
    """What the Python binding finds, best first."""
    with yoloq.Detector(package) as detector:
        found = detector.detect(cv2.imread(str(picture)), score_threshold=score).detections
        return [NAMES[each.class_id] for each in found]


def test_a_picture_and_the_threshold_slider(display: str, package: Path, pictures: Path, tmp_path: Path) -> None:
    """The boxes are those of the Python binding, before and after the slider was dragged on the still picture."""
    picture = tmp_path / "零件.png"  # JPEG decoders differ by a little
    assert cv2.imencode(".png", cv2.imread(str(pictures / "00000.jpg")))[1].tofile(picture) is None
    settings = tmp_path / "settings.json"
    with Host(display, settings, "--package", package, "--source", picture, "--language", "en") as host:
        status = host.wait(lambda status: status["inspected"])
        assert sorted(status["labels"]) == sorted(expected(package, picture, 0.25)) and len(status["labels"]) > 5
        assert status["model"] == "fasteners-yolo26n-e2e" and (status["ok"], status["ng"]) == (0, 0)
        host.drag_slider("score", 0.6)
        host.wait(lambda _: float(host.control("score")["value"]) > 0.55)
        value = float(host.control("score")["value"])
        fewer = sorted(expected(package, picture, value))
        assert value < 0.65 and fewer != sorted(status["labels"])
        after = host.wait(lambda now: sorted(now["labels"]) == fewer)
        assert (after["ok"], after["ng"]) == (0, 0), "another look at a picture is not another part"
        assert host.control("iou")["enabled"] is False, "this head needs no NMS"
        host.click("single")
        host.wait(lambda now: now["ok"] == 1)
        host.quit()


def test_run_ng_alarm_and_restart(
    display: str, package: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder at a rate: counters, NG pictures with JSON, alarm and acknowledgement; the window reacts meanwhile."""
    saved = tmp_path / "不合格"
    settings = write_settings(tmp_path / "settings.json", Rules=[SCRATCH], NgFolder=str(saved), Rate=50, Language="en")
    with Host(display, settings, "--package", package, "--source", pictures) as host:
        host.wait(lambda status: status["state"] == "Ready" and status["inspected"])
        host.ask("reset-heartbeat")
        host.click("run")
        host.wait(lambda status: status["state"] == "Running")
        status = host.wait(lambda status: status["ng"] >= 3 and status["ok"] >= 3 and status["beats"] > 50)
        assert status["alarm"] == "Active" and status["throughput"] >= 0
        host.click("run")
        status = host.wait(lambda status: status["state"] == "Ready")
        with capsys.disabled():
            print(
                f"\n  reaction while inferring: p99 {status['beat_p99']:.0f} ms, max {status['beat_max']:.0f} ms",
                end=" ",
            )
        status = host.wait(lambda now: now["saved"] + now["dropped"] == now["ng"])
        total = status["ok"] + status["ng"]
        host.click("acknowledge")
        host.wait(lambda now: now["alarm"] == "Clear")
        host.wait_for_control("acknowledge", enabled=False)
        assert host.log("log.acknowledged") == ["Alarm acknowledged"]
        host.click("reset")
        host.wait(lambda now: now["ok"] == now["ng"] == 0)
        assert total >= 6
        host.quit()
    check_saved(saved, status["saved"], pictures)
    with Host(display, settings) as host:  # what was open is open again
        status = host.wait(lambda status: status["inspected"])
        assert (status["model"], status["source"]) == ("fasteners-yolo26n-e2e", "val")
        assert host.control("rateBox")["text"] == "50"
        host.quit()


def check_saved(folder: Path, count: int, pictures: Path) -> None:
    records = sorted(folder.glob("ng_*.json"))
    assert len(records) == count >= 1
    assert {path.suffix for path in folder.iterdir()} == {".json", ".png"}
    for path in records:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["broken_rules"] == ["划痕 ≥ 1 @ 0.50"]
        assert any(found["class_name"] == "划痕" and found["score"] >= 0.5 for found in record["detections"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", record["time"])
        picture = cv2.imread(str(folder / record["picture"]))
        original = cv2.imread(str(pictures / record["source"]))
        # two JPEG decoders differ by a little
        assert picture.shape == original.shape and cv2.absdiff(picture, original).mean() < 1


def test_languages_and_themes_change_at_once(display: str, package: Path, pictures: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "settings.json", Language="en", DarkTheme=True)
    with Host(display, settings, "--package", package, "--source", pictures / "00001.jpg") as host:
        host.wait(lambda status: status["inspected"])
        assert host.control("run")["text"] == "Start" and host.log("log.source") == ["Source opened: 00001.jpg"]
        dark = brightness(host, tmp_path / "dark.png")
        host.click("language")
        assert host.wait_for_control("run")["text"] == "启动"
        assert host.log("log.source") == ["图像源已打开：00001.jpg"]
        host.click("theme")
        host.wait(lambda _: brightness(host, tmp_path / "light.png") > dark + 80)
        host.quit()
    assert json.loads(settings.read_text(encoding="utf-8"))["Language"] == "zh"


def brightness(host: Host, file: Path) -> float:
    host.screenshot(file)
    return float(np.median(cv2.imread(str(file))))


def test_dialogs_edit_rules_and_settings(display: str, package: Path, pictures: Path, tmp_path: Path) -> None:
    """A rule for any object turns the still picture NG at once; the settings dialog writes the file."""
    settings = write_settings(tmp_path / "settings.json", Language="en")
    with Host(display, settings, "--package", package, "--source", pictures / "00000.jpg") as host:
        host.wait(lambda status: status["inspected"])
        assert host.control("verdict")["value"] == "Ok"
        host.click("openRules")
        host.click("rulesAdd")
        assert host.wait_for_control("ruleClass0")["text"] == "any class"
        host.type_into("ruleCount0Box", "2")
        host.click("rulesOk")
        host.wait(lambda _: host.control("verdict")["value"] == "Ng")
        host.click("openSettings")
        host.click("settingsSaveNg")
        host.type_into("settingsTimeoutBox", "1234")
        host.click("settingsOk")
        host.wait(lambda _: "settings" not in host.controls())
        host.quit()
    written = json.loads(settings.read_text(encoding="utf-8"))
    assert [(rule["Count"], rule["ClassName"]) for rule in written["Rules"]] == [(2, "")]
    assert (written["SaveNg"], written["TimeoutMs"]) == (False, 1234)


def test_quick_presses_are_clicks_of_their_own(display: str, package: Path, pictures: Path, tmp_path: Path) -> None:
    """One each on two buttons side by side, and two on one, faster than a double click."""
    with Host(display, tmp_path / "settings.json", "--package", package, "--source", pictures / "00000.jpg") as host:
        host.wait(lambda status: status["inspected"])
        host.click("theme")
        host.click("openSettings")
        host.click("settingsCancel")
        host.wait(lambda _: "settings" not in host.controls())
        host.click("openRules")
        x, y, width, height = host.wait_for_control("rulesAdd")["place"]
        host.xdotool("mousemove", x + width // 2, y + height // 2, "click", "--repeat", 2, "--delay", 150, 1)
        host.wait_for_control("ruleClass1")
        host.click("rulesCancel")
        host.quit()


def test_zoom_and_pan(display: str, package: Path, pictures: Path, tmp_path: Path) -> None:
    with Host(display, tmp_path / "settings.json", "--package", package, "--source", pictures / "00000.jpg") as host:
        host.wait(lambda status: status["inspected"])
        x, y, width, height = host.control("view")["place"]
        centre = (x + width // 2, y + height // 2)
        zooms = [zoom(host)]
        host.xdotool("mousemove", *centre, "click", 4, "click", 4)
        host.wait(lambda _: zoom(host) > zooms[0] * 1.5)
        host.xdotool("mousemove", *centre, "mousedown", 1, "mousemove", centre[0] + 80, centre[1] + 40, "mouseup", 1)
        host.click("oneToOne")
        host.wait(lambda _: zoom(host) == 1)
        host.click("fit")
        host.wait(lambda _: zoom(host) == zooms[0])
        host.quit()


def zoom(host: Host) -> float:
    return float(host.control("view")["value"].split("@")[1])


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_nothing_overlaps_or_leaves_the_window(
    size: tuple[int, int], language: str, package: Path, pictures: Path, tmp_path: Path
) -> None:
    """Of visible controls that stand side by side in the same parent's place, none covers another."""
    with screen(*size) as display:
        words = ["--package", package, "--source", pictures / "00000.jpg", "--language", language]
        with Host(display, tmp_path / "settings.json", *words, size=f"{size[0]}x{size[1]}") as host:
            host.wait(lambda status: status["inspected"])
            kinds = {"FlatButton", "Stepper", "Slider", "PictureView", "VerdictView", "AlarmBar", "ClassTable"}
            kinds |= {"FactsView", "ChartView", "LogView", "StatusLine", "TitleView", "PlcLamp"}
            leaves = [c for c in host.ask("describe") if c["kind"] in kinds and not re.search("Less|More", c["name"])]
            host.quit()
    places = {control["name"]: control["place"] for control in leaves}
    assert len(places) == len(leaves) > 20
    for name, (x, y, w, h) in places.items():
        assert w >= 20 and h >= 16 and x >= 0 and y >= 0 and x + w <= size[0] and y + h <= size[1], (name, places[name])
        for other, (x2, y2, w2, h2) in places.items():
            assert name >= other or x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, (name, other)


def test_monos_compiler_takes_the_sources_too(tmp_path: Path) -> None:
    references = [*libraries(), "System.Windows.Forms", "System.Drawing", "System.Core", "System.Runtime.Serialization"]
    assert dotnet.mcs(tmp_path / "host.exe", dotnet.sources(HOST), references, ["-target:winexe"]).exists()


def test_the_project_file_builds(root: Path, tmp_path: Path) -> None:
    """The way of Visual Studio: MSBuild, project references, manifest, icon; in a copy, for it writes beside them."""
    for name in ("YoloQ", "YoloQ.Drawing", "YoloQ.Modbus", HOST):
        shutil.copytree(root / "bindings/csharp" / name, tmp_path / name, ignore=shutil.ignore_patterns("bin", "obj"))
    dotnet.msbuild(tmp_path / HOST / f"{HOST}.csproj", "-restore", "-p:Configuration=Release")
    built = tmp_path / HOST / "bin" / "Release" / "net472"
    names = {path.name for path in built.glob("*.dll")} | {f"{HOST}.exe"}
    assert names == {f"{HOST}.exe", *(library.name for library in libraries())}
    program = (built / f"{HOST}.exe").read_bytes()
    assert b"<dpiAwareness" in program and (root / "bindings/csharp" / HOST / "app.ico").read_bytes()[-500:] in program
