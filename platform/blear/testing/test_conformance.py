"""`pytest --pyargs blear.testing --blear-plugin NAME`: one test for each check."""

from __future__ import annotations

import pytest

from blear.testing import Check, NotCheckedError, checks_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrizes the test with the checks of all plugins of `--blear-plugin`."""
    names = metafunc.config.getoption("--blear-plugin")
    checks = [check for name in names for check in checks_of(name)]
    metafunc.parametrize("check", checks, ids=str)


def test_conforms(check: Check) -> None:
    """The component meets the requirement."""
    try:
        check()
    except NotCheckedError as reason:
        pytest.skip(str(reason))
