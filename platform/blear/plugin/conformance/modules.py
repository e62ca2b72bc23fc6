"""Checks that backbones and heads share: initialisation, saving and loading."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from blear.contracts import BuildContext, ClipSpec
from blear.errors import BlearError
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.conformance.checks import expect, expect_close

CLIPS = (
    ClipSpec(1, 3, 48, 48),
    ClipSpec(1, 1, 48, 48),
    ClipSpec(1, 1, 96, 96),
    ClipSpec(1, 3, 96, 96),
    ClipSpec(1, 3, 112, 96),
    ClipSpec(1, 3, 224, 224),
    ClipSpec(4, 3, 48, 48),
    ClipSpec(8, 3, 224, 224),
)
"""Shapes of clips; checks use the first one that a backbone accepts."""

_SEED = 11
OTHER_SEED = 12


def seeded(registered: RegisteredComponent, example: Any, context: BuildContext, seed: int = _SEED) -> nn.Module:
    """Builds a module under a fixed seed, as a job does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = registered.build(example, context)
    expect(isinstance(module, nn.Module), "build", "a torch.nn.Module", type(module).__name__)
    built: nn.Module = module
    return built


def backbone_for(registered: RegisteredComponent, example: Any) -> tuple[nn.Module, BuildContext]:
    """Builds a backbone, in evaluation mode, for the first shape of clips that it accepts."""
    refused = []
    for clip in CLIPS:
        context = BuildContext(seed=1, clip=clip)
        try:
            module = seeded(registered, example, context).eval()
            with torch.no_grad():
                module(frames_for(clip, 1))
        except BlearError as error:
            refused.append(f"{clip.length} x {clip.channels} x {clip.height} x {clip.width}: {error.what}")
        else:
            return module, context
    expect(False, "build, forward", "one of the usual shapes to be accepted (T x C x H x W)", "; ".join(refused))
    raise ValueError("unreachable: the line above raises")


def frames_for(clip: ClipSpec, count: int) -> Tensor:
    """Returns `count` random clips, [B, T, C, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, clip.length, clip.channels, clip.height, clip.width, generator=generator)


def expect_same_start(make: Callable[[], nn.Module]) -> None:
    """Checks that two modules built under one seed have equal parameters."""
    first, again = make().state_dict(), make().state_dict()
    for name, value in first.items():
        same = torch.equal(value, again[name])
        expect(same, "build", "equal initial weights under one seed of torch", f"other ones in {name!r}")


def expect_saves(
    make: Callable[[], nn.Module], make_other: Callable[[], nn.Module], run: Callable[[nn.Module], Mapping[str, Tensor]]
) -> None:
    """Checks that weights saved to a file can be loaded into a second module, which then computes the same.

    Args:
        make: builds the module.
        make_other: builds it with other initial weights.
        run: name -> outputs of a module that must be equal.
    """
    module, other = make(), make_other()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.safetensors")
        save_model(module, path)
        missing, unexpected = load_model(other, path)
    expect(
        not missing and not unexpected, "state_dict", "all weights in the file", f"missing {[*missing, *unexpected]}"
    )
    for name, value in module.state_dict().items():
        expect(torch.equal(value, other.state_dict()[name]), "state_dict", f"{name!r} as it was saved", "other values")
    loaded = run(other)
    for name, value in run(module).items():
        wanted = "a loaded module to compute what the saved one does (register layers, parameters and buffers)"
        expect_close(name, wanted, value, loaded[name])
