"""Benchmark: epochs of the store on one core in CPU seconds, compared with litData, SPDL and webdataset.

    python tests/bench/bench_loaders.py

JPEG of 48 px (grey) and 224 px (colour). Each arm gives batches of 128 pictures as one array, with their labels. A
loader decodes with OpenCV, or with its own decoder where it has one; the ratio to the faster of both counts.

| arm | work |
| --- | --- |
| OpenCV | decodes bytes in memory and discards the pixels |
| litData | `StreamingDataset` over its own chunks of the same JPEG bytes, decoded by OpenCV or torchvision |
| SPDL | a `PipelineBuilder` of one thread over our shards, read by `iter_tarfile`: `load_image_batch`, or OpenCV |
| webdataset | its own pipeline with `decode`; reads an eighth of each shard |
| first epoch, no cache, later epochs | the store, as in bench_data |

litData and SPDL belong to the group `bench` of pyproject.toml; a row is left out where a package is missing, or
FFmpeg's shared libraries, which SPDL's own decoder needs.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from ctypes.util import find_library
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from bench_data import BATCH, FIRST, SLOW, drawn, encoded, epoch, quiet, webdataset_shard, written
from measuring import Row, interleaved, quartiles

from bench import table
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared

CASES = ((48, 1, 12000), (224, 3, 960))
"""Pixels, channels, samples."""
REPEATS = 3
OURS = (FIRST, "no cache", "later epochs")


def measure(cases: Sequence[tuple[int, int, int]] = CASES, repeats: int = REPEATS) -> list[Row]:
    """Measures samples per CPU second of each arm for each size."""
    rows: list[Row] = []
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    quiet()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for size, channels, count in cases:
                place = Path(folder) / str(size)
                rows += compared(written(place, drawn(size, channels), "jpg", count), channels, size, repeats)
    finally:
        os.sched_setaffinity(0, allowed)
    return rows


def compared(prepared: Prepared, channels: int, size: int, repeats: int) -> list[Row]:
    """Returns the rows of one size. The ratio is the median over the turns, to the fastest loader of others."""
    count, shards = prepared.count("train"), prepared.shards("train")
    pictures = [data for shard in shards for data in encoded(shard)]
    kept = Store.open(prepared, "train", prepared.folder / "kept")
    epoch(kept, np.arange(count))
    order = np.random.default_rng(0).permutation(count)
    arms: dict[str, Callable[[], object]] = {"OpenCV": partial(decode_all, pictures)}
    if importlib.util.find_spec("litdata"):
        chunks = litdata_chunks(prepared.folder / "litdata", pictures)
        arms["litData, OpenCV"] = partial(litdata_epoch, chunks, opencv)
        arms["litData, torchvision"] = partial(litdata_epoch, chunks, torchvision_decoder)
    if importlib.util.find_spec("spdl"):
        arms["SPDL, OpenCV"] = partial(spdl_epoch, shards, stack)
        if find_library("avutil"):
            arms["SPDL"] = partial(spdl_epoch, shards, partial(spdl_batch, "gray" if channels == 1 else "rgb24"))
    arms["webdataset"] = lambda: [webdataset_shard(shard) for shard in shards]
    arms[FIRST] = partial(first_epoch, prepared, count)
    arms["no cache"] = lambda: epoch(Store.open(prepared, "train", cache_gb=0), np.arange(count))
    arms["later epochs"] = partial(epoch, kept, order)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn, (name, call) in itertools.product(range(repeats + 1), arms.items()):
        if name == FIRST:
            call()  # a virtual machine gives memory back to its host: without this call, getting it back is measured
        [took] = interleaved({name: call}, 1, 0, time.process_time)[name]
        seconds[name] += [took] if turn else []
    seconds["webdataset"] = [took * SLOW for took in seconds["webdataset"]]
    loaders = [name for name in arms if name not in (*OURS, "OpenCV")]
    fastest = min(loaders, key=lambda name: statistics.median(seconds[name]))
    rows = []
    for name, times in seconds.items():
        rates = [count / took for took in times]
        row = (f"{size} px jpg: {name}", statistics.median(rates), "samples/CPU s")
        if name not in OURS:
            rows.append(Row(*row, spread=quartiles(rates)))
            continue
        for other in (fastest, "OpenCV"):
            ratio = statistics.median(theirs / ours for ours, theirs in zip(times, seconds[other], strict=True))
            rows.append(Row(*row, ratio, other, quartiles(rates)))
    return rows


def first_epoch(prepared: Prepared, count: int) -> None:
    """Decodes every sample into an empty cache, and copies every batch."""
    with tempfile.TemporaryDirectory(dir=prepared.folder) as cache:
        store = Store.open(prepared, "train", Path(cache))
        epoch(store, np.arange(count))
        store.close()


def opencv(data: bytes | memoryview) -> np.ndarray:
    """Decodes one picture."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def torchvision_decoder(data: bytes) -> torch.Tensor:
    """Decodes one picture as litData's `JPEGSerializer` does."""
    from torchvision.io import decode_jpeg

    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))


def decode_all(pictures: Iterable[bytes]) -> None:
    """Decodes pictures and discards the pixels."""
    for data in pictures:
        opencv(data)


def litdata_chunks(folder: Path, pictures: Sequence[bytes]) -> Path:
    """Writes the encoded pictures and their labels as chunks of litData."""
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, data in enumerate(pictures):
        writer.add_item(number, {"image": data, "emotion": number % 7})
    writer.done()
    writer.merge()
    return folder


def litdata_epoch(chunks: Path, decode: Callable[[bytes], Any]) -> int:
    """Reads every sample once, in batches."""
    from litdata import StreamingDataset

    done = 0
    all_samples = (sample for sample in StreamingDataset(str(chunks), shuffle=False))  # its own iterator starts again
    while samples := list(islice(all_samples, BATCH)):
        frames = [decode(sample["image"]) for sample in samples]
        batch = torch.stack(frames) if isinstance(frames[0], torch.Tensor) else np.stack(frames)
        labels = np.array([sample["emotion"] for sample in samples])
        assert len(batch) == len(labels)
        done += len(batch)
    return done


def spdl_epoch(shards: Sequence[Path], load: Callable[[list[Any]], Any]) -> int:
    """Runs batches of pictures from shards through a pipeline with one thread."""
    from spdl.io import iter_tarfile
    from spdl.pipeline import PipelineBuilder

    def source() -> Iterator[list[Any]]:
        files = (file for shard in shards for file in iter_tarfile(shard.read_bytes()))
        pictures = (data for name, data in files if name.endswith(".jpg"))
        while batch := list(islice(pictures, BATCH)):
            yield batch

    pipeline = PipelineBuilder().add_source(source()).pipe(load, concurrency=1).add_sink(2).build(num_threads=1)
    with pipeline.auto_stop():
        return sum(len(batch) for batch in pipeline)


def stack(pictures: list[bytes]) -> np.ndarray:
    """Decodes a batch with OpenCV."""
    return np.stack([opencv(data) for data in pictures])


def spdl_batch(pixels: str, pictures: list[bytes]) -> np.ndarray:
    """Decodes a batch with SPDL's own decoder."""
    import spdl.io

    batch = spdl.io.load_image_batch(pictures, width=None, height=None, pix_fmt=pixels)
    frames: np.ndarray = spdl.io.to_numpy(batch)
    return frames


def main() -> None:
    """Measures and prints the table."""
    sys.stdout.write(table([asdict(row) for row in measure()]))


if __name__ == "__main__":
    main()
