"""One split with random access: decoded once into memory-mapped files, then shared by every process of a node."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from blear.contracts import Sample, Target
from blear.data.checks import frames_problem, targets_problem
from blear.data.codec import decode
from blear.data.models import Layout, SplitInfo
from blear.data.prepared import Prepared
from blear.data.shards import Shard
from blear.errors import DataError
from blear.progress import say, track

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = 1
_CHUNK = 256
_THREADS = 4


@dataclass(frozen=True, eq=False)
class Store:
    """The samples of a split that decode, in the order of the shards.

    Attributes:
        frames: uint8 in 0..255 or float32, memory-mapped, [N, T, C, H, W].
        clean: the samples' own clean clips, alike, or None.
        targets: target name -> int64 [N] class index or float32 [N] value.
        keys, subjects, videos, times, meta: one entry for each sample, as the dataset gave it.
        broken: (shard, key, cause) of every sample that is left out.
    """

    frames: np.ndarray
    clean: np.ndarray | None
    targets: dict[str, np.ndarray]
    keys: list[str]
    subjects: list[str]
    videos: list[str]
    times: list[float | None]
    meta: list[dict[str, Any]]
    broken: list[tuple[str, str, str]]

    @staticmethod
    def open(prepared: Prepared, split: str, cache: Path | None = None, *, max_broken: int = 0) -> Store:
        """Opens a split, decoding it first if the cache does not hold it yet.

        Args:
            cache: where decoded splits are kept; default `<prepared folder>/cache`. Entries are named by the digests of
                the shards and appear by rename, so that any number of processes may open a split at once.
            max_broken: how many samples may fail to decode and be left out.

        Raises:
            DataError: no such split, a shard is missing or cut off, or more than `max_broken` samples are broken.
        """
        info = prepared.split(split)
        cache = cache or prepared.folder / "cache"
        entry = cache / f"{split}-{_digest(info)}"
        if not entry.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f".{entry.name}.lock"):  # spares the others of this node the decoding
                if not entry.is_dir():
                    _decode_split(prepared, split, entry, max_broken)
        store = _load(entry, prepared.targets)
        if store.broken:
            _check_budget(store.broken, max_broken, f"{prepared.folder}, split {split}")
            _say_once(f"{prepared.name}, split {split}: left out {_summary(store.broken)}")
        return store

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, samples_B: np.ndarray) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """(frames [B, T, C, H, W], clean or None, target name -> [B]) of some samples, copied into memory."""
        import torch

        frames = torch.from_numpy(np.asarray(self.frames[samples_B]))
        clean = None if self.clean is None else torch.from_numpy(np.asarray(self.clean[samples_B]))
        return frames, clean, {name: torch.from_numpy(values[samples_B]) for name, values in self.targets.items()}


def _digest(info: SplitInfo) -> str:
    text = json.dumps([_VERSION, info.layout.model_dump(), [shard.sha256 for shard in info.shards]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load(entry: Path, targets: dict[str, Target]) -> Store:
    columns = json.loads((entry / "columns.json").read_bytes())
    count = len(columns["keys"])
    clean = entry / "clean.npy"
    kinds = {name: np.int64 if target.kind == "class" else np.float32 for name, target in targets.items()}
    return Store(
        frames=np.load(entry / "frames.npy", mmap_mode="r")[:count],
        clean=np.load(clean, mmap_mode="r")[:count] if clean.is_file() else None,
        targets={name: np.array(columns["targets"][name], dtype=kind) for name, kind in kinds.items()},
        keys=columns["keys"],
        subjects=columns["subjects"],
        videos=columns["videos"],
        times=columns["times"],
        meta=columns["meta"],
        broken=[(shard, key, cause) for shard, key, cause in columns["broken"]],
    )


def _decode_split(prepared: Prepared, split: str, entry: Path, max_broken: int) -> None:
    """Writes a cache entry into a temporary folder, then renames it."""
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        _write_entry(prepared, split, folder, max_broken)
        try:
            folder.rename(entry)
        except OSError:
            if not entry.is_dir():  # else another node was faster: its entry has the same content
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_entry(prepared: Prepared, split: str, folder: Path, max_broken: int) -> None:
    layout, count, clip = prepared.split(split).layout, prepared.count(split), prepared.clip
    shape = (count, clip.length, clip.channels, clip.height, clip.width)
    frames = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=layout.frames, shape=shape)
    clean = None
    if layout.clean_shape is not None:
        length, height, width, channels = layout.clean_shape
        shape = (count, length, channels, height, width)
        clean = np.lib.format.open_memmap(folder / "clean.npy", mode="w+", dtype=layout.clean, shape=shape)
    columns: dict[str, list[Any]] = {name: [] for name in ("keys", "subjects", "videos", "times", "meta", "broken")}
    targets: dict[str, list[Any]] = {name: [] for name in prepared.targets}
    with track(f"decode {prepared.name} {split}", count) as bar:
        for sample in _samples(prepared, split, layout):
            bar.advance()
            if isinstance(sample, tuple):
                columns["broken"].append(sample)
                _check_budget(columns["broken"], max_broken, f"{prepared.folder}, split {split}")
                continue
            row = len(columns["keys"])  # broken samples leave no gap; `_load` cuts the unused end
            frames[row] = sample.frames.transpose(0, 3, 1, 2)
            if clean is not None and sample.clean is not None:
                clean[row] = sample.clean.transpose(0, 3, 1, 2)
            for name, values in targets.items():
                values.append(sample.targets[name])
            for name, value in (
                ("keys", sample.key),
                ("subjects", sample.subject),
                ("videos", sample.video),
                ("times", sample.time),
                ("meta", sample.meta),
            ):
                columns[name].append(value)
    frames.flush()
    if clean is not None:
        clean.flush()
    (folder / "columns.json").write_text(json.dumps({**columns, "targets": targets}), encoding="utf-8")


def _samples(prepared: Prepared, split: str, layout: Layout) -> Iterator[Sample | tuple[str, str, str]]:
    """Samples in order, or (shard, key, cause) of one that is broken; decoded by threads, a chunk at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for path in prepared.shards(split):
            with Shard.open(path) as shard:
                one = functools.partial(_sample, prepared, layout, shard)
                for first in range(0, len(shard), _CHUNK):
                    yield from pool.map(one, range(first, min(first + _CHUNK, len(shard))))


def _sample(prepared: Prepared, layout: Layout, shard: Shard, number: int) -> Sample | tuple[str, str, str]:
    key = shard.index.keys[number]
    members = shard.read(number)  # a shard that is cut off is no broken sample: the error goes through
    try:
        sample = decode(key, members, str(shard.path))
    except DataError as error:
        return str(shard.path), key, error.what
    problem = frames_problem(sample, prepared.clip) or targets_problem(sample.targets, prepared.info.targets)
    if not problem and Layout.of(sample) != layout:
        problem = f"stored as {Layout.of(sample)}, dataset.json says {layout}"
    return (str(shard.path), key, problem) if problem else sample


def _check_budget(broken: Sequence[tuple[str, str, str]], max_broken: int, where: str) -> None:
    if len(broken) > max_broken:
        do = "delete the named shards and run `blear prepare` again, or raise max_broken"
        raise DataError(f"more than {max_broken} broken samples: {_summary(broken)}", where, do)


def _summary(broken: Sequence[tuple[str, str, str]]) -> str:
    """Counts by cause, then the first few by name."""
    causes = Counter(cause for _, _, cause in broken)
    counts = "; ".join(f"{count} x {cause}" for cause, count in causes.most_common())
    names = ", ".join(f"{Path(shard).name} {key}" for shard, key, _ in broken[:5])
    return f"{counts} ({names}{', ...' if len(broken) > 5 else ''})"


@functools.lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    """Says a line once in a process."""
    say(text)
