"""`blear export MODEL --to FORMAT`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from blear.export.run import Format


@click.command()
@click.argument("model")
@click.option(
    "--to",
    type=click.Choice(["onnx", "torch-export", "safetensors"]),
    default="onnx",
    show_default=True,
    help="ONNX file, file of torch.export, or model folder with safetensors",
)
@click.option("--out", type=click.Path(path_type=Path), help="file or folder to write; default: the name of the model")
@click.option("--stage", metavar="NAME", help="the stage of a run; default: the last one")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="leave out heads of other targets; repeatable")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="labelled faces for the comparison; default: the evaluated split of a run, else pictures of noise",
)
@click.option("--dataset", metavar="COMPONENT", help="component that reads --data; default: that of the training data")
@click.option("--split", metavar="NAME", help="split of the comparison; default: test, of a run the evaluated one")
@click.option(
    "--conditions",
    type=click.Path(path_type=Path),
    help="file of conditions; default: those of the job, else test.yaml of a model folder, else a small sweep",
)
@click.option("--samples", type=click.IntRange(1), help="number of samples; default: 256, with --int8 4096")
@click.option(
    "--graph",
    is_flag=True,
    help="with --to safetensors: also write model.onnx, a graph that refers to the weights; `blear predict` then needs "
    "no torch on the CPU",
)
@click.option(
    "--int8", is_flag=True, help="weights and activations of 8 bits; refused if accuracy falls by over half a point"
)
def export(
    model: str,
    to: Format,
    out: Path | None,
    stage: str | None,
    targets: tuple[str, ...],
    data: Path | None,
    dataset: str | None,
    split: str | None,
    conditions: Path | None,
    samples: int | None,
    *,
    graph: bool,
    int8: bool,
) -> None:
    """Write a model as a file that runs without blear, and compare the file with the model over a sweep.

    MODEL is a run, a stage of a run, a model folder, a weights file, or the name of a shipped model. The file contains
    preprocessing and temperatures; labels and framing are in its metadata. The largest difference of the file from
    the model, latency, size and multiply-accumulates are printed. A file that differs is not kept.
    """
    from rich.console import Console

    from blear.export.run import ExportOptions, export_model
    from blear.terminal import print_markdown

    options = ExportOptions(model, to, out, stage, data, dataset, split, conditions, samples, int8, targets, graph)
    result = export_model(options)
    print_markdown(result.text, Console())
    click.echo(f"wrote {result.out}")
