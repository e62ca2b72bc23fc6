"""The backbone `timm/model`."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_timm import TimmParams

_NAME = "timm/model"


class TimmBackbone(nn.Module):
    """Clips [B, T, C, H, W] in [0, 1] -> `embedding` [B, T, D] (timm's pre-logits) and maps `layer1`, `layer2`, ...

    Frames are normalised with timm's mean and standard deviation of the network; for grey frames with their averages
    over the channels. `layerN` [B, T, C, h, w] are the network's intermediate features, coarser with N; for a
    transformer the patch grid after each block. Parameter names are timm's with the prefix `net.` (the
    rename table `timm`).

    Raises:
        PluginError: timm has no such network, the network does not accept frames of this shape, or the weights cannot
            be loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: TimmParams, context: BuildContext) -> None:
        super().__init__()
        if context.clip is None:
            raise PluginError("needs the shape of the clips to be built", _NAME, "build it with a context with `clip`")
        channels = context.clip.channels
        self.net = _network(params, channels, params.pretrained and context.pretrained)
        config: Any = self.net.pretrained_cfg
        for name in ("mean", "std"):
            given = torch.tensor(config.get(name) or ((0.0,) * 3 if name == "mean" else (1.0,) * 3))
            fitting = given if channels == len(given) else given.mean().expand(channels)
            self.register_buffer(name, fitting.clone()[:, None, None], persistent=False)
        frame = torch.zeros(1, channels, context.clip.height, context.clip.width)
        try:
            with torch.no_grad():
                self.net.eval()(frame)
                self.net.train()
        except (RuntimeError, AssertionError, ValueError) as error:
            size = f"{channels} x {context.clip.height} x {context.clip.width}"
            do = "resize the frames, or give `options: {img_size: ...}` where the network has it"
            raise PluginError(f"{params.model} takes no frames of {size}: {error}", _NAME, do) from error

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """Processes the frames of all clips as one batch."""
        clips = frames_BTCHW.shape[:2]
        x = (frames_BTCHW.flatten(0, 1) - self.mean) / self.std
        last, levels = self.net.forward_intermediates(x)
        embedding = self.net.forward_head(last, pre_logits=True)
        maps = {f"layer{number}": level.unflatten(0, clips) for number, level in enumerate(levels, 1)}
        return {"embedding": embedding.unflatten(0, clips), **maps}


def _network(params: TimmParams, channels: int, pretrained: bool) -> Any:
    if params.model.split(".")[0] not in timm.list_models():
        close = difflib.get_close_matches(params.model, timm.list_models(), n=3)
        do = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise PluginError(f"timm has no network {params.model!r}", _NAME, do)
    arguments = {"num_classes": 0, "in_chans": channels} | params.options
    try:
        net = timm.create_model(params.model, pretrained=pretrained, **arguments)
    except (OSError, RuntimeError) as error:  # no connection, or no weights of this name
        do = "check the name and the connection, or take weights from a file: start_from"
        raise PluginError(f"timm's weights cannot be had: {error}", _NAME, do) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise PluginError(f"timm rejects {params.options}: {error}", _NAME, "change `options`") from error
    if not hasattr(net, "forward_intermediates"):
        raise PluginError(f"timm gives no feature maps of {params.model}", _NAME, "choose another network")
    return net
