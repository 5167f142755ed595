# SPDX-License-Identifier: Apache-2.0
"""The command `yoloq`: outputs, exit codes, one-line errors, whole files only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import yoloq
from yoloq import commands, files
from yoloq.cli import main

MakePackage = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A JPEG file of 200x150 noise with a Chinese name."""
    path = tmp_path / "输入" / "零件 1.jpg"
    path.parent.mkdir()
    noise = np.random.default_rng(5).integers(0, 256, (150, 200, 3), np.uint8)
    PillowImage.fromarray(noise).save(path)
    return path


@pytest.fixture(scope="module")
def package(make_dummy_package: MakePackage) -> str:
    return str(make_dummy_package(name="零件", classes=["螺栓", "螺母", "垫圈"]))


def one_line(text: str) -> str:
    """The line without its prefix; fails if it is not just one."""
    assert text.startswith("yoloq: error: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.removeprefix("yoloq: error: ").rstrip()


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "yoloq", *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- detect


def test_detect(package: str, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    out, report = tmp_path / "结果", tmp_path / "结果.json"
    words = ["detect", package, str(picture), "--backend", "dummy", "--out", str(out), "--json", str(report)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"{picture}: ")
    assert "螺栓" in printed.out
    data = json.loads(report.read_text(encoding="utf-8"))
    assert {key: data[key] for key in ("package", "name", "backend")} == {
        "package": package,
        "name": "零件",
        "backend": "dummy",
    }
    (entry,) = data["images"]
    assert (entry["file"], entry["width"], entry["height"]) == (str(picture), 200, 150)
    assert entry["found"] == len(entry["detections"]) > 0
    assert set(entry["timings_ms"]) == {"queue", "preprocess", "engine", "decode"}
    best = entry["detections"][0]
    assert set(best) == {"class_id", "class", "score", "box"}
    assert best["class"] == ["螺栓", "螺母", "垫圈"][best["class_id"]]
    with PillowImage.open(out / picture.name) as drawn, PillowImage.open(picture) as original:
        assert drawn.size == original.size
        difference = np.abs(np.asarray(drawn).astype(int) - np.asarray(original.convert("RGB")))
        assert difference.mean() > 1
    assert sorted(p.name for p in out.iterdir()) == [picture.name]


def test_detect_equals_the_library(package: str, picture: Path, capsys: Capture) -> None:
    assert main(["detect", package, str(picture), "--backend", "dummy", "--json", "-", "--score", "0.6"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["images"]
    with yoloq.Detector(package, backend="dummy", score_threshold=0.6) as detector:
        with PillowImage.open(picture) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        expected = detector.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
    boxes = np.array([d["box"] for d in entry["detections"]])
    np.testing.assert_allclose(boxes, expected.boxes, atol=1e-3)
    assert [d["class_id"] for d in entry["detections"]] == expected.class_ids.tolist()


def test_detect_a_folder(package: str, picture: Path, capsys: Capture) -> None:
    other = picture.with_name("a.png")
    PillowImage.new("L", (30, 20)).save(other)
    picture.with_name("notes.txt").write_text("no picture")
    assert main(["detect", package, str(picture.parent), "--backend", "dummy", "--json", "-"]) == 0
    entries = json.loads(capsys.readouterr().out)["images"]
    assert [entry["file"] for entry in entries] == [str(other), str(picture)]


def test_detect_on_the_demo_model(demo_package: Path, root: Path, tmp_path: Path, capsys: Capture) -> None:
    pictures = [str(root / f"datasets/fasteners/images/val/{stem}.jpg") for stem in ("00000", "00007")]
    out = tmp_path / "drawn"
    assert main(["detect", str(demo_package), *pictures, "--out", str(out), "--json", "-"]) == 0
    entries = json.loads(capsys.readouterr().out)["images"]
    for entry in entries:
        label = root / f"datasets/fasteners/labels/val/{Path(entry['file']).stem}.txt"
        truth = np.array([[float(w) for w in line.split()] for line in label.read_text().splitlines()])
        centres = truth[:, 1:3] * (entry["width"], entry["height"])
        hits = 0
        for d in entry["detections"]:
            x1, y1, x2, y2 = d["box"]
            inside = (centres > (x1, y1)).all(axis=1) & (centres < (x2, y2)).all(axis=1)
            hits += bool((inside & (truth[:, 0] == d["class_id"])).any())
        assert hits >= len(truth) / 3
        assert hits >= len(entry["detections"]) * 0.6
    assert len(list(out.iterdir())) == 2


def test_twins_are_refused(package: str, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    twin = tmp_path / picture.name
    twin.write_bytes(picture.read_bytes())
    words = ["detect", package, str(picture), str(twin), "--backend", "dummy", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "same file" in one_line(capsys.readouterr().err)


def test_broken_picture_leaves_no_report(package: str, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(picture.read_bytes()[:2000])
    report = tmp_path / "report.json"
    words = ["detect", package, str(picture), str(broken), "--backend", "dummy", "--json", str(report)]
    assert main(words) == 1
    assert "broken.jpg" in one_line(capsys.readouterr().err)
    assert not report.exists()


def test_failed_write_leaves_nothing(
    package: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def full(self: PillowImage.Image, path: Path, kind: str, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    out = tmp_path / "out"
    out.mkdir()
    old = out / picture.name
    old.write_bytes(b"old")
    monkeypatch.setattr(PillowImage.Image, "save", full)
    assert main(["detect", package, str(picture), "--backend", "dummy", "--out", str(out)]) == 1
    assert "No space left" in one_line(capsys.readouterr().err)
    assert [p.name for p in out.iterdir()] == [picture.name]
    assert old.read_bytes() == b"old"


def test_missing_font_is_told_before_the_work(
    package: str, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("YOLOQ_FONT", str(tmp_path / "none.ttf"))
    out = tmp_path / "out"
    assert main(["detect", package, str(picture), "--backend", "dummy", "--out", str(out)]) == 1
    assert "YOLOQ_FONT" in one_line(capsys.readouterr().err)
    assert not out.exists()


# ------------------------------------------------------------------------------------------------------------ pictures


def test_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255  # left half white
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    path = tmp_path / "turned.png"
    PillowImage.fromarray(pixels).save(path, exif=exif)
    upright = np.asarray(files.read_picture(path))
    assert upright.shape == (40, 20, 3)
    assert upright[:20].min() == 255
    assert upright[20:].max() == 0


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    for suffix in ("png", "tif"):
        path = tmp_path / f"deep.{suffix}"
        PillowImage.fromarray(deep).save(path)
        assert np.asarray(files.read_picture(path))[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


def test_palette_alpha_and_bilevel(tmp_path: Path) -> None:
    palette = PillowImage.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert np.asarray(files.read_picture(tmp_path / "palette.png")).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    PillowImage.new("RGBA", (1, 1), (1, 2, 3, 0)).save(tmp_path / "alpha.png")
    assert np.asarray(files.read_picture(tmp_path / "alpha.png")).tolist() == [[[1, 2, 3]]]
    PillowImage.new("1", (1, 1), 1).save(tmp_path / "bit.png")
    assert np.asarray(files.read_picture(tmp_path / "bit.png")).tolist() == [[[255, 255, 255]]]


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tif")
    PillowImage.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "long.tif")
    PillowImage.new("L", (16385, 1)).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("text")
    for name, words in {
        "float.tif": "float",
        "long.tif": "32-bit",
        "wide.png": "16384",
        "text.png": "text.png",
    }.items():
        with pytest.raises(yoloq.InvalidArgument, match=words):
            files.read_picture(tmp_path / name)
    with pytest.raises(yoloq.InvalidArgument, match="folder"):
        files.read_picture(tmp_path)
    with pytest.raises(yoloq.NotFound, match="none"):
        files.read_picture(tmp_path / "none.png")


# -------------------------------------------------------------------------------------------------------- info, bench


def test_info(package: str, tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "info.json"
    assert main(["info", package, "--backend", "dummy", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "零件" in printed
    assert "3: 螺栓, 螺母, 垫圈" in printed
    assert "yes, on dummy" in printed
    data = json.loads(report.read_text(encoding="utf-8"))
    assert data["usable"] is True
    assert data["classes"] == ["螺栓", "螺母", "垫圈"]
    assert data["detector"]["backend"] == "dummy"
    assert data["bytes"] > 0


def test_info_of_a_package_for_another_machine(make_dummy_package: MakePackage, capsys: Capture) -> None:
    target = {"chip": "nochip", "backend": "nosuch", "sdk": "none", "sdk_version": "0", "compiler": "the tests"}
    package = str(make_dummy_package(target=target))
    assert main(["info", package]) == 0
    assert "no: " in capsys.readouterr().out
    assert main(["info", package, "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["usable"] is False
    assert "nosuch" in data["reason"]
    assert data["detector"] is None


def test_info_of_an_altered_package(make_dummy_package: MakePackage, capsys: Capture) -> None:
    package = make_dummy_package()
    (package / "labels.txt").write_text("altered")
    assert main(["info", str(package), "--backend", "dummy"]) == 1
    assert "labels.txt" in one_line(capsys.readouterr().err)


def test_info_backends(capsys: Capture) -> None:
    assert main(["info", "--backends"]) == 0
    assert "dummy" in capsys.readouterr().out
    assert main(["info", "--backends", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["version"] == yoloq.version()
    assert {"cpu", "dummy"} <= {backend["name"] for backend in data["backends"]}
    assert all(set(backend) == {"name", "version", "usable", "reason"} for backend in data["backends"])


def test_bench(package: str, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "bench.json"
    words = ["bench", package, "--backend", "dummy", "--seconds", "0.3", "--streams", "2"]
    assert main([*words, "--size", "320x200", "--json", str(report)]) == 0
    assert "pictures/s" in capsys.readouterr().out
    data = json.loads(report.read_text())
    assert data["streams"] == 2
    assert data["picture"] == {"source": "synthetic", "width": 320, "height": 200}
    assert data["pictures"] > 2
    assert data["throughput_per_s"] == pytest.approx(data["pictures"] / data["seconds"], rel=0.02)
    assert list(data["latency_ms"]) == ["total", "queue", "preprocess", "engine", "decode"]
    total = data["latency_ms"]["total"]
    assert 0 < total["p50"] <= total["p90"] <= total["p99"] <= total["max"]
    assert main([*words, "--image", str(picture), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"]["width"] == 200


def test_bench_tells_of_failures(make_dummy_package: MakePackage, capsys: Capture) -> None:
    package = make_dummy_package(options={"dummy.fail_every": "20"})
    assert main(["bench", str(package), "--backend", "dummy", "--seconds", "30", "--size", "64x64"]) == 1
    one_line(capsys.readouterr().err)


# ------------------------------------------------------------------------------------------------- errors, exit codes


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["detect"],
        ["detect", "p.yoloq"],
        ["detect", "p.yoloq", "a.jpg", "--score", "high"],
        ["detect", "p.yoloq", "a.jpg", "--nosuch"],
        ["info"],
        ["info", "p.yoloq", "--backends"],
        ["bench", "p.yoloq", "--size", "big"],
        ["bench", "p.yoloq", "--size", "0x5"],
        ["bench", "p.yoloq", "--seconds", "-1"],
        ["bench", "p.yoloq", "--streams", "1.5"],
    ],
)
def test_bad_usage_is_2(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert "--help" in one_line(printed.err)
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["detect", "{tmp}/无.yoloq", "{picture}"], "无.yoloq"),
        (["detect", "{package}", "{tmp}/无.jpg"], "no such picture"),
        (["detect", "{package}", "{tmp}"], "no pictures in the folder"),
        (["detect", "{package}", "{picture}", "--backend", "nosuch"], "nosuch"),
        (["detect", "{package}", "{picture}", "--backend", "dummy", "--score", "0"], "score_threshold"),
        (["detect", "{package}", "{picture}", "--backend", "dummy", "--json", "{tmp}/no/f.json"], "No such file"),
        (["info", "{tmp}/无.yoloq"], "无.yoloq"),
        (["bench", "{package}", "--backend", "dummy", "--streams", "65"], "streams"),
        (["bench", "{package}", "--backend", "dummy", "--image", "{tmp}/无.jpg"], "no such picture"),
    ],
)
def test_failure_is_1(
    words: list[str], said: str, package: str, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    places = {"package": package, "picture": str(picture), "tmp": str(tmp_path)}
    assert main([word.format(**places) for word in words]) == 1
    assert said in one_line(capsys.readouterr().err)


def test_help_and_version() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for command in ("detect", "info", "bench", "quantize", "evaluate"):
        assert command in shown.stdout
    assert run("--version").stdout == f"yoloq {yoloq.version()}\n"


def test_missing_library_is_one_line(tmp_path: Path) -> None:
    failed = run("info", "--backends", YOLOQ_LIBRARY=str(tmp_path / "none.so"))
    assert failed.returncode == 1
    assert "YOLOQ_LIBRARY" in one_line(failed.stderr)


def test_unforeseen_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(args: object) -> int:
        raise KeyError("first\nsecond")

    monkeypatch.setattr(commands, "info", fail)
    monkeypatch.delenv("YOLOQ_DEBUG", raising=False)
    assert main(["info", "--backends"]) == 1
    assert "KeyError" in one_line(capsys.readouterr().err)
    monkeypatch.setenv("YOLOQ_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["info", "--backends"])


WITHOUT_TOOLS = """
import sys
for name in ("onnx", "onnxruntime", "onnx_ir", "yaml", "pycocotools", "cv2", "jinja2", "matplotlib", "tqdm"):
    sys.modules[name] = None
from yoloq.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "words", [["quantize", "m.onnx", "--calib", "d", "--out", "p.yoloq"], ["evaluate", "p.yoloq", "--data", "d.yaml"]]
)
def test_toolchain_without_its_packages(words: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT_TOOLS]
    failed = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "install yoloq[quantize]" in one_line(failed.stderr)
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert words[0] in shown.stdout


def test_own_commands_do_not_load_the_toolchain(package: str) -> None:
    script = (
        "import sys; from yoloq.cli import main; "
        f"code = main(['info', {package!r}, '--backend', 'dummy']); "
        "loaded = {'onnx', 'yoloq_quantize', 'matplotlib', 'cv2'} & set(sys.modules); sys.exit(code or bool(loaded))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_is_quiet(package: str, number: signal.Signals, code: int) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from yoloq.cli import main; print('up', flush=True); sys.exit(main())",
    ]
    command += ["bench", package, "--backend", "dummy", "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(1.5)  # into the measurement
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert (out, err) == ("", "")


def test_reader_that_leaves_is_no_traceback(package: str, picture: Path) -> None:
    command = [sys.executable, "-m", "yoloq", "detect", package, *[str(picture)] * 3, "--backend", "dummy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        err = process.stderr.read() if process.stderr else ""
    assert process.returncode == 1
    assert err == ""
