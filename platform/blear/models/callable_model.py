"""Any Python callable with the signature of MAITE's image classification as a model; MAITE itself is not needed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blear.contracts import ClipSpec
from blear.errors import RunError
from blear.models.facts import NetworkFacts, read_facts
from blear.models.foreign import CARD, FLAG, ForeignModel, channels_of, split_metadata

_DO = "give MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE of a callable: a list of arrays [C, H, W] -> scores [N, K]"


class CallableModel(ForeignModel):
    """A callable: a list of N pictures, float32 arrays [C, H, W], -> N arrays of K scores, or one array [N, K].

    Labels: `metadata["index2label"]` of the callable (MAITE), else the fact `labels`. Further entries `blear.KEY` of
    `metadata` are facts, for instance `"blear.size": "48"`. A class without arguments is
    called once, and its instance is the model.

    Args:
        path: `MODULE:ATTRIBUTE`; the module is imported, also from the working folder, or is the path of a file.
        given: fields of `NetworkFacts`.
        clip: shape of the pictures where the facts have no `size`.

    Raises:
        RunError: it cannot be imported or called, has no labels, or the size of the pictures is not known.
    """

    def __init__(self, path: str, given: Mapping[str, Any] | None = None, clip: ClipSpec | None = None) -> None:
        self._call = _import(path)
        facts = read_facts(_stored_facts(self._call), given or {}, path, FLAG)
        if not facts.labels:
            do = f"set its metadata['index2label'], or give {FLAG} labels=A,B,..."
            raise RunError("the callable has no labels", path, do)
        super().__init__(path, path, facts, _clip(facts, clip, path), ["scores"])

    def run(self, prepared_NTCHW: np.ndarray) -> list[np.ndarray]:
        """See `ForeignModel.run`."""
        pictures = list(np.ascontiguousarray(prepared_NTCHW[:, -1]))
        try:
            scores = self._call(pictures)
        except Exception as error:
            what = f"the callable failed: {type(error).__name__}: {error}"
            raise RunError(what, self._where, f"{_DO}; size, colour and range are {FLAG}") from error
        try:
            rows = np.stack([np.asarray(_to_numpy(row), dtype=np.float32).reshape(-1) for row in _to_numpy(scores)])
        except (TypeError, ValueError) as error:
            raise RunError(f"the callable returns no scores: {error}", self._where, _DO) from error
        if len(rows) != len(pictures):
            raise RunError(f"{len(rows)} rows of scores for {len(pictures)} pictures", self._where, _DO)
        return [rows]


def is_callable_path(name: str) -> bool:
    """Whether a name is `MODULE:ATTRIBUTE` or `FILE.py:ATTRIBUTE`."""
    module, colon, attribute = name.rpartition(":")
    dotted = all(part.isidentifier() for part in attribute.split("."))
    return bool(colon and dotted and (module.endswith(".py") or all(p.isidentifier() for p in module.split("."))))


def _import(path: str) -> Any:
    module, _, attribute = path.rpartition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        if module.endswith(".py"):
            found: Any = _module_of_file(Path(module))
        else:
            found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        found = found() if isinstance(found, type) else found
    except Exception as error:
        what = f"cannot be imported: {type(error).__name__}: {error}"
        raise RunError(what, path, _DO) from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(found):
        raise RunError(f"is {type(found).__name__}, which cannot be called", path, _DO)
    return found


def _module_of_file(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    spec.loader.exec_module(module)
    return module


def _stored_facts(call: Any) -> dict[str, Any]:
    """Facts in `metadata` of a callable: class names in the order of their indices, and the entries `blear.KEY`."""
    metadata = getattr(call, "metadata", None)
    if not isinstance(metadata, Mapping):
        return {}
    facts: dict[str, Any] = dict(split_metadata({key: value for key, value in metadata.items() if key != CARD})[0])
    names = metadata.get("index2label")
    if isinstance(names, Mapping):
        facts["labels"] = [str(names[index]) for index in sorted(names, key=int)]
    return facts


def _clip(facts: NetworkFacts, clip: ClipSpec | None, path: str) -> ClipSpec:
    if facts.size:
        return ClipSpec(1, channels_of(facts), facts.size[0], facts.size[-1])
    if clip is None:
        raise RunError("the size of its pictures is not known", path, f"give {FLAG} size=H,W")
    return ClipSpec(1, channels_of(facts), clip.height, clip.width)


def _to_numpy(value: Any) -> Any:
    """A tensor on the CPU without gradients; other values unchanged."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value
