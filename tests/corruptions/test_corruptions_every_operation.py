"""Tests for every registered degradation. A degradation that is missing in the table of this file fails a test."""

import importlib
import itertools
from dataclasses import dataclass, field

import pytest
import torch
from operation_tester import context, faces, keys

import blear_corruptions
from blear.contracts import Degradation
from blear.errors import PluginError
from blear_corruptions.imagenet_c.components import components as imagenet_c

COMPONENTS = {component.name: component for component in blear_corruptions.register_degradations()}
TESTED_ELSEWHERE = {"rafdb_c", "imagenet_p", *(component.name for component in imagenet_c())}
"""Degradations with other tests: subclasses of `operation_tester.OperationTester` have the same tests and more, and the
first frame of ImageNet-P's sequences is clean."""


@dataclass(frozen=True)
class Traits:
    """Expected behaviour of a component.

    Attributes:
        params: parameters that change every clip, with new draws in each epoch.
        still: parameters that change all frames of a clip alike; None: no such parameters exist.
        gradient: comparison with finite differences; "rounded": the gradient ignores roundings; None: no gradient.
        overshoots: largest distance of values from [0, 1].
        resizes: true if the component changes the frames' size.
        colours: true if the component needs RGB.
        compiles: true if the component compiles as one graph; None: not tested, because Dynamo takes 10 s and more.
        smallest: side of the smallest square frame that the component supports.
    """

    params: dict = field(default_factory=dict)
    still: dict | None = field(default_factory=dict)
    gradient: str | None = "differences"
    overshoots: float = 0.0
    resizes: bool = False
    colours: bool = False
    compiles: bool | None = True
    smallest: int = 6


FRAME = {"per": "frame"}
CLIP = {"per": "clip"}
TRAITS = {
    "downscale": Traits({"factor": 3}, overshoots=0.3),
    "scale_mix": Traits({"factors": [2, 3, 4, 6]}, overshoots=0.3),
    "random_flip": Traits(),
    "random_crop": Traits({"size": 5}, resizes=True),
    "random_shift": Traits({"pixels": 2}),
    "random_affine": Traits({"degrees": 20, "scale": (0.8, 1.2)}),
    "random_noise": Traits({"p": 1, "std": 0.2}),
    "random_brightness": Traits({"p": 1, "offset": 0.2}),
    "random_blur": Traits({"p": 1, "kernels": (3, 5)}),
    "resize": Traits({"size": 12}, resizes=True),
    "random_box": Traits({"move": 0.3}, still=CLIP),
    "hsv_jitter": Traits(still=CLIP),
    "blur": Traits({"sigma": (0.5, 3)}),
    "box_blur": Traits({"width": (1.5, 5)}),
    "line_blur": Traits({"length": (2, 9)}),
    "noise": Traits(still=CLIP),
    "salt_pepper": Traits({"amount": (0.1, 0.3)}, still=CLIP),
    "low_light": Traits(still=CLIP, gradient=None),
    "white_balance": Traits(colours=True),
    "channel_gain": Traits(colours=True),
    "saturation": Traits({"factor": (0, 0.6)}, colours=True),
    "hue": Traits(colours=True),
    "occlusion": Traits({"area": (0.1, 0.4)}),
    "bars": Traits(),
    "face_band": Traits({"cover": (0.2, 1)}),
    "patches": Traits(),
    "jpeg_differentiable": Traits({"quality": (5, 80)}, compiles=None),
    "real_esrgan": Traits({"severity": 2}, still=None, gradient="rounded", compiles=None),
    "bsrgan": Traits({"severity": 2}, still=None, gradient="rounded", compiles=False),
    "gfpgan": Traits({"severity": 2}, still=None, gradient="rounded", compiles=None),
    "real_basicvsr": Traits({"severity": 2}, still=None, gradient="rounded", compiles=None),
}
LEVELLED = [name for name in TRAITS if not name.startswith("random_") and name not in ("resize", "hsv_jitter")]


def build(name, at, **params):
    module, attribute = COMPONENTS[name].build.split(":")
    build_it = importlib.import_module(module)
    for part in attribute.split("."):
        build_it = getattr(build_it, part)
    return build_it(COMPONENTS[name].params(**TRAITS[name].params | params), at)


def test_every_registered_degradation_is_covered():
    assert set(COMPONENTS) - TESTED_ELSEWHERE == set(TRAITS)


@pytest.mark.parametrize("name", TRAITS)
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 6, 9), (3, 33, 20)])
def test_shape_type_and_range(name, channels, height, width):
    traits = TRAITS[name]
    if traits.colours and channels == 1:
        with pytest.raises(PluginError, match="channels have no"):
            build(name, context(2, channels, height, width))
        return
    clips = torch.rand(4, 2, channels, height, width, generator=torch.Generator().manual_seed(1))
    op = build(name, context(2, channels, height, width))
    assert isinstance(op, Degradation)
    draws = op.draw(keys(4))
    assert all(len(value) == 4 for value in draws.values())
    out = op.apply(clips, draws)
    assert out.dtype == torch.float32
    assert bool(torch.isfinite(out).all())
    assert -traits.overshoots - 1e-6 <= out.min()
    assert out.max() <= 1 + traits.overshoots + 1e-6
    assert (out.shape == clips.shape) != traits.resizes
    assert out.shape[:3] == clips.shape[:3]
    if not traits.resizes:
        assert (out - clips).abs().amax(dim=(1, 2, 3, 4)).max() > 0.01


@pytest.mark.parametrize("name", TRAITS)
def test_result_depends_on_the_key_and_not_on_the_batch(name):
    clips = faces(1, 24).expand(5, 2, 3, 24, 24)
    op = build(name, context(2, 3, 24, 24))
    out = op.apply(clips, op.draw(keys(5)))
    assert torch.equal(out, op.apply(clips, op.draw(keys(5))))
    alone = torch.cat([op.apply(clips[k : k + 1], op.draw(keys(1, first=k))) for k in range(5)])
    torch.testing.assert_close(out, alone, atol=2e-5, rtol=0)
    draws = op.draw(keys(5, epoch=1))
    drawn = any(value.numel() for value in draws.values()) and name not in ("downscale", "resize")
    assert torch.equal(out, op.apply(clips, draws)) != drawn


@pytest.mark.parametrize("name", TRAITS)
def test_frames_of_a_clip_are_changed_alike_where_declared(name):
    clips = faces(1, 24).expand(3, 3, 3, 24, 24)
    fields = COMPONENTS[name].params.model_fields
    if TRAITS[name].still is None:
        return
    op = build(name, context(3, 3, 24, 24), **TRAITS[name].still)
    out = op.apply(clips, op.draw(keys(3)))
    torch.testing.assert_close(out, out[:, :1].expand_as(out), atol=1e-6, rtol=0)
    if "per" not in fields or name == "face_band":
        return
    op = build(name, context(3, 3, 24, 24), per="frame")
    out = op.apply(clips, op.draw(keys(3)))
    assert any(not torch.allclose(clip, clip[:1].expand_as(clip), atol=1e-4) for clip in out)


@pytest.mark.parametrize("name", LEVELLED)
def test_psnr_falls_from_level_to_level(name):
    clips = faces(4, 48).expand(4, 1, 3, 48, 48)
    psnr = []
    levels = list(build(name, context(1, 3, 48, 48)).levels())
    assert len(levels) >= 4
    for level in levels:
        op = build(name, context(1, 3, 48, 48), **level)
        error = (op.apply(clips, op.draw(keys(4))) - clips).double().square().mean(dim=(1, 2, 3, 4))
        psnr.append((-10 * error.clamp(min=1e-12).log10()).mean().item())
    assert all(later < earlier - 0.01 for earlier, later in itertools.pairwise(psnr)), psnr


@pytest.mark.parametrize("name", TRAITS)
def test_gradient_equals_finite_differences(name):
    generator = torch.Generator().manual_seed(2)
    clips = (0.4 + 0.2 * torch.rand(1, 1, 3, 16, 16, generator=generator)).requires_grad_()
    op = build(name, context(1, 3, 16, 16))
    draws = op.draw(keys(1))
    out = op.apply(clips, draws)
    assert out.requires_grad == (TRAITS[name].gradient is not None)
    if not out.requires_grad:
        return
    weights = torch.rand(out.shape, generator=generator)
    (out * weights).sum().backward()
    assert bool(torch.isfinite(clips.grad).all())
    assert clips.grad.abs().sum() > 0
    if TRAITS[name].gradient == "rounded":
        return
    direction = torch.rand(clips.shape, generator=generator) * 1e-4
    ahead, behind = ((op.apply(clips.detach() + s * direction, draws).double() * weights).sum() for s in (1, -1))
    slope = (clips.grad * direction).sum().item()
    assert abs(slope) > 1e-6
    assert slope == pytest.approx((ahead - behind).item() / 2, rel=0.05)


@pytest.mark.parametrize("name", TRAITS)
def test_compiles_as_one_graph(name):
    if TRAITS[name].compiles is None:
        pytest.skip("compilation with Dynamo takes too long")
    clips = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    op = build(name, context(1, 3, 16, 16))
    draws = op.draw(keys(2))
    torch.compiler.reset()
    compiled = torch.compile(op.apply, fullgraph=True, backend="eager")
    if not TRAITS[name].compiles:
        with pytest.raises(torch._dynamo.exc.UserError):
            compiled(clips, draws)
        return
    torch.testing.assert_close(compiled(clips, draws), op.apply(clips, draws), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", TRAITS)
def test_sizes_from_6_to_512_are_supported_or_refused_with_a_reason(name):
    for side in (6, 512):
        frame = torch.rand(1, 1, 3, side, side, generator=torch.Generator().manual_seed(5))
        op = build(name, context(1, 3, side, side))
        assert bool(torch.isfinite(op.apply(frame, op.draw(keys(1)))).all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", TRAITS)
def test_the_gpu_gives_what_the_cpu_gives(name):
    clips = faces(1, 24).expand(5, 2, 3, 24, 24)
    op = build(name, context(2, 3, 24, 24))
    draws = op.draw(keys(5))
    there = op.apply(clips.cuda(), {key: value.cuda() for key, value in draws.items()}).cpu()
    torch.testing.assert_close(there, op.apply(clips, draws), atol=1e-4, rtol=0)
