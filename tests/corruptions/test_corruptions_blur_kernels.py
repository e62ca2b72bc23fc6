"""Blur kernels compared with BasicSR's formulae in numpy and scipy, and the convolution with the kernels."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from blear_corruptions.recipes.blur_kernels import GAUSSIAN, NONE, PLATEAU, SINC, KernelDraws, convolve, kernels

K = 21
ONE = {"sigma_x": 1.0, "sigma_y": 1.0, "theta": 0.0, "beta": 1.0, "cutoff": 1.0}


def draws(*rows):
    """Returns the draws of several kernels, given as one dictionary for each kernel."""
    whole = {name: torch.tensor([row[name] for row in rows]) for name in ("kind", "size")}
    real = {name: torch.tensor([float(row.get(name, ONE[name])) for row in rows]) for name in ONE}
    return KernelDraws(**whole, **real)


def square(size, sigma_x, sigma_y, theta):
    """Returns x^T S^-1 x at every pixel x, where S is the rotated covariance."""
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    place = np.stack([x, y], axis=-1).astype(float)
    return np.einsum("hwi,ij,hwj->hw", place, inverse, place)


def in_21(kernel):
    return np.pad(kernel / kernel.sum(), (K - len(kernel)) // 2)


def circular(size, cutoff):
    """BasicSR's `circular_lowpass_kernel`."""
    axis = np.arange(size) - (size - 1) / 2
    radius = np.hypot(axis[:, None], axis)
    with np.errstate(invalid="ignore"):
        kernel = cutoff * special.j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    return kernel


def test_gaussian_generalised_and_plateau():
    made = {
        (7, 0.6, 0.6, 0.0): 1.0,
        (21, 3.0, 0.7, 0.8): 1.0,
        (13, 2.0, 1.2, -2.9): 0.5,
        (21, 2.9, 0.3, 3.0): 3.7,
    }
    rows = [
        {"kind": kind, "size": size, "sigma_x": a, "sigma_y": b, "theta": theta, "beta": beta}
        for kind in (GAUSSIAN, PLATEAU)
        for (size, a, b, theta), beta in made.items()
    ]
    out = kernels(draws(*rows), K).double().numpy()
    for kernel, row in zip(out, rows, strict=True):
        shaped = square(row["size"], row["sigma_x"], row["sigma_y"], row["theta"]) ** row["beta"]
        expected = np.exp(-0.5 * shaped) if row["kind"] == GAUSSIAN else 1 / (shaped + 1)
        np.testing.assert_allclose(kernel, in_21(expected), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("size", "cutoff"), [(7, math.pi / 3), (13, math.pi / 5), (21, 2.0), (21, math.pi)])
def test_sinc(size, cutoff):
    out = kernels(draws({"kind": SINC, "size": size, "cutoff": cutoff}), K)[0].double().numpy()
    np.testing.assert_allclose(out, in_21(circular(size, cutoff)), atol=2e-6)
    assert out.min() < 0


def test_every_kernel_sums_to_one_and_none_changes_nothing():
    rows = [{"kind": kind, "size": 9, "sigma_x": 0.01} for kind in (GAUSSIAN, PLATEAU, SINC, NONE)]
    out = kernels(draws(*rows), K)
    torch.testing.assert_close(out.sum(dim=(1, 2)), torch.ones(4))
    images = torch.rand(1, 3, 8, 9)
    assert torch.equal(convolve(images, out[3:]), images)


def test_each_image_has_its_own_kernel_and_borders_repeat():
    rows = [{"kind": GAUSSIAN, "size": 7 + 2 * k, "sigma_x": 1 + k, "sigma_y": 0.5, "theta": 0.4} for k in range(3)]
    made = kernels(draws(*rows), K)
    images = torch.rand(3, 2, 12, 17, generator=torch.Generator().manual_seed(1))
    out = convolve(images, made)
    for image, kernel, blurred in zip(images, made, out, strict=True):
        for plane, changed in zip(image, blurred, strict=True):
            expected = ndimage.correlate(plane.double().numpy(), kernel.double().numpy(), mode="nearest")
            np.testing.assert_allclose(changed.numpy(), expected, atol=1e-5)


def test_draws_go_through_their_names():
    made = draws({"kind": SINC, "size": 9, "cutoff": 1.5}, {"kind": NONE, "size": 7})
    named = made.with_prefix("a_")
    assert set(named) == {"a_kind", "a_size", "a_sigma_x", "a_sigma_y", "a_theta", "a_beta", "a_cutoff"}
    assert torch.equal(kernels(KernelDraws.from_draws(named, "a_"), K), kernels(made, K))
