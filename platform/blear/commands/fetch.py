"""`blear fetch RUN`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run")
@click.option(
    "--address", metavar="URL", help="URL of the cluster's job server; default: RAY_API_SERVER_ADDRESS or RAY_ADDRESS"
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    help="folder to write to; default: runs/RUN below the working folder",
)
@click.option("--weights", is_flag=True, help="also bring the final weights of the stages")
@click.option("--pack", is_flag=True, hidden=True, help="on the cluster: print the files as text, for `blear fetch`")
def fetch(run: str, address: str | None, target: Path | None, weights: bool, pack: bool) -> None:
    """Bring the report, the tables and the logs of a run from a cluster, or from BLEAR_STORAGE if it is a URL."""
    if pack:
        import tempfile

        from blear.storage.root import storage_root, storage_url
        from blear.storage.run_archive import pack_run
        from blear.storage.stored_runs import fetch_stored_run

        with tempfile.TemporaryDirectory() as folder:
            root = storage_root() / "runs" / run
            if (stored := storage_url()) is not None:  # another machine may have continued the run
                root = Path(folder) / run
                fetch_stored_run(stored, run, root, weights=weights)
            for line in pack_run(root, weights=weights):
                click.echo(line)
        return
    from blear.storage.root import storage_url
    from blear.storage.run_archive import require_no_run

    target = target or Path("runs") / run
    require_no_run(target)
    if address is None and (url := storage_url()) is not None:
        from blear.storage.stored_runs import fetch_stored_run

        files = fetch_stored_run(url, run, target, weights=weights)
    else:
        from blear.cluster.fetch import fetch_run

        files = fetch_run(run, address=address, target=target, weights=weights)
    for path in files:
        click.echo(str(path))
