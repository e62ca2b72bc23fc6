"""pytest's side: the option that names plugins for `pytest --pyargs blear.testing --blear-plugin NAME`."""

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
        help="with --pyargs blear.testing: an installed plugin, or the file of one, to check; may be given again",
    )
