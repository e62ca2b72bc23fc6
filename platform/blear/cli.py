"""The command line. A user's error is printed without a traceback; the exit code is then 2."""

from __future__ import annotations

import os
import sys
import warnings
from typing import NoReturn

import click

from blear import __version__
from blear.commands.budget import budget
from blear.commands.card import card
from blear.commands.check import check
from blear.commands.compare import compare
from blear.commands.data import data
from blear.commands.ensemble import ensemble
from blear.commands.evaluate import evaluate
from blear.commands.export import export
from blear.commands.fetch import fetch
from blear.commands.jobs import jobs
from blear.commands.models import models
from blear.commands.new import new
from blear.commands.plugins import plugins
from blear.commands.predict import predict
from blear.commands.prepare import prepare
from blear.commands.report import report
from blear.commands.run import run
from blear.commands.runs import runs
from blear.commands.schema import schema
from blear.commands.serve import serve
from blear.commands.submit import submit
from blear.commands.timeline import timeline
from blear.commands.verify import verify
from blear.commands.weights import weights
from blear.errors import BlearError
from blear.storage.run_log import log_error, log_to_stderr


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Print the whole log and the tracebacks of errors.")
def cli(*, debug: bool) -> None:
    """blear: recognition that survives bad video."""
    log_to_stderr(debug=debug)


for command in (
    plugins,
    jobs,
    new,
    schema,
    check,
    prepare,
    data,
    verify,
    run,
    submit,
    runs,
    fetch,
    evaluate,
    models,
    export,
    card,
    ensemble,
    compare,
    report,
    predict,
    budget,
    timeline,
    serve,
    weights,
):
    cli.add_command(command)


def main() -> None:
    """Runs the `blear` command in this process. Ends by SystemExit if the exit code is not 0."""
    log_to_stderr(debug=False)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        code = cli(standalone_mode=False)  # of `Context.exit`; else None
        if isinstance(code, int) and code:
            sys.exit(code)
    except BlearError as error:
        _fail(str(error))
    except BrokenPipeError:  # the reader of the output has ended, as in `blear plugins | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # for instance a full disk or missing permissions: a traceback would not help
        where = f"{error.filename}: " if error.filename else ""
        what = error.strerror or str(error) or type(error).__name__
        _fail(f"{where}{what}\n  -> fix the cause and run the same command again; it continues from here")
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("blear: interrupted; run the same command again to continue", err=True)
        sys.exit(130)
    except Exception:
        log_error()
        raise


def _fail(message: str) -> NoReturn:
    """Prints an error without its traceback, which goes to the run's log, and exits with code 2."""
    click.echo(f"blear: {message}", err=True)
    if (log := log_error()) is not None:
        click.echo(f"  -> the traceback is in {log}", err=True)
    sys.exit(2)
