"""Benchmark: peak memory of the command `blear predict`: on a 4K video, and on two hours against ten minutes.

Each measurement is a process of its own, which reads its peak from the kernel (VmHWM: libraries and mapped files
included). The long video repeats ten seconds of a real clip with a face (320 x 180, 10 frames per second, one frame per
second is predicted); the packets are copied, so that it is written in seconds. Each repetition is a new shot.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
from face_composites import DATA
from measuring import Row

from blear.predict.video import frame_windows

CLIP = DATA / "video" / "mead" / "M003_level_1_happy_024.mp4"
MODEL = "robust-faces"
HOURS = float(os.environ.get("HOURS", "2"))
_PART_S, _FPS, _SHORT_S = 10, 10, 600
_RUN = """
import re, resource, sys
from pathlib import Path
import {imports}
{call}
status = Path("/proc/self/status").read_text()
print(*(int(re.search(name + r":\\s+(\\d+)", status)[1]) // 1024 for name in ("VmHWM", "RssAnon", "RssFile")))
"""
_PREDICT = """
from blear.predict.options import PredictOptions, predict_files
predict_files([{video!r}], PredictOptions({model!r}, out=Path({out!r}), fps={fps}, seconds={seconds}))
"""


def measure() -> list[Row]:
    """Rows: peak memory in MB. None without real data (`BLEAR_DATA`)."""
    if not CLIP.is_file():
        return []
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for imports in ("numpy", "torch", "blear.predict.options"):
            rows += _rows(f"import {imports}", _peak(imports, ""))
        large = _encoded(folder / "4k.mp4", (3840, 2160), 60, 25)
        rows += _rows("3840 x 2160, every 5th frame", _peak("blear", _call(large, folder, None, None)))
        long = _long(folder)
        for title, seconds in (("ten minutes", _SHORT_S), (f"{HOURS:g} hours", None)):
            began = time.monotonic()
            rows += _rows(f"320 x 180, one frame per second, {title}", _peak("blear", _call(long, folder, 1, seconds)))
            rows.append(Row(f"320 x 180, one frame per second, {title}: time", time.monotonic() - began, "s"))
    return rows


def _call(video: Path, folder: Path, fps: float | None, seconds: float | None) -> str:
    return _PREDICT.format(video=str(video), model=MODEL, out=str(folder / "out.jsonl"), fps=fps, seconds=seconds)


def _peak(imports: str, call: str) -> list[int]:
    """Peak memory of a process, and anonymous and file-backed memory at its end, in MB."""
    command = [sys.executable, "-c", _RUN.format(imports=imports, call=call)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [int(number) for number in done.stdout.split()[-3:]]


def _rows(name: str, megabytes: list[int]) -> list[Row]:
    parts = ("peak", "anonymous at the end", "mapped files at the end")
    return [Row(f"{name}: {part}", value, "MB") for part, value in zip(parts, megabytes, strict=True)]


def _encoded(file: Path, size: tuple[int, int], count: int, fps: int) -> Path:
    """The first frames of the clip in a size, forwards and backwards, as H.264."""
    step = 25 // fps
    images = [cv2.resize(w.image_HWC, size, interpolation=cv2.INTER_AREA) for w in itertools.islice(
        frame_windows(CLIP, step, 1), 30)]  # fmt: skip
    with av.open(str(file), "w") as target:
        stream = target.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for image in itertools.islice(itertools.cycle(images + images[-2:0:-1]), count):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        target.mux(stream.encode())
    return file


def _long(folder: Path) -> Path:
    """The ten seconds, repeated by copying their packets."""
    part, file = _encoded(folder / "part.mp4", (320, 180), _PART_S * _FPS, _FPS), folder / "long.mp4"
    with av.open(str(part)) as source, av.open(str(file), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        shift = int(_PART_S / stream.time_base)
        for number in range(round(HOURS * 3600 / _PART_S)):
            source.seek(0, stream=stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + number * shift, packet.dts + number * shift
                    packet.stream = copy
                    target.mux(packet)
    return file
