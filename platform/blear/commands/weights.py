"""`blear weights FILE`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--for",
    "component",
    metavar="NAME",
    help="A backbone or head: prints what fits it, and the `start_from` for it. With --job: STAGE, or STAGE.PART with "
    "the part backbone, head or heads.NAME.",
)
@click.option("--job", type=click.Path(path_type=Path), help="A job, whose stage is compared; default: its last stage.")
@click.option(
    "--set", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the component, or a value of the job."
)
@click.option("--plugin", "plugin_files", multiple=True, metavar="FILE", help="A one-file plugin to load.")
def weights(
    file: Path, component: str | None, job: Path | None, params: tuple[str, ...], plugin_files: tuple[str, ...]
) -> None:
    """List the tensors of a weight file (safetensors, PyTorch, caffemodel), and what a network can take from it."""
    for line in _lines(file, component, job, params, plugin_files):
        click.echo(line)


def _lines(
    file: Path, component: str | None, job: Path | None, params: tuple[str, ...], plugin_files: tuple[str, ...]
) -> Iterator[str]:
    from blear.train.weight_listing import component_lines, tensor_lines

    if job is not None:
        from blear.pipeline.stage_weights import stage_lines

        return stage_lines(file, job, component, params)
    return tensor_lines(file) if component is None else component_lines(file, component, params, plugin_files)
