"""Options and facts that several commands share."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def command_line() -> str:
    """Returns the command of this process, quoted for a shell."""
    return shlex.join(["blear", *sys.argv[1:]])


class FiniteRange(click.FloatRange):
    """A range of numbers, without NaN, which every comparison with a limit lets through, and without infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no finite number", param, ctx)
        return found


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument JOB and the options `--profile NAME` and `--set PATH=VALUE` to a command."""
    for decorator in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="PATH=VALUE",
            help="set a field of the job, for instance --set stages.joint.steps=100; can be repeated",
        ),
        click.option("--profile", metavar="NAME", help="apply a profile of the job"),
        click.argument("job", type=click.Path(path_type=Path)),
    ):
        function = decorator(function)
    return function


def plugin_files(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the option `--plugin FILE`, passed as `files`: one-file plugins in addition to installed ones."""
    return click.option(
        "--plugin",
        "files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="path of a one-file plugin; can be repeated",
    )(function)
