"""Safe reader of dicts that `numpy.save` wrote. Such files are pickles; no code of the file is executed.

The unpickler creates only dicts, lists, tuples, strings and numbers, and placeholders for the array of one object that
contains them. Every other global in the pickle is rejected. numpy's own types are replaced by placeholders too, since
their state in a crafted file could refer to arbitrary memory.
"""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.lib import format as npy

from blear.errors import DataError

_NUMBER = re.compile(r"[<>=|][biuf]\d")
_BROKEN = (
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError, RecursionError),
    *(SyntaxError, TokenError, TypeError, ValueError, pickle.UnpicklingError, struct.error),
)


def load_object(file: Path) -> Any:
    """Reads the object that `numpy.save(file, object)` wrote under Python 2 or 3. Strings of Python 2 are Latin-1.

    Raises:
        DataError: the file is missing or damaged, is not an array of one object, or contains other than plain values.
    """
    do = "use the file as its authors wrote it: numpy.save of a dict of plain values"
    try:
        with file.open("rb") as opened:
            shape, dtype = _header(opened)
            if not dtype.hasobject or shape != ():
                what = f"holds an array of {dtype} and shape {list(shape)}, not one object"
                raise DataError(what, str(file), do)
            array = _Plain(opened, encoding="latin1").load()
    except _BROKEN as error:
        raise DataError(f"cannot be read: {error or type(error).__name__}", str(file), do) from error
    if not isinstance(array, _Array) or len(array.objects) != 1:
        raise DataError("the pickle in it is not an array of one object", str(file), do)
    return array.objects[0]


def _header(opened: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(opened)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(opened)
    return shape, dtype


class _Type:
    """Placeholder for `numpy.dtype`: type code and byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


class _Array:
    """Placeholder for a `numpy.ndarray` of objects."""

    objects: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, _shape, kind, _columns_first, content = state
        if not isinstance(kind, _Type) or kind.code[:1] != "O" or not isinstance(content, list):
            raise pickle.UnpicklingError("an array of numbers is inside, where plain values belong")
        self.objects = tuple(content)


def _scalar(kind: _Type, content: bytes | str) -> int | float | bool:
    """Converts a numpy scalar to a Python number."""
    if not _NUMBER.fullmatch(kind.order + kind.code):
        raise pickle.UnpicklingError(f"a value of {kind.code} is inside, which is no number")
    data = content.encode("latin1") if isinstance(content, str) else content
    (value,) = np.frombuffer(data, np.dtype(kind.order + kind.code)).tolist()
    return value


_KNOWN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: _Array() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Returns the placeholder for a global of the pickle; any other global is rejected."""
        return _KNOWN.get((module, name)) or self._refuse(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Rejects references to external objects."""
        self._refuse(repr(pid))

    def _refuse(self, name: str) -> NoReturn:
        raise pickle.UnpicklingError(
            f"the pickle refers to {name}, but only plain values are read; no code is executed"
        )
