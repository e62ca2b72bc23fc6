"""`pytest --pyargs blear.testing --blear-plugin NAME`: one test for each check."""

from __future__ import annotations

import pytest

from blear.testing import Check, NotCheckedError, checks_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a check of every plugin that the command line names."""
    names = metafunc.config.getoption("--blear-plugin")
    checks = [check for name in names for check in checks_of(name)]
    metafunc.parametrize("check", checks, ids=str)


def test_conforms(check: Check) -> None:
    """The component does what the contract says."""
    try:
        check()
    except NotCheckedError as reason:
        pytest.skip(str(reason))
