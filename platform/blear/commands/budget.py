"""`blear budget [MODEL] VIDEO...`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import FiniteRange, command_line


class _Share(click.ParamType):
    """A share as `95%` or `0.95`."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> float:
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            self.fail(f"{text!r} is no share; write 95% or 0.95", param, context)
        return share


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[MODEL] VIDEO...")
@click.option(
    "--keep", type=_Share(), default="95%", show_default=True, help="agreement with the original that must remain"
)
@click.option(
    "--codec", "codecs", multiple=True, default=("h264",), show_default=True, help="h264, hevc, av1, vp9; repeatable"
)
@click.option(
    "--factor",
    "factors",
    multiple=True,
    type=FiniteRange(1, 64),
    default=(1, 2, 4),
    show_default=True,
    help="divisor of width and height; repeatable",
)
@click.option("--crf", "quality", multiple=True, type=click.IntRange(0), help="constant rate factor; repeatable")
@click.option("--target", metavar="NAME", help="target to compare; default: the first class target")
@click.option("--stage", metavar="NAME", help="the stage of a run; default: the last one")
@click.option("--facts", multiple=True, metavar="KEY=VALUE", help="fact of a network of others, as in `blear predict`")
@click.option("--every", type=click.IntRange(1), default=5, show_default=True, help="compare every N-th frame")
@click.option("--seconds", type=FiniteRange(0, min_open=True), help="use the videos up to this time")
@click.option("--crops", is_flag=True, help="the videos show cut faces: nothing is detected")
@click.option("--margin", type=FiniteRange(0), help="margin around a face, where the model does not state it")
@click.option("--locator", metavar="NAME", help="face detector, as in `blear predict`")
@click.option("--min-face", type=FiniteRange(4), metavar="PX", help="smallest side of a face")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="folder for budget.md, budget.json, budget.png; default: budget, or budget-2, ... where it holds those of "
    "another command",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto")
def budget(
    arguments: tuple[str, ...],
    keep: float,
    codecs: tuple[str, ...],
    factors: tuple[float, ...],
    quality: tuple[int, ...],
    target: str | None,
    stage: str | None,
    facts: tuple[str, ...],
    every: int,
    seconds: float | None,
    crops: bool,
    margin: float | None,
    locator: str | None,
    min_face: float | None,
    out: Path | None,
    device: str,
) -> None:
    """Find the lowest bit rate at which MODEL decides as on the original videos. No labels are needed.

    Each video is encoded with every setting of codec, size and constant rate factor, and the model predicts the same
    faces again. Printed are bit rates, agreement with intervals, and the ffmpeg command of the cheapest setting.
    """
    from rich.console import Console

    from blear.budget.report import budget_json, budget_markdown, plot_budget
    from blear.budget.run import BudgetOptions, find_budget
    from blear.predict.inputs import split_model
    from blear.predict.options import PredictOptions
    from blear.storage.numbered_output import free_for, numbered_output
    from blear.storage.run_folder import write_text
    from blear.terminal import print_markdown

    model, videos = split_model(arguments)
    predict = PredictOptions(
        model=model,
        stage=stage,
        every=every,
        seconds=seconds,
        crops=crops,
        margin=margin,
        locator=locator,
        min_face=min_face,
        device=device,
        facts=facts,
    )
    command = command_line()
    out = out or numbered_output(Path("budget"), lambda one: free_for(one, one / "budget.json", command=command))
    found = find_budget(videos, BudgetOptions(predict, keep, codecs, factors, quality, target))
    text = budget_markdown(found)
    write_text(out / "budget.md", text + "\n")
    write_text(out / "budget.json", budget_json(found, command))
    plot_budget(found, out / "budget.png")
    print_markdown(text, Console())
    click.echo(f"wrote {out}/budget.md, budget.json, budget.png")
