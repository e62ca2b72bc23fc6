"""`blear weights FILE`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--for", "component", metavar="NAME", help="A backbone: prints what fits it, and the `start_from` for it."
)
@click.option("--set", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the backbone, as YAML.")
@click.option("--plugin", "plugin_files", multiple=True, metavar="FILE", help="A one-file plugin to load.")
def weights(file: Path, component: str | None, params: tuple[str, ...], plugin_files: tuple[str, ...]) -> None:
    """List the tensors of a weight file (safetensors, PyTorch, caffemodel), and what a backbone can take from it."""
    from blear.train.weight_listing import backbone_lines, tensor_lines

    found = tensor_lines(file) if component is None else backbone_lines(file, component, params, plugin_files)
    for line in found:
        click.echo(line)
