"""The backbone `torchvision/model`."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models.swin_transformer import PatchMerging, PatchMergingV2, SwinTransformerBlock

import torchvision
from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_torchvision import TorchvisionParams

_NAME = "torchvision/model"
_ROUNDING = 2.0  # pixels: each stride of a network rounds, so that a map has the frame's proportions up to this
_TRANSFORMING = ("googlenet", "inception_v3")  # convert ImageNet's normalisation to that of their weights
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TorchvisionBackbone(nn.Module):
    """Clips [B, T, C, H, W] in [0, 1] -> `embedding` [B, T, D], the input of the network's last linear layer, and maps.

    Frames are normalised with the mean and standard deviation of `params.weights`, without weights those of ImageNet; a
    grey frame is repeated in three channels.
    `params.features` names modules whose outputs are maps [B, T, C, h, w]; those of Swin's blocks, which have the
    channels last, are permuted. Parameter names are torchvision's with the
    prefix `net.` (the rename table `torchvision`); the last linear layer is left out.

    Raises:
        PluginError: torchvision has no such network or weights, the network does not accept frames of this shape, or
            has no module of a name in `features`, or one whose output is no map, as a transformer's tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: TorchvisionParams, context: BuildContext) -> None:
        super().__init__()
        if context.clip is None:
            raise PluginError("needs the shape of the clips to be built", _NAME, "build it with a context with `clip`")
        weights = _weights(params)
        self.net = _network(params, weights, context.pretrained)
        self._maps = params.features
        modules = dict(self.net.named_modules())
        for name in params.features.values():
            if name not in modules:
                close = ", ".join(difflib.get_close_matches(name, modules, n=3)) or ", ".join(
                    key for key, _ in self.net.named_children()
                )
                raise PluginError(f"{params.model} has no module {name!r}", f"{_NAME}.features", f"known: {close}")
        preset: Any = None if weights is None else weights.transforms()
        mean, std = (_MEAN, _STD) if preset is None else (tuple(preset.mean), tuple(preset.std))
        mean, std = (mean, std) if params.normalise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        clip = context.clip
        try:
            with torch.no_grad():
                self.eval()(torch.zeros(1, 1, clip.channels, clip.height, clip.width))
        except (RuntimeError, AssertionError, ValueError) as error:
            size = f"{clip.channels} x {clip.height} x {clip.width}"
            what = f"{params.model} takes no frames of {size}: {error}"
            raise PluginError(what, _NAME, "resize the frames, or give `options: {image_size: ...}`") from error
        self.train()

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """Processes the frames of all clips as one batch."""
        clips = frames_BTCHW.shape[:2]
        x = frames_BTCHW.flatten(0, 1)
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        found: dict[str, Tensor] = {}
        modules = {name: self.net.get_submodule(path) for name, path in self._maps.items()}
        handles = [
            module.register_forward_hook(lambda _m, _i, output, name=name: found.__setitem__(name, output))
            for name, module in modules.items()
        ]
        try:
            embedding = self.net((x - self.mean) / self.std).flatten(1)
        finally:
            for handle in handles:
                handle.remove()
        maps = {name: self._map(name, found.get(name), x.shape[-2:]).unflatten(0, clips) for name in self._maps}
        return {"embedding": embedding.unflatten(0, clips), **maps}

    def _map(self, name: str, output: object, frame: torch.Size) -> Tensor:
        """Returns the output of a module as a map [N, C, h, w].

        Raises:
            PluginError: it is no map, by its dimensions or, with the channels at another place, by its proportions.
        """
        module = self.net.get_submodule(self._maps[name])
        if isinstance(output, Tensor) and output.ndim == 4:
            map_NChw = output.movedim(-1, 1) if _has_channels_last(module) else output
            rows, columns = (side / whole for side, whole in zip(map_NChw.shape[-2:], frame, strict=True))
            if isinstance(module, nn.AdaptiveAvgPool2d) or abs(rows - columns) <= _ROUNDING / min(frame):
                return map_NChw
        found = f"of shape {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        what = (
            f"the output of module {self._maps[name]!r} is no map [N, C, h, w] in the frames' proportions but {found}"
        )
        raise PluginError(what, f"{_NAME}.features.{name}", "name another module, or use timm/model, which has maps")


def _has_channels_last(module: nn.Module) -> bool:
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return isinstance(module, (SwinTransformerBlock, PatchMerging, PatchMergingV2))


def _weights(params: TorchvisionParams) -> WeightsEnum | None:
    """The entry of torchvision's weights with their address and preprocessing; nothing is downloaded."""
    known = torchvision.models.list_models(module=torchvision.models)
    if params.model not in known:
        close = difflib.get_close_matches(params.model, known, n=3)
        do = f"did you mean {' or '.join(close)}?" if close else "see torchvision.models.list_models()"
        raise PluginError(f"torchvision has no classification network {params.model!r}", _NAME, do)
    if params.weights is None:
        return None
    entries = torchvision.models.get_model_weights(params.model)
    name = params.weights.removeprefix(f"{entries.__name__}.")
    if name not in entries.__members__:
        what = f"torchvision rejects it: {params.model} has no weights {params.weights!r}"
        raise PluginError(what, f"{_NAME}.weights", f"known: {', '.join(entries.__members__)}")
    return entries[name]


def _implied(model: str, weights: WeightsEnum) -> dict[str, Any]:
    """The arguments that torchvision itself derives from weights: those of a network of the same shape."""
    if model in _TRANSFORMING:
        return {"transform_input": True, "aux_logits": False}
    size = weights.meta["min_size"]
    return {"image_size": size[0]} if model.startswith("vit_") else {"input_size": size} if model == "maxvit_t" else {}


def _network(params: TorchvisionParams, weights: WeightsEnum | None, pretrained: bool) -> nn.Module:
    arguments: dict[str, Any] = {"init_weights": False} if params.model in _TRANSFORMING else {}
    if params.model in _TRANSFORMING and weights is None:
        arguments |= {"aux_logits": False}
    if weights is not None and not pretrained:
        arguments |= _implied(params.model, weights)
    loaded = weights if pretrained else None
    try:
        net: Any = torchvision.models.get_model(params.model, weights=loaded, **(arguments | params.options))
    except (TypeError, ValueError, KeyError) as error:
        raise PluginError(f"torchvision rejects it: {error}", _NAME, "change `weights` or `options`") from error
    except OSError as error:  # no connection
        do = "check the connection, or take weights from a file: start_from"
        raise PluginError(f"torchvision's weights cannot be had: {error}", _NAME, do) from error
    if getattr(net, "aux_logits", False):
        net.aux_logits = False
        for name in ("AuxLogits", "aux1", "aux2"):
            if hasattr(net, name):
                setattr(net, name, None)
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise PluginError(f"{params.model} has no linear layer, so no embedding", _NAME, "choose another network")
    parent, _, last = linear[-1].rpartition(".")
    setattr(net.get_submodule(parent), last, nn.Identity())
    return net
