"""Writes docs/kornia_comparison.json: differences and times of our operations and of kornia's functions.

Run: `python docs/make_kornia_comparison.py [WORD ...]`. Words select the rows with one of the words in their name.
`make docs` turns the file into a table of docs/degradations.md. An operation that kornia's function has replaced is
measured with its former formula, which this file contains.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia import augmentation, enhance, filters
from kornia.geometry import transform
from torch import Tensor
from torch.nn.functional import conv2d, pad

from blear.contracts import BuildContext, ClipSpec, DrawKeys
from blear.plugin.discovery import load_plugins

FILE = Path(__file__).with_name("kornia_comparison.json")
BATCH, SIZES, THREADS, REPEATS = 32, (48, 96, 224), (1, 2), 15
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Pair:
    """Our operation and kornia's function for the same task.

    Attributes:
        ours, kornia: names.
        verdict: decision of the project, with its reason.
        make: frames [N, 3, H, W] -> our call and kornia's; with one strength for each sample if both support it.
    """

    ours: str
    kornia: str
    verdict: str
    make: Callable[[Tensor], tuple[Call, Call]]


def component(name: str, images: Tensor, **params: Any) -> tuple[Callable[[], Tensor], dict[str, Tensor]]:
    """Returns a call of our component on the images as stills, and its draws."""
    clip = ClipSpec(1, *images.shape[1:])
    operation = load_plugins().get("degradation", f"corruptions/{name}").build(params, BuildContext(clip=clip))
    draws = operation.draw(DrawKeys(0, 0, np.zeros(len(images), np.int64), np.arange(len(images))))
    return lambda: operation.apply(images[:, None], draws)[:, 0], draws


def gaussian(images: Tensor) -> tuple[Call, Call]:
    """Sigmas from 0.5 to 3 px."""
    ours, draws = component("blur", images, sigma=[0.5, 3])
    sigma = draws["sigma"][:, None].expand(-1, 2)
    return ours, lambda: filters.gaussian_blur2d(images, (25, 25), sigma, "replicate")


def imagenet_gaussian(images: Tensor) -> tuple[Call, Call]:
    """Sigma 2 px, cut at 4 sigma."""
    ours, _ = component("gaussian_blur", images, severity=2, table=224)
    return ours, lambda: filters.gaussian_blur2d(images, (17, 17), (2.0, 2.0), "replicate")


def opencv_gaussian(images: Tensor) -> tuple[Call, Call]:
    """Kernels of 7 px with OpenCV's rounded weights."""
    ours, _ = component("random_blur", images, p=1, kernels=[7])
    return ours, lambda: filters.gaussian_blur2d(images, (7, 7), (1.4, 1.4), "reflect")


def box(images: Tensor) -> tuple[Call, Call]:
    """One width of 5 px: kornia has one size for the whole batch."""
    return component("box_blur", images, width=5)[0], lambda: filters.box_blur(images, (5, 5), "replicate")


def motion(images: Tensor) -> tuple[Call, Call]:
    """9 px at 30 degrees."""
    ours, _ = component("line_blur", images, length=9, angle=30)
    angle, direction = torch.full((len(images),), -30.0), torch.zeros(len(images))
    return ours, lambda: filters.motion_blur(images, 9, angle, direction, "replicate", "bilinear")


def trail(images: Tensor) -> tuple[Call, Call]:
    """ImageMagick's trail of 21 px."""
    ours, _ = component("motion_blur", images, severity=1, table=224)
    angle, direction = torch.linspace(-45, 45, len(images)), torch.full((len(images),), -1.0)
    return ours, lambda: filters.motion_blur(images, 21, angle, direction, "replicate", "bilinear")


def kernels(images: Tensor) -> tuple[Call, Call]:
    """A kernel of 21 x 21 for each image."""
    weights = torch.rand(len(images), 21, 21)
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)

    def ours() -> Tensor:
        count, channels = images.shape[:2]
        padded = pad(images, (10, 10, 10, 10), mode="replicate").flatten(0, 1)
        each = weights.repeat_interleave(channels, dim=0)[:, None]
        return conv2d(padded[None], each, groups=count * channels).view_as(images)

    return ours, lambda: filters.filter2d(images, weights, "replicate")


def affine(images: Tensor) -> tuple[Call, Call]:
    """Rotation up to 20 degrees, shift up to 10 %, scale 0.9 to 1.1."""
    ours, draws = component("random_affine", images, degrees=20, translate=0.1, scale=[0.9, 1.1])
    height, width = images.shape[-2:]
    shift = torch.stack([draws["right"] * width, draws["down"] * height], dim=1)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).expand(len(images), -1)
    scale, angle = draws["scale"][:, None].expand(-1, 2), -torch.rad2deg(draws["angle"])

    def theirs() -> Tensor:
        matrix = transform.get_affine_matrix2d(shift, middle, scale, angle)[:, :2]
        return transform.warp_affine(images, matrix, (height, width), padding_mode="border", align_corners=True)

    return ours, theirs


def crop(images: Tensor) -> tuple[Call, Call]:
    """Crop of seven eighths of the side."""
    size = images.shape[-1] * 7 // 8
    ours, draws = component("random_crop", images, size=size)
    left, top = ((draws["place"][:, axis] * (images.shape[-1] - size + 1)).long() for axis in (1, 0))
    corners = [(left, top), (left + size - 1, top), (left + size - 1, top + size - 1), (left, top + size - 1)]
    boxes = torch.stack([torch.stack(corner, dim=1) for corner in corners], dim=1)
    return ours, lambda: transform.crop_by_indices(images, boxes)


def elastic(images: Tensor) -> tuple[Call, Call]:
    """Severity 3 of ImageNet-C; kornia's function has no affine map."""
    ours, _ = component("elastic_transform", images, severity=3, table=224)
    noise = 2 * torch.rand(len(images), 2, *images.shape[-2:]) - 1
    return ours, lambda: filters_elastic(images, noise)


def filters_elastic(images: Tensor, noise: Tensor) -> Tensor:
    """Returns the images after kornia's elastic transform."""
    return transform.elastic_transform2d(images, noise, (31, 31), (5.0, 5.0), (0.5, 0.5))


def offset(images: Tensor) -> tuple[Call, Call]:
    """Offsets from -0.2 to 0.2."""
    offsets = torch.linspace(-0.2, 0.2, len(images))
    each = offsets[:, None, None, None]
    return lambda: (images + each).clamp(0, 1), lambda: enhance.adjust_brightness(images, offsets)


def hsv_value(images: Tensor) -> tuple[Call, Call]:
    """Brightness of ImageNet-C: adds 0.3 to the HSV value."""
    return component("brightness", images, severity=3)[0], lambda: enhance.adjust_brightness(images, 0.3)


def contrast(images: Tensor) -> tuple[Call, Call]:
    """Contrast of ImageNet-C for each channel; kornia has this definition for grey images."""
    factor = torch.linspace(0.1, 0.9, len(images))
    each, planes = factor[:, None, None, None], images.flatten(0, 1)[:, None]

    def ours() -> Tensor:
        mean = images.mean(dim=(2, 3), keepdim=True)
        return ((images - mean) * each + mean).clamp(0, 1)

    repeated = factor.repeat_interleave(images.shape[1])
    return ours, lambda: enhance.adjust_contrast_with_mean_subtraction(planes, repeated).view_as(images)


def saturation(images: Tensor) -> tuple[Call, Call]:
    """Factors from 0 to 2."""
    factor = torch.linspace(0, 2, len(images))
    weights = torch.tensor((0.299, 0.587, 0.114))[:, None, None]

    def ours() -> Tensor:
        luma = (images * weights).sum(dim=1, keepdim=True)
        return (luma + factor[:, None, None, None] * (images - luma)).clamp(0, 1)

    return ours, lambda: enhance.adjust_saturation_with_gray_subtraction(images, factor)


def saturate(images: Tensor) -> tuple[Call, Call]:
    """Saturate of ImageNet-C: scales the HSV saturation and adds a number."""
    return component("saturate", images, severity=2)[0], lambda: enhance.adjust_saturation(images, 0.1)


def hue(images: Tensor) -> tuple[Call, Call]:
    """Rotation by 60 degrees."""
    return component("hue", images, degrees=60)[0], lambda: enhance.adjust_hue(images, math.pi / 3)


def jpeg(images: Tensor) -> tuple[Call, Call]:
    """Qualities from 10 to 90; the sides are multiples of 16."""
    ours, draws = component("jpeg_differentiable", images, quality=[10, 90])
    return ours, lambda: enhance.jpeg_codec_differentiable(images, draws["quality"])


def salt(images: Tensor) -> tuple[Call, Call]:
    """5 % of the pixels; the draws differ and are not timed."""
    theirs = augmentation.RandomSaltAndPepperNoise((0.05, 0.05), (0.5, 0.5), p=1)
    params = theirs.forward_parameters(images.shape)
    return component("salt_pepper", images, amount=0.05)[0], lambda: theirs(images, params=params)


def erasing(images: Tensor) -> tuple[Call, Call]:
    """One tenth of the frame; our cover may end inside a pixel."""
    theirs = augmentation.RandomErasing((0.1, 0.1), (1.0, 1.0), p=1)
    params = theirs.forward_parameters(images.shape)
    return component("occlusion", images, area=0.1)[0], lambda: theirs(images, params=params)


def resize(images: Tensor) -> tuple[Call, Call]:
    """Resize to two thirds of the side."""
    size = images.shape[-1] * 2 // 3
    return component("resize", images, size=size)[0], lambda: transform.resize(images, (size, size), antialias=True)


def down_up(images: Tensor) -> tuple[Call, Call]:
    """Shrink to one third and enlarge, bicubic."""
    side, small = images.shape[-1], images.shape[-1] // 3
    ours, _ = component("downscale", images, factor=3)

    def theirs() -> Tensor:
        less = transform.resize(images, (small, small), "bicubic", antialias=True)
        return transform.resize(less, (side, side), "bicubic")

    return ours, theirs


def flip(images: Tensor) -> tuple[Call, Call]:
    """Mirrors all images."""
    return component("random_flip", images, p=1)[0], lambda: transform.hflip(images)


REPLACED = "same definition: kornia's function has replaced ours"
FASTER = "same definition: ours stays, because it is faster on a CPU"
PAIRS = [
    Pair("blur", "filters.gaussian_blur2d", f"{FASTER}; the weights are kornia's", gaussian),
    Pair(
        "gaussian_blur (ImageNet-C)",
        "filters.gaussian_blur2d",
        f"{FASTER}; the weights are kornia's",
        imagenet_gaussian,
    ),
    Pair(
        "random_blur",
        "filters.gaussian_blur2d",
        "different weights: OpenCV rounds the weights of small kernels",
        opencv_gaussian,
    ),
    Pair(
        "box_blur",
        "filters.box_blur",
        "same definition for whole widths: ours stays, because kornia has one width for the whole batch",
        box,
    ),
    Pair("line_blur", "filters.motion_blur", "different kernel: ours is an exact line of any length", motion),
    Pair(
        "motion_blur (ImageNet-C)",
        "filters.motion_blur",
        "different kernel: ours is ImageMagick's half Gaussian",
        trail,
    ),
    Pair("kernels of line_blur and the recipes", "filters.filter2d", REPLACED, kernels),
    Pair("random_affine", "geometry.transform.warp_affine", FASTER, affine),
    Pair(
        "random_crop",
        "geometry.transform.crop_by_indices",
        "same definition: ours stays, because kornia reads each position on the host (no compiled graph; a GPU waits)",
        crop,
    ),
    Pair("elastic_transform (ImageNet-C)", "geometry.transform.elastic_transform2d", "different definition", elastic),
    Pair("random_brightness", "enhance.adjust_brightness", REPLACED, offset),
    Pair(
        "brightness (ImageNet-C)",
        "enhance.adjust_brightness",
        "different definition: ours adds to the HSV value",
        hsv_value,
    ),
    Pair("contrast (ImageNet-C)", "enhance.adjust_contrast_with_mean_subtraction", REPLACED, contrast),
    Pair("saturation", "enhance.adjust_saturation_with_gray_subtraction", REPLACED, saturation),
    Pair(
        "saturate (ImageNet-C)",
        "enhance.adjust_saturation",
        "same definition if nothing is added: ours stays, because two severities add to the saturation",
        saturate,
    ),
    Pair("hue", "enhance.adjust_hue", "different definition: ours rotates in YIQ and keeps luma", hue),
    Pair("jpeg_differentiable", "enhance.jpeg_codec_differentiable", FASTER, jpeg),
    Pair(
        "salt_pepper",
        "augmentation.RandomSaltAndPepperNoise",
        "different draws: ours are keyed and independent for each frame",
        salt,
    ),
    Pair(
        "occlusion",
        "augmentation.RandomErasing",
        "different definition: ours covers parts of pixels and can move",
        erasing,
    ),
    Pair("resize", "geometry.transform.resize", "different filter: kornia blurs before it samples", resize),
    Pair(
        "downscale",
        "geometry.transform.resize",
        "different filter, and kornia has one factor for the whole batch",
        down_up,
    ),
    Pair(
        "random_flip",
        "geometry.transform.hflip",
        "same definition: ours stays, because kornia has no choice for each sample",
        flip,
    ),
]


def measure(pair: Pair) -> dict[str, Any]:
    """Measures the largest difference at 96 px, and the milliseconds of both for each size and number of threads."""
    generator = torch.Generator().manual_seed(1)
    times: dict[str, list[float]] = {f"{size} px, {threads}": [] for size in SIZES for threads in THREADS}
    calls = {size: pair.make(torch.rand(BATCH, 3, size, size, generator=generator)) for size in SIZES}
    found = [call() for call in calls[96]]
    difference = float((found[0] - found[1]).abs().max()) if found[0].shape == found[1].shape else math.nan
    for threads in THREADS:  # outside: a second thread that waits for work would count as CPU time of one thread
        torch.set_num_threads(threads)
        for size, (ours, theirs) in calls.items():
            ours(), theirs()
            took: list[list[float]] = [[], []]
            for _ in range(REPEATS):
                for arm, call in enumerate((ours, theirs)):
                    began = time.process_time() if threads == 1 else time.perf_counter()
                    call()
                    took[arm].append((time.process_time() if threads == 1 else time.perf_counter()) - began)
            times[f"{size} px, {threads}"] = [1e3 * statistics.median(seconds) for seconds in took]
    return {"kornia": pair.kornia, "verdict": pair.verdict, "difference": difference, "ms": times}


def main(words: list[str]) -> None:
    """Measures all selected pairs. Writes the file after each row."""
    known = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for pair in PAIRS:
        if pair.ours not in known or not words or any(word in pair.ours for word in words):
            known[pair.ours] = measure(pair)
            row = known[pair.ours]
            ratios = ", ".join(f"{theirs / max(ours, 1e-6):.2f}" for ours, theirs in row["ms"].values())
            sys.stdout.write(f"{pair.ours}: {row['difference']:.2g}; kornia / ours {ratios}\n")
            sys.stdout.flush()
    rows = {pair.ours: known[pair.ours] | {"verdict": pair.verdict, "kornia": pair.kornia} for pair in PAIRS}
    FILE.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main(sys.argv[1:])
