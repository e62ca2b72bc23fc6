"""splits.lock.json of a run: which samples each split held, so that a later evaluation is of the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.errors import RunError
from blear.job.schema import Job
from blear.storage.run_folder import write_text

FILE = "splits.lock.json"
_BLOCK = 1 << 16
_MOST_KEYS = 4_000_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Model):
    """One split of a named dataset.

    Attributes:
        keys_sha256: of the samples' keys, sorted, one a line; empty at a URL, where nothing is fetched for it, and
            above four million samples.
        content_sha256: of the shards' digests, in order: pictures, labels and all.
    """

    use: str
    samples: int
    keys_sha256: str
    content_sha256: str


class Lock(_Model):
    """`data/split` -> what it held."""

    splits: dict[str, Split]


def lock_splits(job: Job, root: Path, prepared: Mapping[str, str | Path]) -> Lock:
    """Writes the lock file of a run, or compares it with the data that are there now.

    Raises:
        RunError: a split holds something else than when the run was first given.
    """
    path = root / FILE
    known = _read(path) if path.is_file() else Lock(splits={})
    found: dict[str, Split] = {}
    for data, split in sorted(set(_used(job, prepared))):
        name, one = f"{data}/{split}", _digest(Prepared.open(prepared[data]), split)
        before = known.splits.get(name, one)
        if before != one:
            raise RunError(
                _change(name, before, one), str(path), f"give the earlier data; or delete {FILE} if it is meant"
            )
        found[name] = one
    lock = Lock(splits=known.splits | found)
    if lock != known or not path.is_file():
        write_text(path, lock.model_dump_json(indent=1))
    return lock


def _used(job: Job, prepared: Mapping[str, str | Path]) -> Iterator[tuple[str, str]]:
    """(data, split) of everything that is trained, validated or evaluated on, where it is there."""
    wanted: list[tuple[str, str | None]] = []
    for stage in job.stages.values():
        wanted.append((stage.data, stage.split))
        if stage.validate_ is not None:
            wanted.append((stage.data, stage.validate_.split))
        if job.evaluate is not None and job.evaluate.data is None:
            wanted.append((stage.data, job.evaluate.split))
    if job.evaluate is not None and job.evaluate.data is not None:
        wanted.append((job.evaluate.data, job.evaluate.temperature or job.evaluate.split))
        wanted.append((job.evaluate.data, job.evaluate.split))
    for data, split in wanted:
        splits = Prepared.open(prepared[data]).splits
        if split is None or split in splits:  # what is missing says so where it is used
            yield data, split or splits[0]


def _digest(data: Prepared, split: str) -> Split:
    content = "\n".join(shard.sha256 for shard in data.split(split).shards)
    keys = _keys_digest(data, split) if data.mirror is None and data.count(split) <= _MOST_KEYS else ""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Split(use=data.name, samples=data.count(split), keys_sha256=keys, content_sha256=digest)


def _keys_digest(data: Prepared, split: str) -> str:
    store = Store.open(data, split, cache_gb=0)
    blocks = range(0, len(store), _BLOCK)
    keys = sorted(key for i in blocks for key in store.keys(np.arange(i, min(i + _BLOCK, len(store)))))
    store.close()
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def _change(name: str, before: Split, now: Split) -> str:
    if before.use != now.use:
        return f"{name} is {now.use}, this run knew {before.use} under that name"
    if (before.samples, before.keys_sha256) != (now.samples, now.keys_sha256):
        return f"{name} holds other samples: {now.samples} of them, {before.samples} when the run was given"
    return f"{name} holds samples of the same names whose pictures or labels differ"


def _read(path: Path) -> Lock:
    try:
        return Lock.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"cannot be read: {error}", str(path), "delete it if the data are the same") from error
