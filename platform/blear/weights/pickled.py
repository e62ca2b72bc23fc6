"""PyTorch's own files, read without executing what is in them: tensors in dictionaries, nothing else."""

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

from blear.errors import DataError
from blear.weights.found import Weights

_INSIDE = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_DAMAGE = (
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, ImportError, struct.error),
)
_DO = (
    "where you trust the file, load it with the code that made it, and save its weights alone: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


def read_torch(path: Path) -> Weights:
    """The tensors of a file of `torch.save`: of a state dict, or of one inside under `state_dict`, `model` or `net`.

    Prefixes that DataParallel and torch.compile put before every name are taken away.

    Raises:
        DataError: damaged, without tensors, or with objects that only executing the file would bring back.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is an error
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(_refusal(str(error)), str(path), _DO) from error
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"damaged, or no file of torch.save: {reason[:200]}", str(path), "fetch it again") from error
    return _tensors(found, path)


def _refusal(text: str) -> str:
    asked = re.search(r"GLOBAL (\S+)", text)
    what = f"it asks for {asked[1]}" if asked else "it holds more than tensors, or is damaged"
    return f"{what}; a pickle could execute anything, so it is not opened"


def _tensors(found: Any, path: Path) -> Weights:
    for key in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    weights = Weights()
    for name, value in found.items() if isinstance(found, Mapping) else ():
        if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
            weights[str(name)] = value.detach()
        else:
            weights.ignored[str(name)] = f"no dense tensor but {type(value).__name__}"
    if not weights:
        raise DataError("no tensors by name in it", str(path), "save the weights alone: model.state_dict()")
    return _without_prefix(weights)


def _without_prefix(weights: Weights) -> Weights:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            bare = Weights()
            bare.update({name.removeprefix(prefix): value for name, value in weights.items()})
            bare.ignored = weights.ignored
            weights = bare
    return weights
