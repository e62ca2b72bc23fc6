"""`blear schema`."""

from __future__ import annotations

import json

import click

from blear.commands.options import plugin_files


@click.command()
@plugin_files
def schema(files: tuple[str, ...]) -> None:
    """Print the JSON schema of job files, for editors."""
    from blear.job.json_schema import json_schema
    from blear.plugin.discovery import load_plugins

    click.echo(json.dumps(json_schema(load_plugins(files)), indent=1))
