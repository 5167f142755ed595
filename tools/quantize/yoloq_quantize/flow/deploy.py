# SPDX-License-Identifier: Apache-2.0
"""Pushing a package to a site and going back: beside first, checked there, then switched in one rename."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from yoloq_quantize.errors import QuantizeError
from yoloq_quantize.flow.cache import folder_digests
from yoloq_quantize.flow.sites import Site, State
from yoloq_quantize.flow.steps import check_package


@dataclass(frozen=True)
class Pushed:
    """version: now current. changed: False if it was before."""

    version: str
    changed: bool


def push(site: Site, package: Path, keep: int, force: bool = False) -> Pushed:
    """Makes the package current. keep: how many other versions stay. force: even one that was rolled back."""
    want = folder_digests(package)
    identity = want["manifest.json"][:12]
    state = site.state()
    if identity in state.held and not force:
        raise QuantizeError(f"version {identity} was rolled back there; change the model, or push it with --force")
    if state.current and _id(state.current) == identity and site.digests("") == want:
        return Pushed(state.current, False)
    version = _waiting(site, state, identity, want) or _upload(site, state, package, identity, want)
    site.point(version)
    if identity in state.held:
        site.hold([held for held in state.held if held != identity])
    others = [other for other in state.versions if other != version]
    site.remove(others[: max(0, len(others) - keep)])
    return Pushed(version, True)


def _waiting(site: Site, state: State, identity: str, want: dict[str, str]) -> str | None:
    """The newest version, if it is this package: a run was stopped before it switched, or this one was rolled back."""
    newest = state.versions[-1] if state.versions else None
    if newest is not None and newest != state.current and _id(newest) == identity and site.digests(newest) == want:
        return newest
    return None


def _upload(site: Site, state: State, package: Path, identity: str, want: dict[str, str]) -> str:
    part = f".part-{identity}"
    version = f"{_number(state.versions[-1]) + 1 if state.versions else 1:06d}-{identity}"
    try:
        site.upload(package, part)
        if site.digests(part) != want:
            raise QuantizeError("the package arrived altered; check the disk or the line there and try again")
        site.adopt(part, version)
    except BaseException:
        with contextlib.suppress(QuantizeError, OSError):  # the first error matters; the next push cleans up
            site.remove([part])
        raise
    return version


def rollback(site: Site, to: str | None = None) -> Pushed:
    """Switches to the version before the current one, or to the one whose name begins or ends with `to`.

    The version that is left is held: a pipeline does not push it again unless forced.
    """
    state = site.state()
    if state.current is None:
        raise QuantizeError("nothing was pushed there yet")
    place = state.versions.index(state.current)
    wanted = [v for v in state.versions[:place][::-1] if to is None]
    if to is not None:
        wanted = [v for v in state.versions if v.startswith(to) or v.endswith(to)]
    if not wanted or (to is not None and len(wanted) > 1):
        have = ", ".join(state.versions)
        raise QuantizeError(f"no {'earlier version' if to is None else f'single version {to}'} there; it has {have}")
    version = wanted[0]
    if version == state.current:
        return Pushed(version, False)
    try:
        check_package(site.digests(version), site.manifest(version))
    except QuantizeError as error:
        raise QuantizeError(f"version {version} cannot be used: {error}") from None
    site.point(version)
    if version < state.current:
        site.hold(sorted({*state.held, _id(state.current)} - {_id(version)}))
    return Pushed(version, True)


def _id(version: str) -> str:
    return version.partition("-")[2]


def _number(version: str) -> int:
    return int(version.partition("-")[0])
