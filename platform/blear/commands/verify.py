"""`blear verify PREPARED`."""

from __future__ import annotations

import click


@click.command()
@click.argument("prepared")
@click.option(
    "--with-webdataset", is_flag=True, help="also read every sample with webdataset, and compare it with our reader"
)
def verify(prepared: str, with_webdataset: bool) -> None:
    """Read every shard of a prepared dataset, a folder or a URL, and compare its digest with dataset.json."""
    from blear.data.prepared import Prepared

    opened = Prepared.open(prepared)
    shards = opened.verify(with_webdataset=with_webdataset)
    samples = sum(opened.count(split) for split in opened.splits)
    readers = "; webdataset reads the same" if with_webdataset else ""
    click.echo(f"{opened.place}: correct; {shards} shards, {samples} samples{readers}")
