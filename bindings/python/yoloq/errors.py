# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, as exceptions: one class per status of the C library, each also of the built-in kind it is like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yoloq.detector import Result


class Error(RuntimeError):
    """Base of every error of yoloq. `status` is the C library's yq_status."""

    status: int = 8


class InvalidArgument(Error, ValueError):
    """An argument is wrong: a picture's shape or type, a threshold, a closed detector (YQ_EINVAL)."""

    status = 1


class NotFound(Error, FileNotFoundError):
    """The package, a file of it, or the backend library does not exist (YQ_ENOTFOUND)."""

    status = 2


class PackageError(Error):
    """The package is damaged, altered, for another chip, or of an unknown version (YQ_EPACKAGE)."""

    status = 3


class BackendError(Error):
    """The chip's SDK is absent or refused; its own code and text are in the message (YQ_EBACKEND)."""

    status = 4


class Timeout(Error, TimeoutError):
    """The call's deadline passed, queueing included (YQ_ETIMEOUT)."""

    status = 5


class OutOfMemory(Error, MemoryError):
    """Out of host or device memory (YQ_ENOMEM)."""

    status = 6


class DeviceError(Error):
    """The device was lost; the next call tries to bring it back (YQ_EDEVICE)."""

    status = 7


class InternalError(Error):
    """A fault of the library's own; please report it with the text (YQ_EINTERNAL)."""

    status = 8


class BatchError(Error):
    """Some pictures of a batch failed; the others' results are here all the same.

    `results[i]` is picture i's Result, or None if it failed; `errors[i]` is why (only failed pictures are in it).
    `status` and the message are those of the first picture that failed.
    """

    def __init__(self, message: str, results: Sequence[Result | None] = (), errors: dict[int, Error] | None = None):
        super().__init__(message)
        self.results = list(results)
        self.errors = errors or {}
        if self.errors:
            self.status = next(iter(self.errors.values())).status


class FontError(NotFound):
    """No font on this machine can write a label; the message says which to install."""


_BY_STATUS: dict[int, type[Error]] = {
    kind.status: kind
    for kind in (
        InvalidArgument,
        NotFound,
        PackageError,
        BackendError,
        Timeout,
        OutOfMemory,
        DeviceError,
        InternalError,
    )
}


def from_status(status: int, message: str) -> Error:
    """The exception for a status other than YQ_OK."""
    kind = _BY_STATUS.get(status)
    if kind is not None:
        return kind(message)
    error = Error(message)
    error.status = status
    return error
