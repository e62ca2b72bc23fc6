"""A prepared dataset: a folder of shards with a `dataset.json`, on this machine or at a URL."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ValidationError

from blear.contracts import ClipSpec, Target
from blear.data.dataset_info import READABLE_FORMATS, DatasetInfo, ShardInfo, SplitInfo
from blear.data.in_place.local_shards import is_prepared, open_indexed
from blear.data.mirror import Mirror, cache_root
from blear.data.shard.archive import content_error, index_path, load_index, read_index, read_verified_index
from blear.data.shard.index import ShardIndex
from blear.errors import DataError
from blear.progress import track
from blear.storage.file_digest import file_digest
from blear.storage.remote import DEFAULT_RETRY, RemoteFolder, RetryPolicy, is_url

_AGAIN = "run `blear prepare` again: it writes what is missing"
_LARGEST_JSON = 1 << 30
_SHOWN = 5


class _Version(BaseModel):
    format: int


@dataclass(frozen=True)
class Prepared:
    """A complete prepared dataset. Opening it reads `dataset.json` and no shard.

    Attributes:
        folder: folder of the shards; for a dataset at a URL, folder of the local copies.
        info: content of `dataset.json`.
        mirror: fetches the shards of a dataset at a URL; None for a folder.
    """

    folder: Path
    info: DatasetInfo
    mirror: Mirror | None = None

    @staticmethod
    def open(folder: Path | str, *, retry: RetryPolicy = DEFAULT_RETRY) -> Prepared:
        """Reads `dataset.json` of a folder, or of a URL that begins with one of `remote.PROTOCOLS`.

        Within `share_opened`, a URL is read once.

        Raises:
            DataError: `dataset.json` is missing, damaged or of another format, or the URL cannot be read.
        """
        if is_url(folder):
            return _opened_urls.get(RemoteFolder.parse(str(folder), retry))
        folder = Path(folder)
        file = folder / "dataset.json"
        if not file.is_file():
            raise DataError("not a complete prepared dataset: no dataset.json", str(folder), "run `blear prepare`")
        return Prepared(folder, _read(file.read_bytes(), str(file)))

    @staticmethod
    def _open_url(remote: RemoteFolder) -> Prepared:
        data = remote.read("dataset.json", _LARGEST_JSON)
        if data is None:
            do = "give the URL of the folder that `blear prepare` wrote, and check the credentials"
            raise DataError("not a complete prepared dataset: no dataset.json", remote.url, do)
        info = _read(data, f"{remote.url}/dataset.json")
        if any(shard.place for split in info.splits.values() for shard in split.shards):
            do = "give the original shards as `webdataset`, or write shards with another dataset"
            raise DataError("its shards are read in place on another machine", f"{remote.url}/dataset.json", do)
        name = f"{re.sub('[^A-Za-z0-9_-]', '-', info.name)}-{hashlib.sha256(data).hexdigest()[:12]}"
        root = cache_root()
        return Prepared(root / name, info, Mirror(remote, root, root / name))

    @property
    def _json(self) -> Path:
        return self.folder / "dataset.json"

    @property
    def place(self) -> str:
        """Folder or URL of the dataset, for messages."""
        return self.mirror.remote.url if self.mirror else str(self.folder)

    @property
    def name(self) -> str:
        """Full name of the dataset component."""
        return self.info.name

    @property
    def targets(self) -> dict[str, Target]:
        """Target name -> target."""
        return {target.name: target for target in self.info.targets}

    @property
    def clip(self) -> ClipSpec:
        """Shape of every sample."""
        return self.info.clip

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, the training split first."""
        return tuple(self.info.splits)

    @property
    def terms(self) -> str:
        """Licence and source of the raw data."""
        return self.info.terms

    def split(self, name: str) -> SplitInfo:
        """Layout and shards of a split.

        Raises:
            DataError: the dataset has no such split.
        """
        if name not in self.info.splits:
            raise DataError(f"there is no split {name!r}", self.place, f"use one of: {', '.join(self.splits)}")
        return self.info.splits[name]

    def count(self, split: str) -> int:
        """Number of samples of a split."""
        return sum(shard.samples for shard in self.split(split).shards)

    def shards(self, split: str) -> tuple[Path, ...]:
        """Paths of the shards of a split, in order.

        Raises:
            DataError: no such split, or a shard is missing.
        """
        return tuple(self.local(shard) for shard in self.split(split).shards)

    def local(self, shard: ShardInfo) -> Path:
        """Path of one shard on this machine; a shard at a URL is fetched if there is no local copy.

        Raises:
            DataError: the shard is missing, or it cannot be fetched.
        """
        if shard.place:
            return open_indexed(shard)
        if self.mirror:
            return self.mirror.local(shard)
        path = self.folder / shard.name
        if not path.is_file():
            raise DataError("the shard is missing", str(path), _AGAIN)
        return path

    def index(self, shard: ShardInfo) -> ShardIndex:
        """Reads the index of one shard. The shard itself is read, and at a URL fetched, only if the index is not valid.

        Raises:
            DataError: there is no valid index, and the shard is missing, damaged or cannot be fetched.
        """
        if shard.place:
            return read_index(self.folder, shard)
        file = self.mirror.index_file(shard) if self.mirror else index_path(self.folder / shard.name)
        index = read_verified_index(file, shard)
        return load_index(self.local(shard), shard) if index is None else index

    def complete(self) -> bool:
        """Whether the folder holds every shard with its size; the content is not read."""
        return all(
            is_prepared(shard, self.folder)
            if shard.place
            else (path := self.folder / shard.name).is_file() and path.stat().st_size == shard.bytes
            for split in self.info.splits.values()
            for shard in split.shards
        )

    def verify(self, *, with_webdataset: bool = False) -> int:
        """Reads every shard and index, and compares their SHA-256 with `dataset.json`.

        Shards at a URL are fetched again. An index that is missing is built from its shard.

        Args:
            with_webdataset: also read every shard sequentially with `webdataset.WebDataset`, and compare each sample
                with the indexed reader.

        Returns:
            Number of shards.

        Raises:
            DataError: shards are missing, have changed, or are read differently by the two readers; names the first.
        """
        shards = [shard for split in self.info.splits.values() for shard in split.shards]
        wrong: list[DataError] = []
        with track(f"verify {self.name}", len(shards)) as bar:
            for shard in shards:
                try:
                    self._verify(shard, with_webdataset)
                except DataError as error:
                    wrong.append(error)
                bar.advance(1, shard.name)
        if len(wrong) == 1:
            raise wrong[0]
        if wrong:
            lines = "".join(f"\n    {error.where}: {error.what}" for error in wrong[:_SHOWN])
            more = "\n    ..." if len(wrong) > _SHOWN else ""
            raise DataError(f"{len(wrong)} of {len(shards)} shards are wrong:{lines}{more}", self.place, wrong[0].do)
        return len(shards)

    def _verify(self, shard: ShardInfo, with_webdataset: bool) -> None:
        if with_webdataset:
            from blear.data.shard.webdataset_check import compare_with_webdataset  # imports torch
        if self.mirror:
            with tempfile.TemporaryDirectory(prefix="blear-verify-") as folder:
                self.mirror.download(shard, copy := Path(folder) / Path(shard.name).name)
                data = self.mirror.remote_index(shard)
                if data is not None:
                    index_path(copy).write_bytes(data)
                _verify_index(copy, shard, f"{self.place}/{shard.name}.idx")
                if with_webdataset:
                    compare_with_webdataset(copy)
            return
        path = self.local(shard)
        digest = file_digest(path)
        if shard.place:
            if digest != shard.sha256:
                raise DataError(
                    "the shard has changed since it was indexed", shard.place, f"delete {self._json}; {_AGAIN}"
                )
            self.index(shard)
            return
        if digest != shard.sha256:
            raise content_error(path, digest, shard)
        _verify_index(path, shard, str(index_path(path)))
        if with_webdataset:
            compare_with_webdataset(path)


class _OpenedUrls:
    """Datasets at URLs that were opened within `share_opened`. Thread-safe."""

    def __init__(self) -> None:
        self.users, self.lock = 0, threading.Lock()
        self._opened: dict[RemoteFolder, Prepared] = {}

    def get(self, remote: RemoteFolder) -> Prepared:
        """Opens a URL, or returns the dataset that was opened before."""
        found = self._opened.get(remote)
        if found is None:
            found = Prepared._open_url(remote)
            if self.users:
                self._opened[remote] = found
        return found

    def clear(self) -> None:
        """Forgets all datasets."""
        self._opened.clear()


_opened_urls = _OpenedUrls()


@contextlib.contextmanager
def share_opened() -> Iterator[None]:
    """Context in which `Prepared.open` reads the `dataset.json` of each URL once; also a decorator.

    A run opens its data many times. All of its steps see the same version of the data.
    """
    with _opened_urls.lock:
        _opened_urls.users += 1
    try:
        yield
    finally:
        with _opened_urls.lock:
            _opened_urls.users -= 1
            if not _opened_urls.users:
                _opened_urls.clear()


def _verify_index(shard: Path, info: ShardInfo, where: str) -> None:
    """Checks the index beside a shard, or builds a missing one.

    Raises:
        DataError: `dataset.json` states a digest of the index, and the file has another one.
    """
    if info.index_sha256 and index_path(shard).is_file() and read_verified_index(index_path(shard), info) is None:
        what = "the index is damaged or belongs to another shard"
        raise DataError(what, where, "delete the .idx: it is built again from the shard")
    load_index(shard, info)


@functools.lru_cache(maxsize=4)
def _read(data: bytes, where: str) -> DatasetInfo:
    try:
        version = _Version.model_validate_json(data).format
        if version not in READABLE_FORMATS:
            readable = " and ".join(map(str, READABLE_FORMATS))
            raise DataError(f"format {version}, this blear reads {readable}", where, "run `blear prepare` again")
        info = DatasetInfo.model_validate_json(data)
    except ValidationError as error:
        raise DataError(f"dataset.json is damaged: {error}", where, f"delete it; {_AGAIN}") from error
    if problem := _inconsistency(info):
        raise DataError(f"dataset.json is damaged: {problem}", where, f"delete it; {_AGAIN}")
    return info


def _inconsistency(info: DatasetInfo) -> str:
    """The first inconsistency that types alone do not exclude; empty if there is none."""
    if not info.splits:
        return "there is no split"
    if min(info.clip.length, info.clip.channels, info.clip.height, info.clip.width) < 1:
        return f"clips of {info.clip}"
    classes = {target.name: len(target.classes) for target in info.targets if target.kind == "class"}
    for target in info.targets:
        if target.kind == "distribution" and not target.classes:
            return f"the distribution {target.name!r} has no classes"
    names: set[str] = set()
    for split in info.splits.values():
        counts = {name: len(per_class) for name, per_class in split.class_counts.items()}
        if counts != classes or any(number < 0 for per_class in split.class_counts.values() for number in per_class):
            return f"class counts of {', '.join(split.class_counts) or 'no target'} that do not fit the targets"
        if split.layout.clean_shape is not None and min(split.layout.clean_shape) < 1:
            return f"clean clips of shape {split.layout.clean_shape}"
        for shard in split.shards:
            path = PurePosixPath(shard.name)
            if path.is_absolute() or ".." in path.parts or not path.name or "\\" in shard.name or "\0" in shard.name:
                return f"shard name {shard.name!r} leads out of the dataset's folder"
            if shard.name in names:
                return f"shard {shard.name!r} comes twice"
            if shard.samples < 0 or shard.bytes < 0:
                return f"shard {shard.name!r} of {shard.samples} samples and {shard.bytes} bytes"
            names.add(shard.name)
    return ""
