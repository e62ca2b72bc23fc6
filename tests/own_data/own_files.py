"""Small pictures and videos for the tests of own data, and an independent reader of them with Pillow alone."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def picture(path: Path, size=(20, 16), mode="RGB", **options) -> Path:
    """Writes a picture of smooth noise that depends on the end of its path; the ending chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(zlib.crc32("/".join(path.parts[-4:]).encode())).integers(
        0, 256, (4, 5, 3), dtype=np.uint8
    )
    image = Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)
    image.convert(mode).save(path, **options)
    return path


def reference(path: Path, size=12, color="rgb", fit="crop") -> np.ndarray:
    """Reads a picture with Pillow: uint8 [1, size, size, C]."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB" if color == "rgb" else "L")
    height, width = (size, size) if isinstance(size, int) else size
    bicubic = Image.Resampling.BICUBIC
    if fit == "stretch":
        image = image.resize((width, height), bicubic)
    else:
        image = (ImageOps.fit if fit == "crop" else ImageOps.pad)(image, (width, height), bicubic)
    return np.array(image).reshape(1, height, width, -1)


def video(path: Path, greys, size=32, suffix="") -> Path:
    """Writes a video of uniform grey frames, nearly lossless."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv444p"
        for grey in greys:
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), grey, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def read_all(dataset) -> dict[str, list]:
    """Split -> samples of a dataset."""
    return {
        split: [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]
        for split in dataset.splits
    }
