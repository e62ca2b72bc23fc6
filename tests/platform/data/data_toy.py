"""A one-file plugin with a small dataset; shared by the tests of `blear.data`."""

import hashlib
from pathlib import Path

from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.plugin.component_ref import ComponentRef

SOURCE = """
import os
import signal
import time
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from blear.contracts import ClipSpec

from blear.contracts import Component

from blear.contracts import Params

from blear.contracts import Sample

from blear.contracts import Target
from blear.errors import DataError
from blear.hooks import hookimpl

PLUGIN_API = 1


class ToyParams(Params):
    kind: Literal["stills", "clips", "floats", "varied"] = Field("stills", description="What the samples are.")
    parts: int = Field(2, description="Parts of each split.")
    samples: int = Field(3, description="Samples of each part.")
    source: Path | None = Field(None, description="A raw file or folder; only its size and modification time matter.")
    log: str = Field("", description="File that gets a line for each part that is read.")
    kill: str = Field("", description="While this file exists, the process dies inside part train/1.")
    fault: str = Field("", description="Breaks the contract in this way, in the last sample of part test/1.")


class Toy:
    terms = "Made of random numbers."

    def __init__(self, params, context):
        self.params, self.seed = params, context.seed
        self.splits = ("train", "test") if params.fault != "no_splits" else ()
        self.targets = (Target("emotion", "class", ("sad", "glad")), Target("valence", "value", bounds=(-1.0, 1.0)))
        self.clip = {
            "stills": ClipSpec(1, 1, 6, 5),
            "clips": ClipSpec(4, 3, 6, 5),
            "floats": ClipSpec(2, 1, 6, 5),
            "varied": ClipSpec(5, 3, 6, 5, shortest=2),
        }[params.kind]

    def parts(self, split):
        return [f"part{n}" for n in range(self.params.parts)]

    def samples(self, split, part):
        p, number = self.params, int(part.removeprefix("part"))
        if p.log:
            with Path(p.log).open("a") as log:
                log.write(f"{split}/{part}\\n")
        if p.fault == "empty" and split == "test":
            return
        for n in range(p.samples):
            if Path(p.kill).is_file() and (split, number, n) == ("train", 1, p.samples - 1):
                os.kill(os.getpid(), signal.SIGKILL)
            last = (split, number, n) == ("test", 1, p.samples - 1)
            yield self.sample(f"{part}/{n:03d}", split, n, p.fault if last else "")

    def sample(self, key, split, n, fault):
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{split}{key}".encode())])
        c = self.clip
        length = c.length if c.shortest is None else c.shortest + n % (c.length - c.shortest + 1)
        frames = rng.integers(0, 256, (length, c.height, c.width, c.channels), dtype=np.uint8)
        clean = None
        if self.params.kind == "floats":
            frames = rng.random(frames.shape, dtype=np.float32)
            clean = rng.random((2, 4, 3, 1), dtype=np.float32)
        targets = {"emotion": n % 2, "valence": float(rng.uniform(-1, 1))}
        subject, time_s, meta = f"s{n}", n / 25, {"face_px": 20 + n}
        match fault:
            case "raises":
                raise DataError("row 7 has no label", "labels.csv", "fix the row")
            case "slow":
                time.sleep(60)
            case "bug":
                raise KeyError("not a BlearError")
            case "short":
                frames = frames[:1]
            case "clean":
                clean = frames
            case "shape":
                frames = frames[:, :-1]
            case "dtype":
                frames = frames.astype(np.float64)
            case "nan":
                frames = np.full(frames.shape, np.nan, dtype=np.float32)
            case "bytes_as_floats":
                frames = np.full(frames.shape, 254, dtype=np.float32)
            case "list":
                frames = frames.tolist()
            case "tuple":
                return key, frames, targets
            case "layout":
                frames = frames.astype(np.float32) / 255
            case "class":
                targets["emotion"] = 2
            case "value":
                targets["valence"] = float("inf")
            case "bounds":
                targets["valence"] = 1.5
            case "missing":
                del targets["valence"]
            case "key":
                key = "a.b"
            case "subject":
                subject = 3
            case "time":
                time_s = "3.5"
            case "meta":
                meta["box"] = np.arange(4)
            case "surrogate":
                meta["file"] = "\\udcff.png"
            case "column":
                meta[1] = 2
            case "twice":
                key = f"part1/{n - 1:03d}"
            case "twice_over_parts":
                key = "part0/001"
        return Sample(key, frames, targets, clean, subject, key.split("/")[0], time_s, meta)


@hookimpl
def register_datasets():
    return [Component("random", "Random pictures", ToyParams, Toy)]
"""


def toy_ref(folder: Path, **params) -> ComponentRef:
    """Writes the plugin file into `folder`; returns its dataset component."""
    file = folder / "toy.py"
    if not file.is_file():
        file.write_text(SOURCE)
    return ComponentRef("dataset", "toy/random", params, (str(file),))


def prepare_toy(folder: Path, *, version="1", seed=0, workers=1, use_ray=False, **params) -> Prepared:
    """Prepares the toy dataset in `folder/shards`."""
    return prepare_dataset(
        toy_ref(folder, **params), folder / "shards", version=version, seed=seed, workers=workers, use_ray=use_ray
    )


def toy_samples(folder: Path, split: str, *, seed=0, **params):
    """Samples that the toy dataset yields, which the stored samples must equal."""
    from blear.contracts import BuildContext

    dataset = toy_ref(folder, **params).build(BuildContext(seed=seed))
    return [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]


def restate(prepared):
    """The dataset with a dataset.json that states its changed shards, as a writer of such shards would have done."""
    path = prepared.folder / "dataset.json"
    text = path.read_text()
    for split in prepared.splits:
        for info in prepared.split(split).shards:
            shard = prepared.folder / info.name
            digest = hashlib.sha256(shard.read_bytes()).hexdigest()
            if digest != info.sha256:
                shard.with_name(f"{shard.name}.idx").unlink(missing_ok=True)
                text = text.replace(info.index_sha256, "").replace(info.sha256, digest)
                text = text.replace(f'"bytes": {info.bytes}', f'"bytes": {shard.stat().st_size}')
    path.write_text(text)
    return Prepared.open(prepared.folder)
