"""The backbone `python/module`."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blear.contracts import BuildContext, Features
from blear.errors import PluginError
from blear_python import ModuleParams

_NAME = "python/module"
_LUMA = (0.299, 0.587, 0.114)


class ModuleBackbone(nn.Module):
    """Clips [B, T, C, H, W] in [0, 1] -> the features of `params.features`.

    The parameters have the network's own names with the prefix `net.` (the rename table `module`). A module whose
    output no feature uses, such as a last classification layer, gets no gradient: name it in `drop`.

    Raises:
        PluginError: the callable cannot be imported or fails, gives no module, has no module of a name in `features`,
            does not accept the frames, or a feature is no tensor of frames.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: ModuleParams, context: BuildContext) -> None:
        super().__init__()
        if context.clip is None:
            raise PluginError("needs the shape of the clips to be built", _NAME, "build it with a context with `clip`")
        self._params = params
        self.net = _built(params)
        self._hooked = {name: path for name, path in params.features.items() if not _is_output(path)}
        for key, path in [*((f"features.{name}", path) for name, path in self._hooked.items()), *_keyed(params.drop)]:
            modules = dict(self.net.named_modules())
            if path not in modules:
                close = difflib.get_close_matches(path, modules, n=3) or [name for name, _ in self.net.named_children()]
                what = f"the network has no module {path!r}"
                raise PluginError(what, f"{_NAME}.{key}", f"known: output, {', '.join(close)}")
        for path in params.drop:
            parent, _, last = path.rpartition(".")
            setattr(self.net.get_submodule(parent), last, nn.Identity())
        for name in ("mean", "std"):
            values = torch.as_tensor(getattr(params, name), dtype=torch.float32).reshape(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        clip = context.clip
        try:
            with torch.no_grad():
                self.eval()(torch.zeros(1, clip.length, clip.channels, clip.height, clip.width))
        except PluginError:
            raise
        except Exception as error:
            size = f"{clip.length} x {clip.channels} x {clip.height} x {clip.width}"
            what = f"{params.path} takes no clips of {size}: {type(error).__name__}: {error}"
            raise PluginError(what, _NAME, "set `channels` or `clips`, or resize the frames") from error
        self.train()

    def forward(self, frames_BTCHW: Tensor) -> Features:
        """Runs the network once for all frames, or for all clips, and returns the named features."""
        clips = frames_BTCHW.shape[:2]
        x = _with_channels(frames_BTCHW, self._params.channels)
        x = (x - self.mean) / self.std
        found: dict[str, Any] = {}
        handles = [
            self.net.get_submodule(path).register_forward_hook(_keep(found, name))
            for name, path in self._hooked.items()
        ]
        try:
            output = self.net(x if self._params.clips else x.flatten(0, 1))
        finally:
            for handle in handles:
                handle.remove()
        for name, path in self._params.features.items():
            if name not in self._hooked:
                found[name] = _part(output, path, name)
        return {name: self._feature(name, found.get(name), clips) for name in self._params.features}

    def _feature(self, name: str, value: Any, clips: torch.Size) -> Tensor:
        if not isinstance(value, Tensor):
            raise PluginError(f"{name!r} is {type(value).__name__}, not a tensor", f"{_NAME}.features", "name a part")
        if not self._params.clips:
            value = value.unflatten(0, clips)
        elif value.ndim in (2, 4):  # one for each clip
            value = value[:, None]
        if name == "embedding" and value.ndim == 5:
            value = value.mean(dim=(-2, -1))
        if value.ndim != (3 if name == "embedding" else 5):
            expected = "[B, T, D]" if name == "embedding" else "[B, T, C, h, w]"
            what = f"{name!r} has the shape {list(value.shape)}, expected {expected}"
            raise PluginError(what, f"{_NAME}.features", "name the output of another module")
        return value


def _keyed(drop: Sequence[str]) -> list[tuple[str, str]]:
    return [("drop", path) for path in drop]


def _keep(found: dict[str, Any], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found[name] = output

    return hook


def _built(params: ModuleParams) -> nn.Module:
    module, _, attribute = params.path.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a module beside the job: the `blear` command does not import from the working folder
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        network = found(**params.arguments)
    except Exception as error:
        what = f"{params.path} cannot be built: {type(error).__name__}: {error}"
        do = "check path and arguments; `package.module` must be installed, or lie in the working folder"
        raise PluginError(what, _NAME, do) from error
    finally:
        sys.path.remove(here)
    if not isinstance(network, nn.Module):
        raise PluginError(f"{params.path} returns {type(network).__name__}", _NAME, "it must return a torch.nn.Module")
    return network


def _is_output(path: str) -> bool:
    return path == "output" or path.startswith("output.")


def _part(output: Any, path: str, name: str) -> Any:
    """The output itself, or its part KEY of `output.KEY`."""
    key = path.partition(".")[2]
    if not key:
        return output
    if isinstance(output, Mapping) and key in output:
        return output[key]
    if isinstance(output, tuple | list) and key.isdecimal() and int(key) < len(output):
        return output[int(key)]
    known = ", ".join(map(str, output)) if isinstance(output, Mapping) else type(output).__name__
    raise PluginError(f"the output has no part {key!r}", f"{_NAME}.features.{name}", f"it is: {known}")


def _with_channels(frames_BTCHW: Tensor, channels: int | None) -> Tensor:
    given = frames_BTCHW.shape[2]
    if channels in (None, given):
        return frames_BTCHW
    if channels == 3:
        return frames_BTCHW.expand(-1, -1, 3, -1, -1)
    weights = frames_BTCHW.new_tensor(_LUMA)[:, None, None]
    return (frames_BTCHW * weights).sum(dim=2, keepdim=True)
