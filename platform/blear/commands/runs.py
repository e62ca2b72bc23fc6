"""`blear runs [--address URL]`."""

from __future__ import annotations

import click


@click.command()
@click.option("--address", metavar="URL", help="list the runs submitted to this cluster's job server instead")
def runs(address: str | None) -> None:
    """List the runs of BLEAR_STORAGE, or of a cluster, with their states."""
    from rich.console import Console

    from blear.storage.root import storage_root, storage_url
    from blear.storage.run_states import run_states
    from blear.storage.stored_runs import stored_run_states
    from blear.terminal import print_markdown

    if address is not None:
        from blear.cluster.fetch import cluster_runs

        heads, rows = ["run", "state", "submission", "started (UTC)", "duration", "message"], cluster_runs(address)
        where = address
    else:
        heads = ["run", "state", "started (UTC)", "finished (UTC)", "note", "report"]
        url, folder = storage_url(), storage_root() / "runs"
        where = url or str(folder)
        rows = [
            [run.name, run.state, run.started or "", run.finished or "", run.note, str(run.report or "")]
            for run in (run_states(folder) if url is None else stored_run_states(url))
        ]
    if not rows:
        click.echo(f"no runs: {where}")
        return
    lines = [heads, ["---"] * len(heads), *rows]
    print_markdown("\n".join(f"| {' | '.join(cell.replace('|', ' ') for cell in line)} |" for line in lines), Console())
