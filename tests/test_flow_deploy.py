# SPDX-License-Identifier: Apache-2.0
"""Pushing and going back, the same contract for folders and for SSH (a real sshd), with links and with copies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_case import make_world, plan_text
from ssh_server import Server, ssh_server
from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.deploy import push, rollback
from yoloq_quantize.flow.plan import Destination, read_plan
from yoloq_quantize.flow.run import Options, run
from yoloq_quantize.flow.run import rollback as roll_back_plan
from yoloq_quantize.flow.sites import Site, SshSite, open_site

NAME = "零件 a.yoloq"  # quoting and UTF-8 all the way


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


LOCAL = ["folder, links", "folder, copies"]


@pytest.fixture(params=[*LOCAL, "ssh, links"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    place, kind = request.param.split(", ")
    folder = Destination(str(tmp_path / "it's there"), None, None, None, (), 2, kind == "links")
    return over_ssh(folder, request.getfixturevalue("server")) if place == "ssh" else folder


def over_ssh(folder: Destination, server: Server) -> Destination:
    return dataclasses.replace(
        folder, host=server.host, port=server.port, identity=server.identity, ssh_options=server.options
    )


@pytest.fixture
def site(destination: Destination) -> Site:
    return open_site(destination, NAME)


def package(folder: Path, content: str) -> Path:
    """A package as far as pushing looks at it."""
    made = folder / f"made-{content}"
    made.mkdir()
    (made / "model.onnx").write_text(content * 1000)
    files = {"model.onnx": {"sha256": hashlib.sha256((content * 1000).encode()).hexdigest()}}
    manifest = json.dumps({"name": content, "files": files})
    (made / "manifest.json").write_text(manifest)
    (made / "manifest.sha256").write_text(f"{hashlib.sha256(manifest.encode()).hexdigest()}  manifest.json\n")
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def live(destination: Destination) -> str:
    """Which package a reader finds under the stable name; fails on anything but a whole one."""
    stable = Path(destination.folder) / NAME
    name = json.loads((stable / "manifest.json").read_text())["name"]
    assert (stable / "model.onnx").read_text() == name * 1000
    assert len(tree(stable)) == 3
    return name


@pytest.mark.parametrize("destination", [*LOCAL, "ssh, links", "ssh, copies"], indirect=True)
def test_push_and_roll_back(site: Site, destination: Destination, tmp_path: Path) -> None:
    one, two = package(tmp_path, "one"), package(tmp_path, "two")
    assert push(site, one, 2).version.startswith("000001-")
    assert tree(Path(destination.folder) / NAME) == tree(one)
    assert push(site, two, 2).changed
    assert live(destination) == "two"
    again = push(site, two, 2)
    assert (again.changed, again.version[:6]) == (False, "000002")
    assert rollback(site).version.startswith("000001-")
    assert live(destination) == "one"
    with pytest.raises(QuantizeError, match=r"rolled back there; .* --force"):
        push(site, two, 2)
    assert live(destination) == "one"
    assert push(site, two, 2, force=True).version.startswith("000002-")  # it is still there
    assert live(destination) == "two"
    assert site.state().held == ()


@pytest.mark.parametrize("destination", LOCAL, indirect=True)
def test_old_versions_go(site: Site, destination: Destination, tmp_path: Path) -> None:
    for content in "abcd":
        push(site, package(tmp_path, content), 2)
    assert [version[:6] for version in site.state().versions] == ["000002", "000003", "000004"]
    assert live(destination) == "d"
    assert rollback(site).version.startswith("000003")
    assert rollback(site).version.startswith("000002")
    assert live(destination) == "b"
    with pytest.raises(QuantizeError, match="no earlier version there; it has 000002-"):
        rollback(site)
    assert rollback(site, "000004").version == site.state().versions[-1]
    assert live(destination) == "d"
    with pytest.raises(QuantizeError, match="no single version 00000 there"):
        rollback(site, "00000")


def test_nothing_to_roll_back(site: Site) -> None:
    with pytest.raises(QuantizeError, match="nothing was pushed there yet"):
        rollback(site)


def test_a_foreign_package_is_left_alone(site: Site, destination: Destination, tmp_path: Path) -> None:
    stable = Path(destination.folder) / NAME
    stable.mkdir(parents=True)
    (stable / "manifest.json").write_text("mine")
    with pytest.raises(QuantizeError, match="not put there by a pipeline; move it away"):
        push(site, package(tmp_path, "a"), 2)
    assert (stable / "manifest.json").read_text() == "mine"


def test_a_damaged_version_is_not_rolled_back_to(site: Site, destination: Destination, tmp_path: Path) -> None:
    first = push(site, package(tmp_path, "a"), 2).version
    push(site, package(tmp_path, "b"), 2)
    stored = Path(destination.folder) / f".{NAME}.versions" / first / "model.onnx"
    stored.write_text("x")
    with pytest.raises(QuantizeError, match=r"cannot be used: its file model.onnx is missing or altered"):
        rollback(site)
    assert live(destination) == "b"


def test_a_damaged_current_version_is_replaced(site: Site, destination: Destination, tmp_path: Path) -> None:
    made = package(tmp_path, "a")
    push(site, made, 2)
    (Path(destination.folder) / NAME / "model.onnx").write_text("x")
    assert push(site, made, 2).changed
    assert live(destination) == "a"


def test_what_arrives_altered_is_refused(
    site: Site, destination: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit flips on the way: the upload is damaged before it is checked."""
    push(site, package(tmp_path, "a"), 2)
    upload = site.upload

    def damaged(made: Path, part: str) -> None:
        upload(made, part)
        stored = Path(destination.folder) / f".{NAME}.versions" / part / "model.onnx"
        stored.write_text(stored.read_text().replace("b", "B", 1))

    monkeypatch.setattr(site, "upload", damaged)
    with pytest.raises(QuantizeError, match="arrived altered"):
        push(site, package(tmp_path, "b"), 2)
    assert live(destination) == "a"
    assert list(Path(destination.folder).rglob(".part-*")) == []


class Stopping:
    """A site that is killed before or after its nth change: no clean-up runs any more."""

    CHANGES = ("upload", "adopt", "point", "remove", "hold")

    def __init__(self, site: Site, at: int) -> None:
        self.site, self.left, self.dead = site, at, False

    def __getattr__(self, name: str) -> object:
        method = getattr(self.site, name)
        if name not in self.CHANGES:
            return method

        def change(*arguments: object) -> None:
            for side in ("before", "after"):
                if self.left == 0 or self.dead:
                    self.dead = True
                    raise KeyboardInterrupt
                self.left -= 1
                if side == "before":
                    method(*arguments)

        return change


@pytest.mark.parametrize("destination", LOCAL, indirect=True)
@pytest.mark.parametrize("at", range(7))
def test_a_push_that_is_killed(site: Site, destination: Destination, tmp_path: Path, at: int) -> None:
    push(site, package(tmp_path, "a"), 2)
    second = package(tmp_path, "b")
    with pytest.raises(KeyboardInterrupt):
        push(Stopping(site, at), second, 2)
    assert live(destination) in "ab"
    push(site, second, 2)
    assert live(destination) == "b"
    assert [version[:6] for version in site.state().versions] == ["000001", "000002"]
    assert list(Path(destination.folder).rglob(".part-*")) == []


def test_a_reader_never_finds_half_a_package(tmp_path: Path, server: Server) -> None:
    """One thread reads while versions change over SSH; each read follows the link once, as opening a package does."""
    destination = over_ssh(Destination(str(tmp_path / "d"), None, None, None, (), 9, True), server)
    site = open_site(destination, NAME)
    packages = [package(tmp_path, content) for content in "abcd"]
    push(site, packages[0], 9)
    done, found, wrong = threading.Event(), set(), []
    stable = Path(destination.folder) / NAME

    def read() -> None:
        while not done.is_set():
            try:
                name = json.loads((stable.resolve(strict=True) / "manifest.json").read_text())["name"]
                found.add(name)
            except (OSError, ValueError) as error:
                wrong.append(repr(error))

    reader = threading.Thread(target=read)
    reader.start()
    for made in packages[1:]:
        push(site, made, 9)
    done.set()
    reader.join()
    assert wrong == []
    assert found >= {"a", "d"} or len(found) >= 2


def test_links_and_copies_can_be_exchanged(tmp_path: Path) -> None:
    folder = Destination(str(tmp_path / "d"), None, None, None, (), 3, True)
    for content, links in (("a", True), ("b", False), ("c", True)):
        now = dataclasses.replace(folder, links=links)
        push(open_site(now, NAME), package(tmp_path, content), 3)
        assert live(now) == content
        assert (Path(now.folder) / NAME).is_symlink() == links


# ------------------------------------------------------------------------------------------------ ssh itself


def test_ssh_errors_are_one_line(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    there = over_ssh(Destination(str(tmp_path / "d"), None, None, None, (), 3, True), server)
    made = package(tmp_path, "a")
    (tmp_path / "file").write_text("no folder")
    for wrong, words in (
        (dataclasses.replace(there, port=1), "ssh failed: .*refused"),
        (dataclasses.replace(there, identity=server.identity.with_name("host_key")), "Permission denied"),
        (dataclasses.replace(there, folder=str(tmp_path / "file")), "the far side failed: .*"),
        (dataclasses.replace(there, ssh_options=("UserKnownHostsFile=/dev/null",)), "Host key verification failed"),
    ):
        with pytest.raises(QuantizeError, match=words) as caught:
            push(SshSite(wrong, NAME), made, 3)
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QuantizeError, match="ssh is not installed"):
        push(SshSite(there, NAME), made, 3)


def test_a_pipeline_over_ssh(tmp_path: Path, server: Server) -> None:
    """From the model to the far side and back, by pipeline.yaml."""
    world = make_world(tmp_path / "w")
    where = f"{{ssh: '{server.host}:{world.dest}', port: {server.port}, identity: {server.identity}, "
    where += f"options: [{', '.join(server.options)}]}}"
    world.write(plan_text(f"[{where}]"))
    first = run(read_plan(world.plan), Options())
    assert first.jobs[0].error is None
    assert tree(world.dest / "tiny.yoloq") == tree(Path(first.jobs[0].package))
    assert not run(read_plan(world.plan), Options()).changed
    world.write(plan_text(f"[{where}]").replace("recipe: fast", "recipe: fast, color: BGR"))
    second = run(read_plan(world.plan), Options())
    assert second.jobs[0].error is None
    assert tree(world.dest / "tiny.yoloq") != tree(Path(first.jobs[0].package))
    lines: list[str] = []
    (switched,) = roll_back_plan(read_plan(world.plan), None, "tiny", lines.append)
    assert tree(world.dest / "tiny.yoloq") == tree(Path(first.jobs[0].package))
    assert switched["version"].startswith("000001-")
    assert "is current" in lines[0]
    third = run(read_plan(world.plan), Options())
    assert "was rolled back there" in third.jobs[0].error
    shutil.rmtree(world.dest)
    with pytest.raises(QuantizeError, match=r"rollback at .*: nothing was pushed there yet"):
        roll_back_plan(read_plan(world.plan), None, None, lines.append)
