"""Benchmark: the 19 ImageNet-C operations, compared with imagecorruptions, kornia, torchvision v2 and Pillow.

Sizes are 48, 96 and 224 px. All arms use severity 3 of the table for 224 pixels on the same faces and run in turns. Our
operations and kornia's process a float batch, the others one 8-bit image per call. Times on one thread are CPU seconds
of this process, independent of other load; on two threads and on a GPU they are wall time. "Together" is every
operation once for every image, as in a corrupted copy of a data set. `pip install --group bench` installs
imagecorruptions.
"""

from __future__ import annotations

import io
import itertools
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from imagecorruptions_again import corrupt
from kornia import augmentation
from measuring import Row, interleaved, rate_rows, threads
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from blear.contracts import BuildContext, ClipSpec, DrawKeys
from blear.plugin.discovery import load_plugins
from blear_corruptions.imagenet_c.tables import TABLES
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams

BATCHES = {48: 64, 96: 32, 224: 8}
REPEATS, FEW = 5, 2
Call = Callable[[], object]
NOISE = ("gaussian_noise", "impulse_noise")

KORNIA: Mapping[str, Callable[[int], torch.nn.Module]] = {
    "gaussian_noise": lambda size: augmentation.RandomGaussianNoise(std=0.18, p=1.0),
    "impulse_noise": lambda size: augmentation.RandomSaltAndPepperNoise(amount=0.09, p=1.0),
    "gaussian_blur": lambda size: augmentation.RandomGaussianBlur((25, 25), (3.0, 3.0), p=1.0),
    "motion_blur": lambda size: augmentation.RandomMotionBlur(31, 45.0, 1.0, p=1.0),
    "snow": lambda size: augmentation.RandomSnow(p=1.0),
    "brightness": lambda size: augmentation.RandomBrightness((1.3, 1.3), p=1.0),
    "contrast": lambda size: augmentation.RandomContrast((0.2, 0.2), p=1.0),
    "saturate": lambda size: augmentation.RandomSaturation((2.0, 2.0), p=1.0),
    "elastic_transform": lambda size: augmentation.RandomElasticTransform(p=1.0),
    "jpeg_compression": lambda size: augmentation.RandomJPEG((15.0, 15.0), p=1.0),
}
TORCHVISION: Mapping[str, Callable[[int], torch.nn.Module]] = {
    "gaussian_noise": lambda size: v2.GaussianNoise(sigma=0.18),
    "gaussian_blur": lambda size: v2.GaussianBlur(25, 3.0),
    "brightness": lambda size: v2.ColorJitter(brightness=(1.3, 1.3)),
    "contrast": lambda size: v2.ColorJitter(contrast=(0.2, 0.2)),
    "saturate": lambda size: v2.ColorJitter(saturation=(2.0, 2.0)),
    "elastic_transform": lambda size: v2.ElasticTransform(),
    "jpeg_compression": lambda size: v2.JPEG(15),
}


def _file(picture: Image.Image) -> Image.Image:
    coded = io.BytesIO()
    picture.save(coded, "JPEG", quality=15)
    return Image.open(coded).convert("RGB")


def _pixels(picture: Image.Image) -> Image.Image:
    small = (int(picture.width * 0.4), int(picture.height * 0.4))
    return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX)


PILLOW: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "gaussian_blur": lambda picture: picture.filter(ImageFilter.GaussianBlur(3)),
    "brightness": lambda picture: ImageEnhance.Brightness(picture).enhance(1.3),
    "contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.2),
    "saturate": lambda picture: ImageEnhance.Color(picture).enhance(2.0),
    "pixelate": _pixels,
    "jpeg_compression": _file,
}


def faces(size: int, count: int) -> Tensor:
    """Returns procedural faces, float32 [count, 1, 3, size, size] in 8-bit steps."""
    params = ProceduralParams(size=size, subjects={"train": 4, "dev": 1}, per_subject=count // 4, recordings=1)
    data = ProceduralFaces(params, BuildContext(seed=0))
    pictures = [sample.frames for part in data.parts("train") for sample in data.samples("train", part)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255


def measure() -> list[Row]:
    """Returns one row for each operation, size, number of threads and arm, then a summary of the ratios."""
    theirs = corrupt()
    if theirs is None:
        sys.stdout.write(
            "imagecorruptions is not installed and is left out; install it with `pip install --group bench`\n"
        )
    rows: list[Row] = []
    places = [("cpu", 1), ("cpu", 2), *([("cuda", 1)] if torch.cuda.is_available() else [])]
    before = cv2.getNumThreads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for (device, cores), (size, count) in itertools.product(places, BATCHES.items()):
            cv2.setNumThreads(cores)
            with threads(cores):
                rows += _one_size(faces(size, count).to(device), cores, theirs)
    cv2.setNumThreads(before)
    return rows


def _one_size(frames: Tensor, cores: int, theirs: Callable[..., np.ndarray] | None) -> list[Row]:
    against = "imagecorruptions" if theirs is not None else "kornia"
    prefix = f"{frames.shape[-1]} px, {frames.device.type}, {cores} threads, "
    rows, taken = [], {}
    for name in TABLES:
        seconds = _seconds(_arms(name, frames, theirs), frames.device.type == "cuda", cores)
        taken[name] = {arm: statistics.median(times) for arm, times in seconds.items()}
        if against in seconds:
            rows += rate_rows(seconds, 1, "images/s", against, f"{prefix}{name}, ")
        else:
            rows += [Row(f"{prefix}{name}, {arm}", 1 / taken[name][arm], "images/s") for arm in seconds]
    return rows if theirs is None else [*rows, *_altogether(taken, prefix)]


def _altogether(taken: Mapping[str, Mapping[str, float]], prefix: str) -> list[Row]:
    """Returns ratios of summed times (with and without imagecorruptions' slowest), and their mean and minimum."""
    ours, other = ({name: each[arm] for name, each in taken.items()} for arm in ("blear", "imagecorruptions"))
    slowest = max(other, key=other.__getitem__)
    ratios = [other[name] / ours[name] for name in taken]
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    rows = []
    for what, names in (("all", list(taken)), (f"all but {slowest}", [name for name in taken if name != slowest])):
        mine, others = (sum(times[name] for name in names) for times in (ours, other))
        title = f"{prefix}{what} {len(names)} together, blear"
        rows.append(Row(title, len(names) / mine, "images/s", others / mine, "imagecorruptions"))
    rows.append(Row(f"{prefix}geometric mean of {len(ratios)}", mean, "times imagecorruptions"))
    rows.append(Row(f"{prefix}least of {len(ratios)}", min(ratios), "times imagecorruptions"))
    return rows


def _arms(name: str, frames: Tensor, theirs: Callable[..., np.ndarray] | None) -> dict[str, tuple[Call, int]]:
    """Returns arm -> function to call, and number of images per call."""
    count, size = len(frames), frames.shape[-1]
    context = BuildContext(clip=ClipSpec(*frames.shape[1:]))
    operation = load_plugins().get("degradation", f"corruptions/{name}").build({"severity": 3, "table": 224}, context)
    keys = DrawKeys(0, 0, np.zeros(count, np.int64), np.arange(count))

    def ours() -> Tensor:
        draws = {part: value.to(frames.device) for part, value in operation.draw(keys).items()}
        return operation.apply(frames, draws)

    images = frames[:, 0]
    arms: dict[str, tuple[Call, int]] = {"blear": (ours, count)}
    if name in KORNIA:
        augment = KORNIA[name](size)
        arms["kornia"] = (lambda: augment(images), count)
    if frames.device.type != "cpu" and theirs is None:
        return arms
    pixels = (images.cpu().permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    if theirs is not None:
        arms["imagecorruptions"] = _few(lambda p: theirs(p, severity=3, corruption_name=name), pixels)
    if frames.device.type != "cpu":
        return arms
    if name in TORCHVISION:
        inputs = images if name in NOISE else torch.from_numpy(pixels).permute(0, 3, 1, 2)
        arms["torchvision"] = _few(TORCHVISION[name](size), list(inputs))
    if name in PILLOW:
        arms["pillow"] = _few(PILLOW[name], [Image.fromarray(p) for p in pixels])
    return arms


def _few(change: Callable[[Any], object], pictures: Sequence[Any]) -> tuple[Call, int]:
    """Returns a call that changes the next few images one after another, and their number."""
    turn = itertools.cycle(pictures)
    return lambda: [change(picture) for picture in itertools.islice(turn, FEW)], FEW


def _seconds(arms: Mapping[str, tuple[Call, int]], on_gpu: bool, cores: int) -> dict[str, list[float]]:
    """Returns seconds per image for each turn. A turn lasts at least 20 ms, because the CPU clock has coarse steps."""
    clock = time.process_time if cores == 1 and not on_gpu else time.perf_counter
    calls, repeated = {}, {}
    for arm, (call, _) in arms.items():
        once = interleaved({arm: _times(call, 1, on_gpu)}, repeats=1, warm=1, clock=clock)[arm][0]
        calls[arm] = max(1, math.ceil(0.02 / max(once, 1e-6)))
        repeated[arm] = _times(call, calls[arm], on_gpu)
    seconds = interleaved(repeated, REPEATS, warm=1, clock=clock)
    return {arm: [took / calls[arm] / arms[arm][1] for took in times] for arm, times in seconds.items()}


def _times(call: Call, count: int, on_gpu: bool) -> Call:
    def repeated() -> None:
        for _ in range(count):
            call()
        if on_gpu:
            torch.cuda.synchronize()

    return repeated
