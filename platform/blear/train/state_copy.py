"""Copies of a module's weights in CPU memory, and their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn


def state_on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """Copies the state dict of a module to CPU memory; attributes of the module that are no state are not copied.

    Each storage is copied once, directly from its device: tied weights stay tied, and no second copy is made on a GPU.
    """
    storages: dict[tuple[torch.device, int], torch.UntypedStorage] = {}

    def copy(tensor: Tensor) -> Tensor:
        source = tensor.untyped_storage()
        key = tensor.device, source.data_ptr()
        if source.nbytes() == 0 or key not in storages:
            storages[key] = source.cpu() if tensor.device.type != "cpu" else source.clone()
        view = torch.empty(0, dtype=tensor.dtype)
        return view.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())

    return {name: copy(value.detach()) for name, value in module.state_dict().items()}


def save_state(state: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a state dict to a safetensors file; `load_state` reads it, tied weights included.

    Raises:
        SafetensorError, OSError: the file cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode
    save_model(_State(state), str(path), metadata)
    path.chmod(mode)  # safetensors allows its owner only, whatever the umask


def load_state(module: nn.Module, path: str | Path) -> None:
    """Reads a file of `save_state` into a module.

    Raises:
        RuntimeError: names or shapes differ.
        SafetensorError, OSError: the file is damaged or missing.
    """
    missing, unexpected = load_model(module, str(path), strict=False)
    with safe_open(str(path), framework="pt") as opened:
        stored = set(opened.keys())
    # safetensors also reports the second name of a counter, which a batch normalisation fills in by itself
    if wrong := sorted({*missing, *(name for name in unexpected if name in stored)}):
        raise RuntimeError(f"the names of the weights differ: {', '.join(wrong[:5])}")


class _State(nn.Module):
    """Gives a state dict the interface that `save_model` needs: it handles tied weights, `save_file` refuses them."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self._state = state

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the state."""
        return self._state
