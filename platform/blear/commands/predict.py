"""`blear predict [MODEL] INPUT...`."""

from __future__ import annotations

from pathlib import Path

import click

from blear.commands.options import FiniteRange

_BESIDE = Path()  # `blear.predict.options.BESIDE`


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[MODEL] INPUT...")
@click.option("--stage", metavar="NAME", help="the stage of a run; default: the last one")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="file to write; its suffix chooses the format: .jsonl, .csv or .parquet; default: predictions.jsonl, or "
    "predictions-2.jsonl, ... where it holds other inputs",
)
@click.option("--every", type=click.IntRange(1), help="predict every N-th frame; default: 5, of streams 1")
@click.option("--fps", type=FiniteRange(0, min_open=True), help="predict this number of frames per second")
@click.option(
    "--detect-every",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="N",
    help="detect faces in every N-th frame of the video, up to 3 N apart while they keep their places; in between, "
    "their boxes are interpolated",
)
@click.option("--crops", is_flag=True, help="the inputs are cut faces: nothing is detected")
@click.option(
    "--boxes", type=click.Path(path_type=Path), help="csv of faces of one video: time,left,top,width,height (1-based)"
)
@click.option(
    "--locator", metavar="NAME", help="face detector: a registered locator or module:attr; default: that of blear"
)
@click.option(
    "--locator-set",
    "locator_params",
    multiple=True,
    metavar="KEY=VALUE",
    help="a parameter of the locator, as YAML: file=yunet.onnx",
)
@click.option("--min-face", type=FiniteRange(4), metavar="PX", help="smallest side of a face in pixels of the frame")
@click.option(
    "--tracks",
    type=click.Path(path_type=Path),
    help="JSON of a tracker's persons, or a folder of one JSON for each frame; default: by motion and appearance",
)
@click.option(
    "--margin",
    type=FiniteRange(0),
    help="margin of the square around a face; needed where the model does not state how faces were cut",
)
@click.option("--abstain", type=FiniteRange(0, 1), default=0.0, help="no class below this probability")
@click.option(
    "--smooth",
    type=FiniteRange(0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="time constant of the smoothed values",
)
@click.option("--seconds", type=FiniteRange(0, min_open=True), help="read videos and streams up to this time")
@click.option(
    "--drop/--no-drop",
    default=None,
    help="streams: leave frames out that come while others are predicted; default: --drop, except for files at URLs",
)
@click.option("--strict", is_flag=True, help="refuse damaged videos")
@click.option(
    "--annotate",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=_BESIDE,
    metavar="[FILE]",
    help="also write the video with boxes and labels (.mp4); without FILE: as --out with this suffix",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=_BESIDE,
    metavar="[FILE]",
    help="also write the predictions over time (.png or .html); without FILE: as --out with the suffix .html",
)
@click.option(
    "--clips",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="also write one decision for each input: DIR/NAME.txt with its class, and DIR/clips.csv with the summed "
    "probabilities of its faces; with --crops, each folder of pictures is one input",
)
@click.option("--words", metavar="A,B,...", help="words of the classes in the files of --clips, in the model's order")
@click.option(
    "--facts",
    "--onnx",
    "facts",
    multiple=True,
    metavar="KEY=VALUE",
    help="fact of a network of others: labels, target, size, color, range, mean, ...",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto")
@click.option(
    "--cluster",
    is_flag=True,
    help="predict the inputs on the Ray cluster of RAY_ADDRESS, else on all CPUs or GPUs of this machine",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="with --cluster: largest number of inputs at a time; default: one for each GPU, without GPUs for each CPU",
)
@click.pass_context
def predict(
    context: click.Context,
    arguments: tuple[str, ...],
    stage: str | None,
    out: Path | None,
    every: int | None,
    fps: float | None,
    detect_every: int,
    crops: bool,
    boxes: Path | None,
    locator: str | None,
    locator_params: tuple[str, ...],
    min_face: float | None,
    tracks: Path | None,
    margin: float | None,
    abstain: float,
    smooth: float,
    seconds: float | None,
    drop: bool | None,
    strict: bool,
    annotate: Path | None,
    plot: Path | None,
    clips: Path | None,
    words: str | None,
    facts: tuple[str, ...],
    device: str,
    cluster: bool,
    workers: int | None,
) -> None:
    """Predict every target of MODEL for the faces of videos and pictures, over time.

    MODEL is a run, a stage of a run, a model folder, a weights file, the name of a shipped model, an ONNX file, a
    file of torch.export (.pt2), MODULE:ATTRIBUTE of a callable, or hf:FOLDER (a pipeline of transformers); where it is
    left out, the model in the package of blear is used.
    INPUT is a video, a picture, a folder, a pattern, a URL or pattern of object storage (s3://, gs://), a camera
    (camera:0), an address (rtsp://, http://), or - for a video on standard input. OUT.meta.json states model, framing,
    locator and versions. A call that is repeated after an interruption continues.
    """
    from blear.pipeline.runner import ray_session, uses_ray
    from blear.predict.default_output import DEFAULT
    from blear.predict.inputs import split_model
    from blear.predict.options import PredictOptions, predict_files

    if every and fps:
        raise click.UsageError("give --every or --fps, not both")
    model, inputs = split_model(arguments)
    options = PredictOptions(
        model=model,
        stage=stage,
        out=out or DEFAULT,
        number_out=out is None,
        every=every,
        fps=fps,
        detect_every=detect_every,
        crops=crops,
        boxes=boxes,
        locator=locator,
        locator_params=locator_params,
        min_face=min_face,
        tracks=tracks,
        margin=margin,
        abstain=abstain,
        smooth=smooth,
        seconds=seconds,
        drop=drop,
        strict=strict,
        annotate=annotate,
        plot=plot,
        clips=clips,
        words=tuple(words.split(",")) if words else (),
        facts=facts,
        device=device,
        cluster=cluster,
        workers=workers,
    )
    with ray_session(cluster, local=not uses_ray("auto")):
        result = predict_files(inputs, options)
    for line in result.lines:
        click.echo(line)
    click.echo(f"wrote {', '.join(map(str, result.files))}")
    if result.broken:
        context.exit(1)
