"""Reads files of `torch.save` with `weights_only=True`: dictionaries of tensors, no code is executed."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blear.errors import DataError, first_line
from blear.weights.state_dict import StateDict

_NESTED_KEYS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")  # added by DataParallel and by torch.compile
_DAMAGE_ERRORS = (
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, ImportError, struct.error),
)
_DO = (
    "where you trust the file, load it with the code that made it, and save its weights alone: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


def read_torch(path: Path) -> StateDict:
    """Reads a state dict, or the state dict under `state_dict`, `model_state_dict`, `model` or `net` of a checkpoint.

    Prefixes that DataParallel and torch.compile add to every name are removed.

    Raises:
        DataError: the file is damaged, has no tensors, or holds objects that would have to be unpickled by code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; unreadable files raise
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(_refusal(str(error)), str(path), _DO) from error
    except _DAMAGE_ERRORS as error:
        reason = first_line(error)
        raise DataError(f"damaged, or no file of torch.save: {reason[:200]}", str(path), "fetch it again") from error
    return _tensors(content, path)


def _refusal(text: str) -> str:
    """The error message for a file that torch refuses to unpickle."""
    global_name = re.search(r"GLOBAL (\S+)", text)
    what = f"it refers to {global_name[1]}" if global_name else "it holds more than tensors, or is damaged"
    return f"{what}; unpickling it could execute any code, so it is not opened"


def _tensors(content: Any, path: Path) -> StateDict:
    for key in _NESTED_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    weights = StateDict()
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor) and value.is_meta:
            weights.ignored[str(name)] = "a tensor without values (meta)"
        elif isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
            weights[str(name)] = value.detach()
        else:
            weights.ignored[str(name)] = f"not a dense tensor: {type(value).__name__}"
    if not weights:
        raise DataError("it has no named tensors", str(path), "save the weights alone: model.state_dict()")
    return _without_prefix(weights)


def _without_prefix(weights: StateDict) -> StateDict:
    """The weights without each of the prefixes, once, in whatever order the wrappers were applied."""
    left = list(_PREFIXES)
    while prefix := next((one for one in left if all(name.startswith(one) for name in weights)), None):
        left.remove(prefix)
        bare = StateDict()
        bare.update({name.removeprefix(prefix): value for name, value in weights.items()})
        bare.ignored = weights.ignored
        weights = bare
    return weights
