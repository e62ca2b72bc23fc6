"""Safe reader of CIFAR's Python batches. No code of the files is executed.

The batches are pickles of Python 2: a dictionary with a numpy array `data` and a list of labels. The three globals in
them are replaced by placeholders of this module, which only store their arguments. Every other global is rejected.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from blear.errors import DataError

_PIXELS = 3 * 32 * 32
_UNSIGNED_BYTE = ("u1", "|u1")
_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError),
    *(MemoryError, RecursionError),
)


class _Array:
    """Placeholder of an array. Stores its state: (version, shape, type, Fortran order, bytes)."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)


class _Type:
    """Placeholder of `numpy.dtype`. Stores the name of the type."""

    def __init__(self, name: Any = None, *rest: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Ignores byte order and fields, which single bytes do not have."""


class _NdArray:
    """Placeholder of `numpy.ndarray`, an argument of `_reconstruct`."""


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _Type,
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that accepts three globals, all replaced by placeholders."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the placeholder of a global.

        Raises:
            UnpicklingError: the global is not allowed.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"the pickle refers to {module}.{name}, which is not allowed: a pickle can execute code"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Rejects references to external objects.

        Raises:
            UnpicklingError: always.
        """
        raise pickle.UnpicklingError("the pickle refers to an external object, which is not allowed")


def read_batch(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the pictures, uint8 [N, 32, 32, 3], and the labels, int64 [N], of one batch.

    Raises:
        DataError: the content is damaged, is not a batch of CIFAR-10, or is a pickle with other globals.
    """
    try:
        found = _RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _DAMAGE as error:
        raise DataError(f"is not opened: {error}", where, "give the file of cifar-10-python.tar.gz") from error
    rows, labels = (found.get("data"), found.get("labels")) if isinstance(found, dict) else (None, None)
    if not isinstance(rows, _Array) or not isinstance(labels, list):
        raise DataError("has no `data` and `labels`", where, "give a batch of CIFAR-10's Python version")
    pixels_ND = _array(rows, where)
    if not all(type(label) is int and 0 <= label < 256 for label in labels) or len(labels) != len(pixels_ND):
        what = f"{len(pixels_ND)} pictures, but {len(labels)} labels, or some that are no class"
        raise DataError(what, where, "fetch it again")
    # a row holds three planes of 32 x 32: red, green, blue
    frames_NHWC = pixels_ND.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(frames_NHWC), np.array(labels, dtype=np.int64)


def _array(noted: _Array, where: str) -> np.ndarray:
    state: tuple[Any, ...] = noted.state if len(noted.state) == 5 else (None, (), None, True, "")
    _, shape, kind, fortran, data = state
    flat = isinstance(shape, tuple) and len(shape) == 2 and type(shape[0]) is int and shape[1] == _PIXELS
    typed = isinstance(kind, _Type) and kind.name in _UNSIGNED_BYTE and isinstance(data, str)
    if not flat or not typed or fortran:
        raise DataError(f"`data` is no array of bytes with {_PIXELS} columns", where, "give a batch of CIFAR-10")
    try:
        content = data.encode("latin1")
    except UnicodeEncodeError as error:
        raise DataError("`data` is text, not bytes", where, "fetch it again") from error
    if shape[0] * _PIXELS != len(content):
        what = f"`data` has {len(content)} bytes, not {shape[0]} times {_PIXELS}"
        raise DataError(what, where, "fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
