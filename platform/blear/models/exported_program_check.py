"""Checks a `torch.export` file before torch reads it, because torch's reader can execute code of the file.

The reader unpickles custom objects, falls back to an unsafe unpickler, evaluates symbolic expressions as Python, and
looks up operators by name in the whole of torch. A file passes if it holds none of these.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from blear.errors import RunError

_OPERATORS = re.compile(r"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_UNSAFE_OPERATORS = re.compile(r"_operator\.(attrgetter|itemgetter|methodcaller|call)")
_SYMBOL = re.compile(r"[a-z]+\d+")
_FUNCTIONS = re.compile(
    "Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Abs|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|true|false|oo|FloorDiv|"
    "CleanDiv|CeilDiv|ModularIndexing|Where|PythonMod|Mod|CeilToInt|FloorToInt|PowByNatural|FloatPow|FloatTrueDiv|"
    "IntTrueDiv|TruncToFloat|TruncToInt|RoundToInt|RoundDecimal|ToFloat|Identity|Equality|Unequality|LessThan|"
    "StrictLessThan|GreaterThan|StrictGreaterThan|floor|ceiling"
)
_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
_LONGEST, _MOST_POWERS, _LARGEST_EXPONENT = 10_000, 4, 16  # characters and powers of an expression


def check_exported_program(file: Path) -> None:
    """Checks that a `torch.export` file holds tensors and known operators only.

    Raises:
        RunError: it is no such file, or holds pickled objects, unknown operators or expressions.
    """
    do = "save a network of tensors and ATen operators with torch.export.save, or export it to ONNX"
    try:
        with zipfile.ZipFile(file) as archive:
            problem = next(_problems(archive), None)
    except (
        zipfile.BadZipFile, LookupError, ValueError, TypeError, AttributeError, OSError, RecursionError, RuntimeError,
        NotImplementedError, EOFError, zlib.error,
    ) as error:  # fmt: skip
        raise RunError(f"no file of torch.export.save: {error}", str(file), do) from error
    if problem is not None:
        raise RunError(f"is not read, because its loading could execute code: {problem}", str(file), do)


def _problems(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yields what torch's reader could execute.

    Raises:
        ValueError: it is no archive of this kind, or its members are larger than the file.
    """
    stored = sum(member.file_size for member in archive.infolist())
    if archive.fp is not None and stored > archive.fp.seek(0, io.SEEK_END):
        raise ValueError(f"its members have {stored:,} bytes, more than the file")
    inner = {name: name.partition("/")[2] for name in archive.namelist()}
    if not any(path.startswith("models/") for path in inner.values()):
        raise ValueError("it has no models/model.json")
    for name, path in inner.items():
        if path.startswith("data/sample_inputs/"):
            yield from _pickled(archive.read(name), path)
        elif path.startswith(("data/weights/", "data/constants/")):
            if path.endswith(".pt"):
                yield f"pickled file {path}"
            elif path.endswith("_config.json"):
                yield from _payloads(json.loads(archive.read(name)))
        elif path.startswith("models/"):
            yield from _graph(json.loads(archive.read(name)))
        elif path.startswith(("data/aotinductor", "data/xl_model", "executorch", "mtia")):
            yield f"compiled code {path}"


def _pickled(content: bytes, path: str) -> Iterator[str]:
    """A pickled object that is more than tensors."""
    if content:
        try:
            torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except Exception:  # noqa: BLE001  the unpickler raises many types
            yield f"pickled objects in {path}"


def _payloads(config: Any) -> Iterator[str]:
    for name, payload in config["config"].items():
        if payload.get("use_pickle") or not payload["path_name"].startswith(("weight_", "tensor_")):
            yield f"pickled object {name!r}"


def _graph(value: Any, key: str = "") -> Iterator[str]:
    """Operators and expressions anywhere in models/*.json."""
    if isinstance(value, dict):
        if isinstance(value.get("target"), str) and "inputs" in value:
            target = value["target"]
            if not _OPERATORS.fullmatch(target) or _UNSAFE_OPERATORS.match(target):
                yield f"operator {target}"
        for name, part in value.items():
            yield from _graph(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _graph(part, key)
    elif key == "expr_str" and isinstance(value, str) and not _is_plain(value):
        yield f"expression {value[:60]!r}"


def _is_plain(expression: str) -> bool:
    """Whether an expression has known functions, symbols and numbers only."""
    if len(expression) > _LONGEST:
        return False
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, MemoryError):
        return False
    powers = [node for node in ast.walk(tree) if _is_power(node)]
    if len(powers) > _MOST_POWERS or not all(_has_small_exponent(node) for node in powers):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _NODES) or isinstance(node, ast.Pow | ast.LShift):
            return False
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            return False
        if isinstance(node, ast.Name) and not _FUNCTIONS.fullmatch(node.id) and not _SYMBOL.fullmatch(node.id):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _SYMBOL.fullmatch(node.value):
            return False
    return True


def _is_power(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and "Pow" in node.func.id


def _has_small_exponent(node: ast.AST) -> bool:
    """Whether a power has a small number as exponent: `Pow(Symbol('s0'), Integer(2))`."""
    exponent = node.args[1] if isinstance(node, ast.Call) and len(node.args) == 2 else None
    numbers = [one.value for one in ast.walk(exponent) if isinstance(one, ast.Constant)] if exponent else []
    small = all(isinstance(number, int | float) and abs(number) <= _LARGEST_EXPONENT for number in numbers)
    return bool(numbers) and small and sum(isinstance(one, ast.Call) for one in ast.walk(exponent or node)) <= 1
