# SPDX-License-Identifier: Apache-2.0
"""The C# binding's own tests, on Mono (the .NET Framework side), on .NET 8, and on Windows (Wine)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import csharp
from csharp import Outcomes, dotnet


@pytest.fixture(scope="module")
def outcomes(
    demo_package: Path, make_dummy_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Outcomes:
    folder = tmp_path_factory.mktemp("csharp")
    return Outcomes(csharp.write_inputs(folder, demo_package, make_dummy_package), folder)


@pytest.mark.parametrize("test", csharp.test_names(dotnet.NET462))
def test_mono(outcomes: Outcomes, test: str) -> None:
    outcomes.expect(csharp.mono, test)


@pytest.mark.parametrize("test", csharp.test_names(dotnet.NETCORE))
def test_coreclr(outcomes: Outcomes, test: str) -> None:
    outcomes.expect(csharp.coreclr, test)


@pytest.mark.parametrize("test", csharp.test_names(dotnet.NETCORE))
def test_windows(outcomes: Outcomes, test: str) -> None:
    outcomes.expect(csharp.windows, test)


def test_the_tests_are_found() -> None:
    assert len(csharp.test_names(dotnet.NET462)) > 60
    spans = set(csharp.test_names(dotnet.NETCORE)) - set(csharp.test_names(dotnet.NET462))
    assert spans == {"OverloadTests.Span", "OverloadTests.SpanTooShort"}
