"""Predicts one input: its records go to a function, its facts are returned."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blear.errors import BlearError
from blear.predict.inputs import Input, accepted_pictures, printable
from blear.predict.live import LiveSource
from blear.predict.predictor import FacePredictor
from blear.predict.remote_inputs import downloaded
from blear.predict.rows import to_record
from blear.predict.video_state import VideoState
from blear.progress import ProgressBar, duration, echo, track
from blear.storage.remote import is_url
from blear.video import probe_video


def predict_input(
    predictor: FacePredictor,
    source: Input,
    on_record: Callable[[Mapping[str, Any]], None],
    title: str,
    abstain: float = 0.0,
    drop: bool | None = None,
    states: InputStates | None = None,
) -> dict[str, Any]:
    """Calls `on_record` with the record of each face, see `to_record`, and returns the facts of the input.

    Args:
        title: name of the progress bar; empty: none is shown.
        drop: see `LiveSource`.
        states: the state that an interrupted video continues from, and where states are saved; None: nowhere.

    Returns:
        `frames` and `faces`: their numbers; of a video `codec`, `rate`, `start`, and the number of frames that were
        `not_decoded`, because no predicted frame depends on them; `notes`: messages of the reader, for instance on
        damage; `error` if the input cannot be read.
    """
    facts: dict[str, Any] = {"frames": 0, "faces": 0}
    states = states or InputStates()
    labels, total = predictor.model.labels, 0 if source.address else 1
    live: LiveSource | None = None
    with contextlib.ExitStack() as opened:
        try:
            local = opened.enter_context(downloaded(source))
            if local.address is not None:
                live = opened.enter_context(LiveSource(local.address, drop))
            elif not local.is_picture and not local.is_folder:
                info = probe_video(local.path)
                facts |= {"not_decoded": 0, "codec": info.codec, "rate": info.rate, "start": info.start}
                total = info.frames or 0
            bar = opened.enter_context(track(title, total)) if title else _NoBar()
            start = None
            if states.start is not None:
                start = VideoState.from_json(states.start["video"])
                facts["faces"] = states.start["faces"]
                echo(f"{source.name}: continues at {start.seconds:.1f} s")
            on_state = states.saver(facts)
            notice = _noting(facts, local.path)
            for face in predictor.predict(local, _counter(facts, bar, total), live, start, on_state, notice):
                on_record(to_record(source.name, face, labels, abstain))
                facts["faces"] += 1
        except BlearError as error:
            facts["error"] = printable(error.what)
            echo(printable(str(error)))
        except KeyboardInterrupt:
            if live is None:
                raise
            echo(f"{source.name}: ends here")
        if live is not None:
            facts |= live.facts()
    return facts


@dataclass(frozen=True)
class InputStates:
    """States inside an input.

    Attributes:
        start: a saved state; None: the input begins.
        save: receives states as values that JSON can hold; None: none is made.
        every_s: seconds from one state to the next.
    """

    start: Mapping[str, Any] | None = None
    save: Callable[[Mapping[str, Any]], None] | None = None
    every_s: float = 10.0

    def saver(self, facts: Mapping[str, Any]) -> Callable[[Callable[[], VideoState]], None]:
        """The function that `FacePredictor.predict` calls between batches: it saves a state from time to time."""
        last = time.monotonic()

        def on_state(make: Callable[[], VideoState]) -> None:
            nonlocal last
            if self.save is not None and time.monotonic() - last >= self.every_s:
                self.save({"faces": facts["faces"], "video": make().to_json()})
                last = time.monotonic()

        return on_state


def file_version(source: Input) -> list[int] | None:
    """Size, time and number of the files of an input; None: a stream, a file in object storage or a missing file."""
    if source.address is not None or is_url(source.name):
        return None
    try:
        files = accepted_pictures(source.path) if source.is_folder else [source.path]
        stats = [file.stat() for file in files]
    except OSError:  # `predict_input` reports it
        return None
    return [sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0), len(stats)]


def _noting(facts: dict[str, Any], video: Path) -> Callable[[str], None]:
    """The function that prints a message on a video and adds it to the facts."""

    def notice(text: str) -> None:
        echo(printable(text))
        facts.setdefault("notes", []).append(printable(text.removeprefix(f"{video}: ")))

    return notice


class _NoBar:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


def _counter(facts: dict[str, Any], bar: ProgressBar, total: int) -> Callable[[int, int], None]:
    started = time.monotonic()

    def count(frames: int, left_out: int) -> None:
        facts["frames"] += frames
        if "not_decoded" in facts:
            facts["not_decoded"] += left_out
        left = (time.monotonic() - started) / max(1, facts["frames"]) * max(0, total - facts["frames"])
        bar.advance(frames, f"{duration(left)} left" if facts["frames"] % 25 == 0 and total else "")

    return count
