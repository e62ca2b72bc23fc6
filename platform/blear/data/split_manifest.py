"""The split manifest of a run, `splits.lock.json`: the content of each split that the run uses.

A later evaluation compares the manifest with the data, so that it uses the same samples as the run before.
"""

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


class SplitEntry(_Model):
    """Content of one split of a dataset.

    Attributes:
        use: full name of the dataset component.
        samples: number of samples.
        keys_sha256: SHA-256 of the sorted sample keys, one in each line. Empty for datasets at a URL, which would have
            to be fetched for it, and for splits of more than four million samples.
        content_sha256: SHA-256 of the digests of all shards, in order; it covers pictures and labels.
    """

    use: str
    samples: int
    keys_sha256: str
    content_sha256: str


class SplitManifest(_Model):
    """Manifest of a run: `data/split` -> content of the split."""

    splits: dict[str, SplitEntry]


def check_split_manifest(job: Job, root: Path, prepared: Mapping[str, str | Path]) -> SplitManifest:
    """Writes the split manifest of a run; for splits that it already holds, compares them with the current data.

    Args:
        job: the job of the run.
        root: folder of the run.
        prepared: name of the data in the job -> folder or URL of its shards.

    Raises:
        RunError: the content of a split differs from the manifest.
    """
    path = root / FILE
    recorded = _read(path) if path.is_file() else SplitManifest(splits={})
    current: dict[str, SplitEntry] = {}
    for data, split in sorted(set(_used_splits(job, prepared))):
        name, entry = f"{data}/{split}", _split_entry(Prepared.open(prepared[data]), split)
        before = recorded.splits.get(name, entry)
        if not (before.keys_sha256 and entry.keys_sha256):  # of remote shards: content_sha256 alone says it
            keys = before.keys_sha256 or entry.keys_sha256
            before, entry = (each.model_copy(update={"keys_sha256": keys}) for each in (before, entry))
        if before != entry:
            raise RunError(
                _difference(name, before, entry),
                str(path),
                f"give the earlier data; or delete {FILE} if the change is meant",
            )
        current[name] = entry
    manifest = SplitManifest(splits=recorded.splits | current)
    if manifest != recorded or not path.is_file():
        write_text(path, manifest.model_dump_json(indent=1))
    return manifest


def _used_splits(job: Job, prepared: Mapping[str, str | Path]) -> Iterator[tuple[str, str]]:
    """(data, split) of all existing splits that stages train and validate on, or that the evaluation uses."""
    wanted: list[tuple[str, str | None]] = []
    for stage in job.stages.values():
        wanted.append((stage.data, stage.split))
        if stage.validate_ is not None:
            wanted.append((stage.validation_data, stage.validate_.split))
        if job.evaluate is not None and job.evaluate.data is None:
            wanted.append((stage.data, job.evaluate.split))
    if job.evaluate is not None and job.evaluate.data is not None:
        wanted.append((job.evaluate.data, job.evaluate.temperature or job.evaluate.split))
        wanted.append((job.evaluate.data, job.evaluate.split))
    for data, split in wanted:
        splits = Prepared.open(prepared[data]).splits
        if split is None or split in splits:  # a missing split is reported where it is used
            yield data, split or splits[0]


def _split_entry(data: Prepared, split: str) -> SplitEntry:
    content = "\n".join(
        shard.sha256 + (shard.index_sha256 if shard.place else "") for shard in data.split(split).shards
    )
    keys = _keys_digest(data, split) if data.mirror is None and data.count(split) <= _MOST_KEYS else ""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return SplitEntry(use=data.name, samples=data.count(split), keys_sha256=keys, content_sha256=digest)


def _keys_digest(data: Prepared, split: str) -> str:
    store = Store.open(data, split, cache_gb=0)
    blocks = range(0, len(store), _BLOCK)
    keys = sorted(key for i in blocks for key in store.keys(np.arange(i, min(i + _BLOCK, len(store)))))
    store.close()
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def _difference(name: str, before: SplitEntry, now: SplitEntry) -> str:
    if before.use != now.use:
        return f"{name} is {now.use}, but was {before.use} when this run was started"
    if (before.samples, before.keys_sha256) != (now.samples, now.keys_sha256):
        return f"{name} holds other samples: {now.samples} of them, {before.samples} when the run was started"
    return f"{name} holds samples of the same keys with other pictures or labels"


def _read(path: Path) -> SplitManifest:
    try:
        return SplitManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(f"cannot be read: {error}", str(path), "delete it if the data are the same") from error
