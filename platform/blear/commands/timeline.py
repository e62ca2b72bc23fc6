"""`blear timeline RUN VIDEO`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from blear.commands.options import FiniteRange, command_line


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--stage", metavar="NAME", help="the stage to predict with; default: the last one")
@click.option("--every", type=click.IntRange(1), default=5, show_default=True, help="read every N-th frame")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="default: RUN/timelines/<name of the video>.jsonl, or a "
    "numbered name where that is of another video or command",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["records", "consumer"]),
    default="records",
    show_default=True,
    help="records: xyxy, track, probabilities; consumer: the knowledge-graph builder's schema, xywh",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="CLASS=NAME",
    help="write NAME in place of CLASS, for instance happiness=happy",
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    help="csv of faces instead of a locator: time,left,top,width,height (1-based)",
)
@click.option(
    "--locator", metavar="NAME", help="face detector: a registered locator or module:attr; default: that of blear"
)
@click.option(
    "--tracks",
    type=click.Path(path_type=Path),
    help="JSON of a tracker's persons, or a folder of one JSON for each frame; default: by motion and appearance",
)
@click.option("--buffer", type=click.IntRange(1), help="frames in a clip; default: as in training")
@click.option("--static-buffer", is_flag=True, help="fill the clip with copies of the frame, as first published")
@click.option(
    "--margin", type=FiniteRange(0), help="margin of the square around a face; default: that of the data, or 0.5"
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
    locator: str | None,
    tracks: Path | None,
    buffer: int | None,
    static_buffer: bool,
    margin: float | None,
) -> None:
    """Write the class probabilities of each face of VIDEO, frame by frame, as JSON Lines.

    A stage of the trained RUN recognises the faces. `blear plugins` lists the registered locators.
    """
    from blear.imaging import Framing
    from blear.predict.appearance_tracker import AppearanceTracker
    from blear.predict.detectors import BoxFileDetector, LocatorDetector
    from blear.predict.locators import find_locator
    from blear.predict.model import open_stage
    from blear.predict.timeline import VideoRecognizer, write_timeline
    from blear.predict.trackers import FileTracker
    from blear.storage.numbered_output import free_for, numbered_output
    from blear.storage.run_folder import write_text

    renamed = _parse_aliases(aliases)
    model = open_stage(run, stage, buffer)
    recognizer = VideoRecognizer(
        model,
        LocatorDetector(find_locator(locator, model.catalog)) if boxes is None else BoxFileDetector(boxes),
        AppearanceTracker() if tracks is None else FileTracker(tracks),
        model.framing if margin is None else Framing(margin=margin, crop_scale=model.framing.crop_scale),
        every,
        static_buffer,
    )
    made_from = {"command": command_line(), "video": str(video.resolve())}
    default = run / "timelines" / f"{video.stem}.jsonl"
    out = out or numbered_output(default, lambda one: free_for(one, _facts(one), **made_from))
    counts = write_timeline(recognizer, video, out, "consumer" if form == "consumer" else "records", renamed)
    write_text(_facts(out), json.dumps(made_from, indent=1) + "\n")
    click.echo(f"{out}: {counts}")


def _facts(out: Path) -> Path:
    return out.with_name(f"{out.name}.meta.json")


def _parse_aliases(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (name, _, alias) in zip(given, pairs, strict=True) if not name or not alias]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not CLASS=NAME", param_hint="--alias")
    return {name: alias for name, _, alias in pairs}
