"""A prepared dataset: a folder of shards with one `dataset.json`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from blear.contracts import ClipSpec, Target
from blear.data.models import FORMAT, DatasetInfo, SplitInfo
from blear.errors import DataError
from blear.progress import track

_AGAIN = "run `blear prepare` again: it writes what is missing"


@dataclass(frozen=True)
class Prepared:
    """A complete dataset on disk; opening reads `dataset.json` and no shard."""

    folder: Path
    info: DatasetInfo

    @staticmethod
    def open(folder: Path) -> Prepared:
        """Reads `dataset.json`.

        Raises:
            DataError: it is missing, damaged, or of another format.
        """
        file = folder / "dataset.json"
        if not file.is_file():
            raise DataError("not a complete prepared dataset: no dataset.json", str(folder), "run `blear prepare`")
        try:
            info = DatasetInfo.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise DataError(f"dataset.json is damaged: {error}", str(file), f"delete it; {_AGAIN}") from error
        if info.format != FORMAT:
            raise DataError(f"format {info.format}, this blear reads {FORMAT}", str(file), "run `blear prepare` again")
        return Prepared(folder, info)

    @property
    def name(self) -> str:
        """Full name of the dataset component."""
        return self.info.name

    @property
    def targets(self) -> dict[str, Target]:
        """Target name -> what samples are labelled with."""
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
            DataError: there is no such split.
        """
        if name not in self.info.splits:
            raise DataError(f"there is no split {name!r}", str(self.folder), f"take one of: {', '.join(self.splits)}")
        return self.info.splits[name]

    def count(self, split: str) -> int:
        """Number of samples of a split."""
        return sum(shard.samples for shard in self.split(split).shards)

    def shards(self, split: str) -> tuple[Path, ...]:
        """Paths of the shards of a split, in order.

        Raises:
            DataError: no such split, or a shard is missing.
        """
        paths = tuple(self.folder / shard.name for shard in self.split(split).shards)
        for path in paths:
            if not path.is_file():
                raise DataError("the shard is missing", str(path), _AGAIN)
        return paths

    def complete(self) -> bool:
        """Whether every shard is there with its size; contents are not read."""
        return all(
            (path := self.folder / shard.name).is_file() and path.stat().st_size == shard.bytes
            for split in self.info.splits.values()
            for shard in split.shards
        )

    def verify(self) -> None:
        """Reads every shard and compares its digest.

        Raises:
            DataError: a shard is missing or its content differs from what was written.
        """
        with track(f"verify {self.folder.name}", sum(len(split.shards) for split in self.info.splits.values())) as bar:
            for name, split in self.info.splits.items():
                for path, shard in zip(self.shards(name), split.shards, strict=True):
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                    if digest != shard.sha256:
                        raise DataError(
                            f"the content has changed: SHA-256 {digest[:12]}, written was {shard.sha256[:12]}",
                            str(path),
                            "delete the shard and run `blear prepare` again",
                        )
                    bar.advance()
