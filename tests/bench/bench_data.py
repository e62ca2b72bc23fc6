"""Benchmark: first and later epochs of the store, compared with bare decoders and webdataset's own pipeline.

    python tests/bench/bench_data.py

48 px grey, 96 px grey, 224 px colour; JPEG and PNG; one core and two. Procedural faces fill four shards.

| arm | work |
| --- | --- |
| bare decoder | decodes bytes in memory and discards the pixels; two cores: two independent processes |
| webdataset | its own pipeline; two cores: two independent processes |
| first epoch | opens a store without a cache, decodes, writes the cache, copies every batch |
| later epochs | copy shuffled batches from the cache |

The store's worker processes already run; the time of their start is a separate row.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import kornia_rs
import numpy as np
import torch
import webdataset
from measuring import Row, interleaved, quartiles
from PIL import Image
from torchvision.io import decode_image

import blear
from bench import table
from blear.contracts import BuildContext, ClipSpec, Sample, Target
from blear.data.dataset_info import DatasetInfo, Layout, SplitInfo
from blear.data.decoded import worker_pool
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.data.shard.sample_codec import encode_sample
from blear.data.shard.writer import ShardWriter
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams

CASES = ((48, 1, 24000), (96, 1, 9600), (224, 3, 1920))
"""Pixels, channels, samples."""
SHARDS = 4
SLOW = 8
"""Part of each shard that webdataset reads."""
BATCH = 128
REPEATS = 3
FACES = 32

Decoder = Callable[[bytes], object]
OPENCV, FIRST = "OpenCV", "first epoch"


def kornia_rs_like(first: bytes) -> Decoder:
    """Returns kornia-rs's decoder for images like the first one. kornia-rs holds Python's lock while it decodes."""
    picture = Image.open(io.BytesIO(first))
    mode, shape = "mono" if picture.mode == "L" else "rgb", (picture.height, picture.width)
    if picture.format == "PNG":
        return lambda data: kornia_rs.io.decode_image_png_u8(data, shape, mode)
    return lambda data: kornia_rs.io.decode_image_jpegturbo(data, mode)


DECODERS: dict[str, Callable[[bytes], Decoder]] = {
    OPENCV: lambda _: lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
    "Pillow": lambda _: lambda data: np.asarray(Image.open(io.BytesIO(data))),
    "torchvision": lambda _: lambda data: decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8)),
    "kornia-rs": kornia_rs_like,
}
"""Name -> function that returns a decoder for images like the first one."""


def measure(cases: Sequence[tuple[int, int, int]] = CASES, repeats: int = REPEATS) -> list[Row]:
    """Measures samples/s of each arm for each size, format and number of cores, and the memory of two epochs."""
    rows: list[Row] = []
    allowed = os.sched_getaffinity(0)
    if len(allowed) > 1:
        rows.append(Row("start of the worker processes", in_a_process(start_up), "s"))
    with tempfile.TemporaryDirectory() as folder:
        for size, channels, count in cases:
            faces = drawn(size, channels)
            for kind in ("jpg", "png"):
                prepared = written(Path(folder) / f"{size}-{kind}", faces, kind, count)
                for cores in (1, 2)[: len(allowed)]:
                    os.sched_setaffinity(0, set(sorted(allowed)[:cores]))
                    try:
                        rows += compared(
                            prepared, f"{size} px {kind}, {cores} core{'s'[: cores - 1]}: ", cores, repeats
                        )
                    finally:
                        os.sched_setaffinity(0, allowed)
            rows.append(
                Row(f"{size} px png: memory added by two epochs, including mapped files", memory(prepared), "MB")
            )
    return rows


def compared(prepared: Prepared, prefix: str, cores: int, repeats: int) -> list[Row]:
    """Returns the rows of one size, format and number of cores. The arms run in turns."""
    shards, count = prepared.shards("train"), prepared.count("train")
    kept, fresh = prepared.folder / f"kept-{cores}", prepared.folder / f"fresh-{cores}"
    cached = Store.open(prepared, "train", kept)
    order = np.random.default_rng(0).permutation(count)
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=quiet) as pool:
        spread = (lambda call, parts: list(pool.map(call, parts))) if cores > 1 else (lambda c, p: [c(x) for x in p])
        arms: dict[str, Callable[[], object]] = {
            name: partial(spread, partial(decode_shard, name), shards) for name in DECODERS
        }
        arms[FIRST] = lambda: epoch(Store.open(prepared, "train", fresh), np.arange(count))
        arms["no cache"] = lambda: epoch(Store.open(prepared, "train", cache_gb=0), np.arange(count))
        arms["later epochs"] = lambda: epoch(cached, order)
        arms["webdataset"] = partial(spread, webdataset_shard, shards)
        quiet()
        worker_pool.start_workers()
        seconds = in_turns(arms, repeats, fresh)
    seconds["webdataset"] = [took * SLOW for took in seconds["webdataset"]]
    fastest = min(DECODERS, key=lambda name: statistics.median(seconds[name]))
    bare = tuple(dict.fromkeys((OPENCV, fastest)))  # our decoder and the fastest one
    against = {FIRST: (*bare, "webdataset"), "no cache": bare, "later epochs": ("webdataset",)}
    rows = []
    for name, times in seconds.items():
        rates = [count / took for took in times]
        row = (count / statistics.median(times), "samples/s")
        rows.append(Row(f"{prefix}{name}", *row, spread=quartiles(rates)))
        for other in against.get(name, ()):
            ratio = statistics.median(theirs / ours for ours, theirs in zip(times, seconds[other], strict=True))
            rows.append(Row(f"{prefix}{name}", *row, ratio, other, quartiles(rates)))
    return rows


def in_turns(arms: dict[str, Callable[[], object]], repeats: int, cache: Path) -> dict[str, list[float]]:
    """Returns the seconds of each call of each arm. The arms run in turns; the first turn is not counted.

    The cache is emptied before each call and filled once before the first turn, both untimed. A virtual machine returns
    memory to its host after it has been free for a second or two; without this, the time to get it back would be
    measured.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(repeats + 1):
        for name, call in arms.items():
            shutil.rmtree(cache, ignore_errors=True)
            if name == FIRST:
                call()
                shutil.rmtree(cache)
            for _, [took] in interleaved({name: call}, 1, 0).items():
                seconds[name] += [took] if turn else []
    return seconds


def epoch(store: Store, order: np.ndarray) -> int:
    """Reads every sample once, in batches. Returns the number of samples."""
    return sum(len(store.take(order[first : first + BATCH]).frames) for first in range(0, len(order), BATCH))


def decode_shard(name: str, shard: Path) -> int:
    """Decodes every image of a shard from memory and discards the pixels. Returns the number of images."""
    pictures = encoded(shard)
    decode = DECODERS[name](pictures[0])
    for picture in pictures:
        decode(picture)
    return len(pictures)


_read: dict[Path, list[bytes]] = {}


def encoded(shard: Path) -> list[bytes]:
    """Returns the encoded images of a shard. A process reads them once, in the warm-up."""
    if shard not in _read:
        dataset = webdataset.WebDataset(str(shard), shardshuffle=False)
        _read[shard] = [one.get("jpg") or one["png"] for one in dataset]
    return _read[shard]


def webdataset_shard(shard: Path) -> int:
    """Reads a shard with webdataset's own pipeline: tar, `decode`, JSON. Returns the number of samples."""
    form = "l8" if Image.open(io.BytesIO(encoded(shard)[0])).mode == "L" else "rgb8"
    dataset = webdataset.WebDataset(str(shard), shardshuffle=False).decode(form).to_tuple("jpg;png", "json")
    return sum(1 for _ in itertools.islice(dataset, len(encoded(shard)) // SLOW))


def quiet() -> None:
    """Sets every library with its own threads to one thread in this process."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def drawn(size: int, channels: int) -> list[np.ndarray]:
    """Returns procedural faces, uint8 [size, size, channels]."""
    params = ProceduralParams(
        size=size, color="luma" if channels == 1 else "rgb", subjects={"train": 4, "dev": 1}, per_subject=FACES // 4
    )
    data = ProceduralFaces(params, BuildContext(seed=0))
    return [sample.frames[0] for part in data.parts("train") for sample in data.samples("train", part)]


def written(folder: Path, faces: Sequence[np.ndarray], kind: str, count: int) -> Prepared:
    """Writes a prepared dataset of `count` samples in `SHARDS` shards, with images encoded as `kind`."""
    (folder / "train").mkdir(parents=True)
    pictures = [picture_of(face, kind) for face in faces]
    infos = []
    for number in range(SHARDS):
        name = f"train/{number:05d}.tar"
        with ShardWriter(folder / name) as shard:
            for n in range(number, count, SHARDS):
                sample = Sample(f"face/{n:06d}", faces[n % len(faces)][None], {"emotion": n % 7}, subject=f"s{n % 100}")
                shard.add(sample.key, {kind: pictures[n % len(pictures)], "json": encode_sample(sample)["json"]})
            infos.append(shard.close(name))
    height, width, channels = faces[0].shape
    targets = (Target("emotion", "class", tuple("abcdefg")),)
    split = SplitInfo(layout=Layout(frames="uint8"), shards=tuple(infos), class_counts={"emotion": (count,) * 7})
    info = DatasetInfo(
        name="bench/faces", version="1", blear=blear.__version__, seed=0, params={}, terms="", targets=targets,
        clip=ClipSpec(1, channels, height, width), splits={"train": split},
    )  # fmt: skip
    (folder / "dataset.json").write_text(info.model_dump_json())
    return Prepared.open(folder)


def picture_of(face: np.ndarray, kind: str) -> bytes:
    """Returns the image encoded with OpenCV's default settings (JPEG quality 95)."""
    done, data = cv2.imencode(f".{kind}", np.ascontiguousarray(face[..., ::-1]))
    if not done:
        raise ValueError(f"a face of shape {face.shape} cannot be encoded as {kind}")
    return data.tobytes()


def memory(prepared: Prepared) -> float:
    """Returns the peak growth of a fresh process's resident memory over a first and a later epoch, in MB."""
    return in_a_process(grown, prepared.folder)


def in_a_process(call: Callable[..., float], *arguments: object) -> float:
    """Runs the call in a fresh process. Returns its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def start_up() -> float:
    """Returns the seconds until the worker processes accept tasks. Until then a store decodes without them."""
    began = time.perf_counter()
    worker_pool.start_workers()
    return time.perf_counter() - began


def grown(folder: Path) -> float:
    """Returns the growth of this process's peak memory over two epochs in MB, including mapped files."""
    before = peak_kb()
    store = Store.open(Prepared.open(folder), "train", folder / "cache-memory")
    for _ in range(2):
        epoch(store, np.arange(len(store)))
    return (peak_kb() - before) / 1024


def peak_kb() -> int:
    """Returns the peak resident memory of this process in KiB. getrusage would include the parent's memory."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def main() -> None:
    """Measures and prints the table."""
    sys.stdout.write(table([asdict(row) for row in measure()]))


if __name__ == "__main__":
    main()
