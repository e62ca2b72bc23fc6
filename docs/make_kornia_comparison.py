"""Writes docs/kornia_comparison.json: our operations beside kornia's, with differences and times.

Run: `python docs/make_kornia_comparison.py [WORD ...]`, with words only the rows whose name holds one.
`make docs` makes the table of docs/degradations.md from that file. An operation that kornia's function has replaced is
measured by its former formula, which stands here.
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
BATCH, SIZES, THREADS, REPEATS = 32, (48, 96, 224), (1, 2), 7
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Pair:
    """Two ways to do one thing.

    Attributes:
        ours, kornia: names.
        verdict: what the project does, and why.
        make: frames [N, 3, H, W] -> our call and kornia's, with a strength for each sample where both have one.
    """

    ours: str
    kornia: str
    verdict: str
    make: Callable[[Tensor], tuple[Call, Call]]


def component(name: str, images: Tensor, **params: Any) -> tuple[Callable[[], Tensor], dict[str, Tensor]]:
    """A component of ours applied to the images as stills, and its draws."""
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
    """Kernels of 7 px, whose weights OpenCV rounds."""
    ours, _ = component("random_blur", images, p=1, kernels=[7])
    return ours, lambda: filters.gaussian_blur2d(images, (7, 7), (1.4, 1.4), "reflect")


def box(images: Tensor) -> tuple[Call, Call]:
    """5 px for all: kornia has one size for a batch."""
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
    """Up to 20 degrees, 10 % shift, 0.9 to 1.1."""
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
    """Seven eighths of the side."""
    size = images.shape[-1] * 7 // 8
    ours, draws = component("random_crop", images, size=size)
    left, top = ((draws["place"][:, axis] * (images.shape[-1] - size + 1)).long() for axis in (1, 0))
    corners = [(left, top), (left + size - 1, top), (left + size - 1, top + size - 1), (left, top + size - 1)]
    boxes = torch.stack([torch.stack(corner, dim=1) for corner in corners], dim=1)
    return ours, lambda: transform.crop_by_indices(images, boxes)


def elastic(images: Tensor) -> tuple[Call, Call]:
    """Severity 3 of ImageNet-C; kornia without its affine map."""
    ours, _ = component("elastic_transform", images, severity=3, table=224)
    noise = 2 * torch.rand(len(images), 2, *images.shape[-2:]) - 1
    return ours, lambda: filters_elastic(images, noise)


def filters_elastic(images: Tensor, noise: Tensor) -> Tensor:
    """Kornia's elastic transform."""
    return transform.elastic_transform2d(images, noise, (31, 31), (5.0, 5.0), (0.5, 0.5))


def offset(images: Tensor) -> tuple[Call, Call]:
    """Offsets from -0.2 to 0.2."""
    offsets = torch.linspace(-0.2, 0.2, len(images))
    each = offsets[:, None, None, None]
    return lambda: (images + each).clamp(0, 1), lambda: enhance.adjust_brightness(images, offsets)


def hsv_value(images: Tensor) -> tuple[Call, Call]:
    """ImageNet-C adds 0.3 to the HSV value."""
    return component("brightness", images, severity=3)[0], lambda: enhance.adjust_brightness(images, 0.3)


def contrast(images: Tensor) -> tuple[Call, Call]:
    """ImageNet-C's contrast of each channel, which kornia has for grey images."""
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
    """ImageNet-C scales the HSV saturation, and adds to it."""
    return component("saturate", images, severity=2)[0], lambda: enhance.adjust_saturation(images, 0.1)


def hue(images: Tensor) -> tuple[Call, Call]:
    """60 degrees."""
    return component("hue", images, degrees=60)[0], lambda: enhance.adjust_hue(images, math.pi / 3)


def jpeg(images: Tensor) -> tuple[Call, Call]:
    """Qualities from 10 to 90; sides that 16 divides."""
    ours, draws = component("jpeg_differentiable", images, quality=[10, 90])
    return ours, lambda: enhance.jpeg_codec_differentiable(images, draws["quality"])


def salt(images: Tensor) -> tuple[Call, Call]:
    """5 % of the pixels; the draws differ, the times are without them."""
    theirs = augmentation.RandomSaltAndPepperNoise((0.05, 0.05), (0.5, 0.5), p=1)
    params = theirs.forward_parameters(images.shape)
    return component("salt_pepper", images, amount=0.05)[0], lambda: theirs(images, params=params)


def erasing(images: Tensor) -> tuple[Call, Call]:
    """One tenth of the frame; ours ends between pixels."""
    theirs = augmentation.RandomErasing((0.1, 0.1), (1.0, 1.0), p=1)
    params = theirs.forward_parameters(images.shape)
    return component("occlusion", images, area=0.1)[0], lambda: theirs(images, params=params)


def resize(images: Tensor) -> tuple[Call, Call]:
    """To two thirds."""
    size = images.shape[-1] * 2 // 3
    return component("resize", images, size=size)[0], lambda: transform.resize(images, (size, size), antialias=True)


def down_up(images: Tensor) -> tuple[Call, Call]:
    """A third and back, bicubic."""
    side, small = images.shape[-1], images.shape[-1] // 3
    ours, _ = component("downscale", images, factor=3)

    def theirs() -> Tensor:
        less = transform.resize(images, (small, small), "bicubic", antialias=True)
        return transform.resize(less, (side, side), "bicubic")

    return ours, theirs


def flip(images: Tensor) -> tuple[Call, Call]:
    """All of them."""
    return component("random_flip", images, p=1)[0], lambda: transform.hflip(images)


REPLACED = "same definition: kornia's function is used"
FASTER = "same definition: ours stays, which is faster on a CPU"
PAIRS = [
    Pair("blur", "filters.gaussian_blur2d", f"{FASTER}; weights of kornia", gaussian),
    Pair("gaussian_blur (ImageNet-C)", "filters.gaussian_blur2d", f"{FASTER}; weights of kornia", imagenet_gaussian),
    Pair(
        "random_blur", "filters.gaussian_blur2d", "other weights: OpenCV rounds those of small kernels", opencv_gaussian
    ),
    Pair(
        "box_blur",
        "filters.box_blur",
        "same definition for whole widths: ours stays, kornia has one width for a batch",
        box,
    ),
    Pair("line_blur", "filters.motion_blur", "other kernel: exact line, length between pixels", motion),
    Pair("motion_blur (ImageNet-C)", "filters.motion_blur", "other kernel: ImageMagick's trail", trail),
    Pair("kernels of line_blur and the recipes", "filters.filter2d", REPLACED, kernels),
    Pair("random_affine", "geometry.transform.warp_affine", FASTER, affine),
    Pair(
        "random_crop",
        "geometry.transform.crop_by_indices",
        "same definition: ours stays, kornia reads each place on the host (no compiled graph, a wait on a GPU)",
        crop,
    ),
    Pair("elastic_transform (ImageNet-C)", "geometry.transform.elastic_transform2d", "other definition", elastic),
    Pair("random_brightness", "enhance.adjust_brightness", REPLACED, offset),
    Pair("brightness (ImageNet-C)", "enhance.adjust_brightness", "other definition: HSV value", hsv_value),
    Pair("contrast (ImageNet-C)", "enhance.adjust_contrast_with_mean_subtraction", REPLACED, contrast),
    Pair("saturation", "enhance.adjust_saturation_with_gray_subtraction", REPLACED, saturation),
    Pair(
        "saturate (ImageNet-C)",
        "enhance.adjust_saturation",
        "same definition where nothing is added: ours stays, two severities add to the saturation",
        saturate,
    ),
    Pair("hue", "enhance.adjust_hue", "other definition: YIQ, keeps luma", hue),
    Pair("jpeg_differentiable", "enhance.jpeg_codec_differentiable", FASTER, jpeg),
    Pair("salt_pepper", "augmentation.RandomSaltAndPepperNoise", "other draws: from keys, new in each frame", salt),
    Pair("occlusion", "augmentation.RandomErasing", "other definition: covers parts of pixels, moves", erasing),
    Pair("resize", "geometry.transform.resize", "other filter: kornia blurs before it samples", resize),
    Pair("downscale", "geometry.transform.resize", "other filter, and no factor for each sample", down_up),
    Pair(
        "random_flip",
        "geometry.transform.hflip",
        "same definition: ours stays, kornia has no choice for each sample",
        flip,
    ),
]


def measure(pair: Pair) -> dict[str, Any]:
    """Largest difference at 96 px, and milliseconds of ours and kornia's for each size and number of threads."""
    generator = torch.Generator().manual_seed(1)
    times: dict[str, list[float]] = {}
    difference = 0.0
    for size in SIZES:
        images = torch.rand(BATCH, 3, size, size, generator=generator)
        ours, theirs = pair.make(images)
        if size == 96:
            found = ours(), theirs()
            alike = found[0].shape == found[1].shape
            difference = float((found[0] - found[1]).abs().max()) if alike else math.nan
        for threads in THREADS:
            torch.set_num_threads(threads)
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
    """Measures, and writes the file after each row."""
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
