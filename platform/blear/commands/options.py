"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`JOB --profile NAME --set path=value`."""
    for decorator in (
        click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="override a field of the job"),
        click.option("--profile", metavar="NAME", help="one of the job's profiles"),
        click.argument("job", type=click.Path(path_type=Path)),
    ):
        function = decorator(function)
    return function


def plugin_files(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--plugin FILE`: one-file plugins beside those that are installed, as `files`."""
    return click.option(
        "--plugin",
        "files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="a one-file plugin, beside those that are installed; may be given again",
    )(function)
