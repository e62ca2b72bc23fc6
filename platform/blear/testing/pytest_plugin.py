"""The pytest option `--blear-plugin`, as in `pytest --pyargs blear.testing --blear-plugin NAME`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--blear-plugin`."""
    group = parser.getgroup("blear")
    group.addoption(
        "--blear-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="with --pyargs blear.testing: installed plugin, or path of a one-file plugin, to check; can be repeated",
    )
