"""ImageNet-C operations compared with their definitions in numpy, scipy, OpenCV and Pillow, at 224, 64 and 32 px.

Operation and definition get the same random pattern, so that tolerances cover arithmetic only. Where an operation
differs by design, the tolerance of its test is the difference.
"""

import colorsys
import io
import math

import cv2
import numpy as np
import pytest
import torch
from kornia.enhance import jpeg_codec_differentiable
from operation_tester import context, faces, keys
from PIL import Image
from scipy import ndimage, stats
from test_corruptions_imagenet_c import build

from blear_corruptions.compression.codec import soft_jpeg
from blear_corruptions.imagenet_c.noise import poisson_quantile
from blear_corruptions.imagenet_c.tables import TABLES
from blear_corruptions.random_patterns import normal_pattern, uniform_pattern

SIDES = pytest.mark.parametrize("side", [224, 64, 32])
CASES = pytest.mark.parametrize(("side", "severity"), [(224, 5), (64, 2), (32, 4)])
HELD = {}


class Case:
    """One operation on one face: result `out` and face `image`, both float64 [H, W, 3], and the random pattern."""

    def __init__(self, name, side, severity):
        if side not in HELD:
            HELD[side] = faces(1, side)[:, :, :, :side, :side]
        clip = HELD[side]
        op = build(name, context(1, 3, side, side), severity=severity)
        draws = op.draw(keys(1))
        self.key = draws["key"].flatten()
        self.pattern = op.operation_for(side, side).pattern(self.key, draws["index"], 3).double().numpy()[0]
        self.image, self.out = (
            frames[0, 0].permute(1, 2, 0).double().numpy() for frames in (clip, op.apply(clip, draws))
        )
        self.row = TABLES[name][side][severity - 1]

    def random(self, kind, shape, stream=0):
        return kind(self.key, shape, stream)[0].double().numpy()


def near(out, expected, tolerance):
    np.testing.assert_allclose(out, np.clip(expected, 0, 1), atol=tolerance, rtol=0)


@CASES
def test_gaussian_and_speckle_noise(side, severity):
    case = Case("gaussian_noise", side, severity)
    noise = case.pattern.transpose(1, 2, 0) * case.row[0]
    assert noise.std() == pytest.approx(case.row[0], rel=0.06)
    near(case.out, case.image + noise, 1e-6)
    case = Case("speckle_noise", side, severity)
    near(case.out, case.image * (1 + case.pattern.transpose(1, 2, 0) * case.row[0]), 1e-6)


MEANS = torch.tensor([0.0, 0.001, 0.01, 0.1, 0.3, 1, 2.7, 5, 12, 60, 250, 700])


def test_poisson_quantiles_are_scipys():
    z = torch.linspace(-5, 5, 4001)
    expected = stats.poisson.ppf(stats.norm.cdf(z.double().numpy()), MEANS[:, None].double().numpy())
    off = np.abs(poisson_quantile(MEANS[:, None], z[None]).numpy() - np.maximum(expected, 0))
    assert off.max() <= 1
    chance = stats.norm.pdf(z.numpy())
    assert ((off > 0) @ chance / chance.sum()).max() < 1e-4


@pytest.mark.parametrize("mean", MEANS[1:].tolist())
def test_counts_are_poissons(mean):
    counts = poisson_quantile(torch.full((8, 250_000), mean), normal_pattern(torch.arange(8), (250_000,))).long()
    found = torch.bincount(counts.flatten()).double().numpy()
    expected = stats.poisson.pmf(np.arange(len(found)), mean) * found.sum()
    enough = expected > 20
    assert expected[enough].sum() > 0.999 * found.sum()
    error = np.square(found - expected)[enough] / expected[enough]
    assert stats.chi2.sf(error.sum(), max(1, enough.sum() - 1)) > 1e-4


@CASES
def test_shot_noise(side, severity):
    case = Case("shot_noise", side, severity)
    (photons,) = case.row
    counts = stats.poisson.ppf(stats.norm.cdf(case.pattern.transpose(1, 2, 0)), case.image * photons)
    expected = np.clip(np.maximum(counts, 0) / photons, 0, 1)
    assert (np.abs(case.out - expected) > 1e-5).mean() < 1e-3


@CASES
def test_impulse_noise(side, severity):
    case = Case("impulse_noise", side, severity)
    amount = case.row[0]
    changed = case.out != case.image.clip(0, 1)
    spread = math.sqrt(amount / changed.size)
    inside = (case.image > 0) & (case.image < 1)
    assert changed[inside].mean() == pytest.approx(amount, abs=4 * spread)
    assert set(np.unique(case.out[changed])) == {0.0, 1.0}
    assert case.out[changed & inside].mean() == pytest.approx(0.5, abs=2 / math.sqrt((changed & inside).sum()))


@CASES
def test_gaussian_blur(side, severity):
    case = Case("gaussian_blur", side, severity)
    near(case.out, ndimage.gaussian_filter(case.image, (case.row[0], case.row[0], 0), mode="nearest"), 1e-5)


def reference_disk(radius, edge):
    reach = 8 if radius <= 8 else int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = (x * x + y * y <= radius * radius) / np.sum(x * x + y * y <= radius * radius)
    size = 3 if radius <= 8 else 5
    weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * edge * edge))
    weights /= weights.sum()
    return ndimage.convolve(kernel, np.outer(weights, weights), mode="mirror")


@CASES
def test_defocus_blur(side, severity):
    case = Case("defocus_blur", side, severity)
    near(case.out, cv2.filter2D(case.image, -1, reference_disk(*case.row)), 1e-5)


@CASES
def test_glass_blur(side, severity):
    case = Case("glass_blur", side, severity)
    sigma, most, rounds = case.row

    def blurred(image):
        return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")

    x = blurred(case.image)
    for number in range(rounds):
        moves = np.floor(case.pattern[number] * 2 * most).astype(int) - most
        for h in range(side - most, most, -1):
            for w in range(side - most, most, -1):
                dy, dx = moves[:, h, w]
                x[h, w], x[h + dy, w + dx] = (
                    x[h + dy, w + dx],
                    x[h, w],
                )  # as in the original: numpy's views turn the swap into a copy
    near(case.out, blurred(x), 1e-5)


def reference_zoom(image, factor):
    side = len(image)
    kept = math.ceil(side / factor)
    top = (side - kept) // 2
    zoomed = ndimage.zoom(image[top : top + kept, top : top + kept], (factor, factor, 1), order=1)
    trim = (len(zoomed) - side) // 2
    return zoomed[trim : trim + side, trim : trim + side]


@CASES
def test_zoom_blur(side, severity):
    case = Case("zoom_blur", side, severity)
    zooms = np.arange(1, *case.row)
    expected = (case.image + sum(reference_zoom(case.image, factor) for factor in zooms)) / (len(zooms) + 1)
    near(case.out, expected, 1e-4)


def reference_trail(image, radius, sigma, degrees):
    width = 2 * radius + 1
    kernel = np.zeros((2 * width + 1, 2 * width + 1))
    for i in range(width):
        x, y = (math.ceil(i * part - 0.5) for part in (np.cos(np.radians(degrees)), np.sin(np.radians(degrees))))
        kernel[width + y, width + x] += math.exp(-(i**2) / (2 * sigma**2))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


@CASES
def test_motion_blur(side, severity):
    case = Case("motion_blur", side, severity)
    degrees = float(case.pattern.item())
    assert -45 <= degrees < 45
    near(case.out, reference_trail(case.image, *case.row, degrees), 1e-5)


def reference_plasma(chance, decay):
    """The diamond-square algorithm, cell by cell; `chance` in [-1, 1) is added to the mean of each cell."""
    size = len(chance)
    heights, step, amplitude = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half = step // 2
        for y in range(half, size, step):
            for x in range(half, size, step):
                around = [heights[(y + a) % size, (x + b) % size] for a in (-half, half) for b in (-half, half)]
                heights[y, x] = sum(around) / 4 + amplitude * amplitude * chance[y, x]
        for y in range(0, size, half):
            for x in range(half if y % step == 0 else 0, size, step):
                near_by = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                mean = sum(heights[a % size, b % size] for a, b in near_by) / 4
                heights[y, x] = mean + amplitude * amplitude * chance[y, x]
        step, amplitude = half, amplitude / decay
    heights -= heights.min()
    return heights / heights.max()


@CASES
def test_fog(side, severity):
    case = Case("fog", side, severity)
    size = {224: 256, 64: 64, 32: 32}[side]
    thickness, decay = case.row
    chance = 2 * case.random(uniform_pattern, (size, size)) - 1
    fog = thickness * reference_plasma(chance, decay)[:side, :side, None]
    brightest = case.image.max()
    near(case.out, (case.image + fog) * brightest / (brightest + thickness), 1e-4)


@CASES
def test_frost_is_mixed_in_the_published_proportions(side, severity):
    case = Case("frost", side, severity)
    frost = case.pattern[0][:, :, None] * np.array([0.86, 0.94, 1.0])
    assert 0.2 < frost.mean() < 0.65
    assert frost.std() > 0.05
    near(case.out, case.row[0] * case.image + case.row[1] * frost, 1e-6)


@CASES
def test_snow(side, severity):
    case = Case("snow", side, severity)
    mean, deviation, factor, threshold, radius, sigma, kept = case.row
    flakes = mean + deviation * case.random(normal_pattern, (1, side, side)).transpose(1, 2, 0)
    flakes = reference_zoom(flakes, factor)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    degrees = case.random(uniform_pattern, (1,), 1).item() * 90 - 135
    layer = reference_trail(flakes[..., 0], radius, sigma, degrees)[:, :, None]
    grey = cv2.cvtColor(case.image.astype(np.float32), cv2.COLOR_RGB2GRAY)[:, :, None]
    whitened = kept * case.image + (1 - kept) * np.maximum(case.image, grey * 1.5 + 0.5)
    assert (np.abs(case.out - np.clip(whitened + layer + np.rot90(layer, 2), 0, 1)) > 1e-3).mean() < 1e-3


def skimage_hsv(image, change):
    return np.array([colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in image])


@CASES
def test_brightness_and_saturate(side, severity):
    for name, change in {
        "brightness": lambda h, s, v, more: (h, s, min(v + more, 1)),
        "saturate": lambda h, s, v, factor, more: (h, min(s * factor + more, 1), v),
    }.items():
        case = Case(name, side, severity)
        some = np.random.default_rng(1).integers(side, size=(2, 500))
        expected = skimage_hsv(case.image[tuple(some)], lambda *hsv, c=case, f=change: f(*hsv, *c.row))
        near(case.out[tuple(some)], expected, 1e-5)


def test_black_becomes_grey_and_grey_gets_the_hue_of_red():
    pixels = (
        torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.2, 0.4, 0.8]]).T.reshape(1, 1, 3, 3, 1).repeat(1, 1, 1, 2, 6)
    )
    bright, vivid = (build(name, context(1, 3, 6, 6), severity=4, table=64) for name in ("brightness", "saturate"))
    assert bright.apply(pixels, bright.draw(keys(1)))[0, 0, :, 0, 0].tolist() == pytest.approx([0.4] * 3)
    made = vivid.apply(pixels, vivid.draw(keys(1)))[0, 0]
    assert made[:, 1, 0].tolist() == pytest.approx([0.5, 0.45, 0.45])
    grey = torch.rand(2, 1, 1, 8, 8)
    op = build("saturate", context(1, 1, 8, 8))
    assert torch.equal(op.apply(grey, op.draw(keys(2))), grey)


@CASES
def test_contrast(side, severity):
    case = Case("contrast", side, severity)
    mean = case.image.mean(axis=(0, 1))
    near(case.out, (case.image - mean) * case.row[0] + mean, 1e-5)


def reference_spatter(image, row, z):
    """Spatter as in the authors' script, with OpenCV."""
    mean, deviation, sigma, threshold, strength, mud = row
    liquid = ndimage.gaussian_filter(mean + deviation * z, sigma, mode="nearest")
    liquid[liquid < threshold] = 0
    if mud:
        m = ndimage.gaussian_filter((liquid > threshold).astype(float), strength, mode="nearest")
        return np.where(m < 0.8, 0, m)
    liquid = (liquid.clip(0, 1) * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.equalizeHist(cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8))
    emboss = cv2.filter2D(distance, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    m = liquid * cv2.blur(emboss, (3, 3)).astype(float)
    return m / m.max() * strength


@pytest.mark.parametrize("severity", [2, 3, 5])
@SIDES
def test_spatter(side, severity):
    case = Case("spatter", side, severity)
    z = case.random(normal_pattern, (side, side))
    expected = reference_spatter(case.image, case.row, z)
    if severity == 5:
        near(case.pattern[0], expected, 1e-4)
        brown = np.array([63, 42, 20]) / 255
        near(case.out, case.image * (1 - expected[:, :, None]) + expected[:, :, None] * brown, 1e-4)
        return
    turquoise = np.array([175, 238, 238]) / 255
    near(case.out, case.image + case.pattern[0][:, :, None] * turquoise, 1e-5)
    assert case.pattern[0].max() == pytest.approx(case.row[4], abs=1e-5)
    # The edge detection differs by design.
    assert np.abs(case.pattern[0] - expected).mean() < 0.03
    assert np.corrcoef(case.pattern[0].ravel(), expected.ravel())[0, 1] > (0.8 if severity == 2 else 0.65)


@CASES
def test_elastic_transform(side, severity):
    case = Case("elastic_transform", side, severity)
    amplitude, sigma, corner = (share * side for share in case.row)
    middle, reach = side // 2, side // 3
    before = np.float32([[middle + reach] * 2, [middle + reach, middle - reach], [middle - reach] * 2])
    shifts = (2 * case.random(uniform_pattern, (6,)) - 1).reshape(3, 2) * corner
    affine = cv2.getAffineTransform(before, np.float32(before + shifts))
    image = cv2.warpAffine(case.image, affine, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    chance = 2 * case.random(uniform_pattern, (2, side, side), 1) - 1
    dx, dy = (ndimage.gaussian_filter(c, sigma, mode="reflect", truncate=3) * amplitude for c in chance)
    rows, columns = np.mgrid[:side, :side]
    layers = [
        ndimage.map_coordinates(image[..., c], [rows + dy, columns + dx], order=1, mode="reflect") for c in range(3)
    ]
    assert np.abs(case.out - np.stack(layers, axis=-1)).mean() < 0.003  # OpenCV rounds coordinates to 1/32 pixel


@CASES
def test_pixelate(side, severity):
    case = Case("pixelate", side, severity)
    picture = Image.fromarray(np.uint8(case.image * 255 + 0.5))
    small = int(side * case.row[0])
    picture = picture.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BOX)
    near(case.out, np.array(picture) / 255, 1.01 / 255)


@CASES
def test_jpeg_compression_is_near_libjpeg(side, severity):
    case = Case("jpeg_compression", side, severity)
    file = io.BytesIO()
    Image.fromarray(np.uint8(case.image * 255 + 0.5)).save(file, "JPEG", quality=case.row[0])
    expected = np.array(Image.open(file)) / 255
    changed, apart = (np.sqrt(np.square(x - expected).mean()) for x in (case.image, case.out))
    assert np.abs(case.out - expected).mean() < 0.02
    assert apart < (0.7 if case.row[0] < 15 else 0.45) * changed


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 96, 48), (1, 37, 50)])
def test_the_soft_jpeg_is_kornias(channels, height, width):
    images = faces(6, 96)[:, 0, :channels, :height, :width]
    quality = torch.tensor([1.0, 7.0, 15.0, 62.5, 95.0, 100.0])
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    coded = soft_jpeg(ours, quality).clamp(0, 1)
    expected = jpeg_codec_differentiable(theirs.expand(-1, 3, -1, -1), quality)[:, :channels]
    torch.testing.assert_close(coded, expected, atol=1e-4, rtol=0)
    for out in (coded, expected):
        (out * images).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=5e-3, rtol=0)
