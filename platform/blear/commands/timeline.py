"""`blear timeline RUN VIDEO`."""

from __future__ import annotations

from pathlib import Path

import click

LOCATOR = "blear_faces.locate:FaceLocator"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--stage", metavar="NAME", help="the stage that recognises; default: the last one")
@click.option("--every", type=click.IntRange(1), default=5, show_default=True, help="look at every N-th frame")
@click.option("--out", type=click.Path(path_type=Path), help="default: RUN/timelines/<name of the video>.jsonl")
@click.option(
    "--format",
    "form",
    type=click.Choice(["records", "consumer"]),
    default="records",
    show_default=True,
    help="records: xyxy, track, probabilities; consumer: the knowledge-graph builder's schema, xywh",
)
@click.option("--alias", "aliases", multiple=True, metavar="CLASS=NAME", help="write NAME instead, as happiness=happy")
@click.option("--boxes", type=click.Path(path_type=Path), help="csv of faces: time,left,top,width,height, from 1")
@click.option("--locator", default=LOCATOR, show_default=True, help="what finds the faces without --boxes: module:attr")
@click.option("--tracks", type=click.Path(path_type=Path), help="JSON of a tracker's persons; default: by overlap")
@click.option("--buffer", type=click.IntRange(1), help="frames that the network sees; default: those of its clips")
@click.option("--static-buffer", is_flag=True, help="the same frame in all places of the buffer, as first published")
@click.option(
    "--margin", type=click.FloatRange(0), help="of the square around a face; default: that of the data, or 0.5"
)
def timeline(
    run: Path,
    video: Path,
    stage: str | None,
    every: int,
    out: Path | None,
    form: str,
    aliases: tuple[str, ...],
    boxes: Path | None,
    locator: str,
    tracks: Path | None,
    buffer: int | None,
    static_buffer: bool,
    margin: float | None,
) -> None:
    """Write what each face of VIDEO shows, frame by frame, as a trained RUN sees it: one JSON object a line."""
    from dataclasses import replace

    from blear.predict.faces import FoundByLocator, FoundInFile
    from blear.predict.model import open_stage
    from blear.predict.timeline import Reader, write_timeline
    from blear.predict.tracks import ByFile, ByOverlap

    renamed = _aliases(aliases)
    model = open_stage(run, stage, buffer)
    reader = Reader(
        model,
        FoundByLocator(locator) if boxes is None else FoundInFile(boxes),
        ByOverlap() if tracks is None else ByFile(tracks),
        model.framing if margin is None else replace(model.framing, margin=margin),
        every,
        static_buffer,
    )
    out = out or run / "timelines" / f"{video.stem}.jsonl"
    census = write_timeline(reader, video, out, "consumer" if form == "consumer" else "records", renamed)
    click.echo(f"{out}: {census}")


def _aliases(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (name, _, alias) in zip(given, pairs, strict=True) if not name or not alias]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not CLASS=NAME", param_hint="--alias")
    return {name: alias for name, _, alias in pairs}
