"""The command line. A user's error is printed without a traceback; the exit code is then 2."""

from __future__ import annotations

import logging
import sys
import warnings

import click

from blear import __version__
from blear.commands.check import check
from blear.commands.compare import compare
from blear.commands.data import data
from blear.commands.ensemble import ensemble
from blear.commands.evaluate import evaluate
from blear.commands.plugins import plugins
from blear.commands.prepare import prepare
from blear.commands.report import report
from blear.commands.run import run
from blear.commands.schema import schema
from blear.commands.submit import submit
from blear.commands.timeline import timeline
from blear.commands.verify import verify
from blear.errors import BlearError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """blear: recognition that survives bad video."""


for command in (
    plugins,
    schema,
    check,
    prepare,
    data,
    verify,
    run,
    submit,
    evaluate,
    ensemble,
    compare,
    report,
    timeline,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of the `blear` command."""
    logging.captureWarnings(capture=True)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        cli(standalone_mode=False)
    except BlearError as error:
        click.echo(f"blear: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # for instance a full disk or missing permissions: a traceback would not help
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        click.echo(
            f"blear: {where}{error.strerror}\n  -> fix the cause and run the same command again; it continues "
            f"from here",
            err=True,
        )
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("blear: interrupted; run the same command again to continue", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
