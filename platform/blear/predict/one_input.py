"""Predicts one input: its records go to a function, its facts are returned."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from blear.errors import BlearError
from blear.predict.inputs import Input
from blear.predict.live import LiveSource
from blear.predict.predictor import FacePredictor
from blear.predict.remote_inputs import downloaded
from blear.predict.rows import to_record
from blear.progress import ProgressBar, duration, echo, track
from blear.video import probe_video


def predict_input(
    predictor: FacePredictor,
    source: Input,
    on_record: Callable[[Mapping[str, Any]], None],
    title: str,
    abstain: float = 0.0,
    drop: bool | None = None,
) -> dict[str, Any]:
    """Calls `on_record` with the record of each face, see `to_record`, and returns the facts of the input.

    Args:
        title: name of the progress bar; empty: none is shown.
        drop: see `LiveSource`.

    Returns:
        `frames` and `faces`: their numbers; of a video `codec`, `rate`, `start`; `error` if the input cannot be read.
    """
    facts: dict[str, Any] = {"frames": 0, "faces": 0}
    labels, total = predictor.model.labels, 0 if source.address else 1
    live: LiveSource | None = None
    with contextlib.ExitStack() as opened:
        try:
            local = opened.enter_context(downloaded(source))
            if local.address is not None:
                live = opened.enter_context(LiveSource(local.address, drop))
            elif not local.is_picture and not local.is_folder:
                info = probe_video(local.path)
                facts |= {"codec": info.codec, "rate": info.rate, "start": info.start}
                total = info.frames or 0
            bar = opened.enter_context(track(title, total)) if title else _NoBar()
            for face in predictor.predict(local, _counter(facts, bar, total), live):
                on_record(to_record(source.name, face, labels, abstain))
                facts["faces"] += 1
        except BlearError as error:
            facts["error"] = error.what
            echo(str(error))
        except KeyboardInterrupt:
            if live is None:
                raise
            echo(f"{source.name}: ends here")
        if live is not None:
            facts |= live.facts()
    return facts


class _NoBar:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


def _counter(facts: dict[str, Any], bar: ProgressBar, total: int) -> Callable[[int], None]:
    started = time.monotonic()

    def count(frames: int) -> None:
        facts["frames"] += frames
        left = (time.monotonic() - started) / facts["frames"] * max(0, total - facts["frames"])
        bar.advance(frames, f"{duration(left)} left" if facts["frames"] % 25 == 0 and total else "")

    return count
