"""Reads a field of a sample in a shard: text, number, JSON value or array."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from blear.clips import read_array
from blear.contracts import ShardMembers

_PICKLED = ("pyd", "pickle", "pkl", "pth", "pt")


def find_field(members: ShardMembers, names: str) -> tuple[str, list[str]] | None:
    """Returns the file and the path in its JSON of the first field that exists; None if there is none.

    Args:
        members: of the sample.
        names: fields, separated by `;`: an ending, or the ending of a JSON file and a path: `json.labels.0`.
    """
    for name in (text.strip() for text in names.split(";")):
        for suffix in (name.lower(), f"{name.lower()}.gz"):
            if suffix in members.suffixes:
                return suffix, []
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            suffix = ".".join(parts[:end]).lower()
            for found in (suffix, f"{suffix}.gz"):
                if suffix.endswith("json") and found in members.suffixes:
                    return found, parts[end:]
    return None


def read_field(members: ShardMembers, names: str) -> Any:
    """Reads a field: a number, a text, a list, or None if it does not exist.

    Raises:
        ValueError: the file is damaged, holds no such value, or would execute code; the message continues its name.
    """
    found = find_field(members, names)
    if found is None:
        return None
    suffix, path = found
    data = members.read(suffix)
    if suffix.endswith(".gz"):
        suffix = suffix.removesuffix(".gz")
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"cannot be decompressed: {error}") from None
    ending = suffix.rpartition(".")[2]
    if ending in _PICKLED:
        raise ValueError(f"is a pickle ({suffix}), which may execute code and is not read")
    if ending == "npy":
        return _array(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not text in UTF-8: {error.reason}") from None
    return _value(text, path) if ending == "json" or path else text.strip()


def _array(data: bytes) -> Any:
    try:
        array = read_array(data)
    except ValueError:
        raise ValueError("is not an npy file") from None
    return array.reshape(()).item() if array.size == 1 else array.tolist()


def _value(text: str, path: list[str]) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    for depth, step in enumerate(path):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            known = f", it has {', '.join(value)}" if isinstance(value, dict) else ""
            raise ValueError(f"has no {'.'.join(path[: depth + 1])!r}{known[:200]}") from None
    if isinstance(value, dict):
        raise ValueError(f"is an object with {', '.join(value)[:200]}: name one of them")
    return value
