"""The 19 ImageNet-C operations against imagecorruptions, kornia, torchvision v2 and Pillow, at 48, 96 and 224 px.

All at severity 3 of the table for 224 pixels, on the same faces in one run. Ours and kornia's take a float batch, the
others an 8-bit picture at a time. Times are CPU seconds of this process on one thread, so that other load does not
count; on a GPU, if there is one, wall time. imagecorruptions is installed by `pip install --group bench`.
"""

from __future__ import annotations

import io
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from imagecorruptions_again import corrupt
from kornia import augmentation
from measuring import Row, quartiles, threads
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from blear.contracts import BuildContext, ClipSpec, DrawKeys
from blear.plugins import load
from blear_corruptions.imagenet_c_tables import TABLES
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
    """Float32 [count, 1, 3, size, size] in 8-bit steps."""
    params = ProceduralParams(size=size, subjects={"train": 4, "dev": 1}, per_subject=count // 4, recordings=1)
    data = ProceduralFaces(params, BuildContext(seed=0))
    pictures = [sample.frames for part in data.parts("train") for sample in data.samples("train", part)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255


def measure() -> list[Row]:
    """A row for each operation, size and arm; then the geometric mean and the least of the ratios."""
    theirs = corrupt()
    if theirs is None:
        sys.stdout.write("imagecorruptions is not installed: left out\n")
    rows: list[Row] = []
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    with threads(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size, count in BATCHES.items():
            frames = faces(size, count)
            for device in devices:
                rows += _one_size(frames.to(device), theirs)
    return rows


def _one_size(frames: Tensor, theirs: Callable[..., np.ndarray] | None) -> list[Row]:
    size, device, rows = frames.shape[-1], frames.device.type, []
    ratios = []
    for name in TABLES:
        arms = _arms(name, frames, theirs)
        taken = {arm: _seconds(call, pictures, device) for arm, (call, pictures) in arms.items()}
        against = "imagecorruptions" if theirs is not None else "kornia"
        for arm, seconds in taken.items():
            rates = [1 / second for second in seconds]
            middle = sorted(rates)[len(rates) // 2]
            ratio = None
            if arm != against and against in taken:
                ratio = float(np.median(taken[against]) / np.median(seconds))
            if arm == "blear" and ratio is not None:
                ratios.append(ratio)
            prefix = f"{size} px, {device}, {name}, "
            compared = against if ratio is not None else ""
            rows.append(Row(prefix + arm, middle, "images/s", ratio, compared, quartiles(rates)))
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        rows.append(Row(f"{size} px, {device}, geometric mean of {len(ratios)}", mean, "times imagecorruptions"))
        rows.append(Row(f"{size} px, {device}, least of {len(ratios)}", min(ratios), "times imagecorruptions"))
    return rows


def _arms(name: str, frames: Tensor, theirs: Callable[..., np.ndarray] | None) -> dict[str, tuple[Call, int]]:
    """Arm -> what to call, and how many pictures a call makes."""
    count, size = len(frames), frames.shape[-1]
    context = BuildContext(clip=ClipSpec(*frames.shape[1:]))
    operation = load().get("degradation", f"corruptions/{name}").build({"severity": 3, "table": 224}, context)
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
    pixels = (images[:FEW].cpu().permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    if theirs is not None:
        arms["imagecorruptions"] = (lambda: [theirs(p, severity=3, corruption_name=name) for p in pixels], FEW)
    if frames.device.type != "cpu":
        return arms
    if name in TORCHVISION:
        transform = TORCHVISION[name](size)
        inputs = list(images[:FEW] if name in NOISE else torch.from_numpy(pixels).permute(0, 3, 1, 2))
        arms["torchvision"] = (lambda: [transform(picture) for picture in inputs], FEW)
    if name in PILLOW:
        pictures = [Image.fromarray(p) for p in pixels]
        arms["pillow"] = (lambda: [PILLOW[name](picture) for picture in pictures], FEW)
    return arms


def _seconds(call: Call, pictures: int, device: str) -> list[float]:
    """Of one picture, once for each repeat; a repeat lasts at least 20 ms, because CPU time is counted in steps."""
    on_gpu = device == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time

    def timed(calls: int) -> float:
        began = clock()
        for _ in range(calls):
            call()
        if on_gpu:
            torch.cuda.synchronize()
        return clock() - began

    once = timed(1)
    once = min(once, timed(1))
    calls = max(1, math.ceil(0.02 / max(once, 1e-6)))
    return [timed(calls) / calls / pictures for _ in range(REPEATS)]
