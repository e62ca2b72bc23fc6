"""Makes unique keys of samples from paths in any script."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

_OTHER = re.compile(r"[^A-Za-z0-9_/-]+")


def plain_key(path: str) -> str:
    """Returns a key for a relative path without its ending, for instance `train/angry/a_1` for `train/angry/a 1.jpg`.

    Letters lose their accents; every other character becomes `_`. A path that changed so gets a hash of its text at the
    end, because different paths may look alike afterwards.
    """
    text = unicodedata.normalize("NFC", path)  # macOS stores names in another normal form
    pure = PurePosixPath(text)
    stem = str(pure.with_suffix("")) if pure.suffix else text
    ascii_text = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    key = _OTHER.sub("_", ascii_text).strip("/")
    folder, _, name = key.rpartition("/")
    key = f"{folder}/{name.lstrip('_') or 'x'}" if folder else name.lstrip("_") or "x"
    return key if key == stem else f"{key}-{_digest(text)}"


def unique_keys(paths: Sequence[str]) -> list[str]:
    """Returns a key for each path; paths that differ only by their ending get a hash too."""
    keys = [plain_key(path) for path in paths]
    counts = Counter(keys)
    return [key if counts[key] == 1 else f"{key}-{_digest(path)}" for key, path in zip(keys, paths, strict=True)]


def _digest(text: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")).hexdigest()[:8]
