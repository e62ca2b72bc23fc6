"""Shards as other people write them, and an independent reader: webdataset, json, NumPy and Pillow."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image, ImageOps
from webdataset.tariterators import group_by_keys, tar_file_expander


def encoded(number: int, kind="png", size=(20, 16), mode="RGB", **options) -> bytes:
    """A picture of smooth noise as bytes."""
    noise = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def sample(number: int, kind="png", **options) -> dict[str, bytes]:
    """A sample with a picture, a class in `cls` and more labels in `json`."""
    content = {
        "valence": number / 8 - 0.5,
        "who": f"p{number % 4}",
        "votes": [number, 1],
        "deep": {"list": [number % 3]},
    }
    suffix = options.pop("suffix", kind)
    return {suffix: encoded(number, kind, **options), "cls": b"%d" % (number % 3), "json": json.dumps(content).encode()}


def write_tar(path: Path, samples: dict[str, dict[str, bytes]], mode="w", folder="", order=None) -> Path:
    """Writes a tar with the standard library: key -> suffix -> content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for key, members in samples.items():
            for suffix in order or members:
                if suffix in members:
                    info = tarfile.TarInfo(f"{folder}{key}.{suffix}")
                    info.size = len(members[suffix])
                    archive.addfile(info, io.BytesIO(members[suffix]))
    return path


def write_webdataset(folder: Path, samples, maxcount=4, pattern="train-%04d.tar") -> Path:
    """Writes shards with webdataset's own writer."""
    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(folder / pattern), maxcount=maxcount, verbose=0) as writer:
        for key, members in samples.items():
            writer.write({"__key__": key, **members})
    return folder


def read_shard(path: Path) -> dict[str, dict[str, bytes]]:
    """Reads a shard with webdataset's functions: key -> suffix -> content."""
    with gzip.open(path) if path.name.endswith("gz") else path.open("rb") as stream:
        source = {"url": str(path), "stream": io.BytesIO(stream.read())}
        samples = webdataset.DataPipeline(lambda: iter([source]), tar_file_expander, group_by_keys)
        return {
            one["__key__"]: {name.lower(): data for name, data in one.items() if not name.startswith("__")}
            for one in samples
        }


def picture(data: bytes, size, color="rgb", fit="crop") -> np.ndarray:
    """Decodes a picture with Pillow, brought to the size (height, width): uint8 [C, H, W]."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB" if color == "rgb" else "L")
    wanted, bicubic = (size[1], size[0]), Image.Resampling.BICUBIC
    if image.size != wanted:
        image = image.resize(wanted, bicubic) if fit == "stretch" else ImageOps.fit(image, wanted, bicubic)
    return np.array(image).reshape(*size, -1).transpose(2, 0, 1)
