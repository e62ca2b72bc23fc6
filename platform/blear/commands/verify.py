"""`blear verify PREPARED`."""

from __future__ import annotations

import click


@click.command()
@click.argument("prepared")
def verify(prepared: str) -> None:
    """Read every shard of a prepared dataset, a folder or a URL, and compare it with its digest."""
    from blear.data.prepared import Prepared

    opened = Prepared.open(prepared)
    shards = opened.verify()
    samples = sum(opened.count(split) for split in opened.splits)
    click.echo(f"{opened.place}: correct; {shards} shards, {samples} samples")
