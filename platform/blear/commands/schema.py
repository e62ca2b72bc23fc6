"""`blear schema`."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of a job file, for editors."""
    from blear.jobschema import json_schema
    from blear.plugins import load

    click.echo(json.dumps(json_schema(load()), indent=1))
