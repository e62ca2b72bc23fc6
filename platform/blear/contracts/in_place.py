"""Datasets whose raw data are WebDataset shards that training reads in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from blear.contracts.dataset import Label

if TYPE_CHECKING:
    from blear.clips import Fit


@dataclass(frozen=True)
class ShardMembers:
    """The files of one sample in a WebDataset shard that somebody else wrote.

    Attributes:
        key: of the sample, as WebDataset reads it: the path in the archive up to the first dot of the file's name.
        where: names shard and sample in messages.
        suffixes: rest of the file names behind that dot, in lower case: `jpg`, `cls`, `meta.json`.
        read: returns the content of the file with a suffix.
    """

    key: str
    where: str
    suffixes: Sequence[str]
    read: Callable[[str], bytes]


@dataclass(frozen=True)
class ShardSample:
    """A sample whose frames stay in the shard that holds them; all other fields as of `Sample`.

    Attributes:
        frames: suffix of the file that holds the picture, the video, or an array (`npy`).
    """

    key: str
    frames: str
    targets: Mapping[str, Label]
    subject: str = ""
    video: str = ""
    time: float | None = None
    meta: Mapping[str, str | int | float] = field(default_factory=dict)


@runtime_checkable
class InPlace(Protocol):
    """Optional addition to `Dataset`: the raw data are WebDataset shards already, and training reads them in place.

    `parts(split)` are then the paths or URLs of the shards. `blear prepare` indexes each of them and writes no sample.
    Pictures and videos of any size and format are brought to the declared clip when they are decoded into the cache.

    Attributes:
        fit: how a picture gets the size of the clip, see `blear.clips.Fit`; `exact`: it must have that size.
    """

    fit: Fit

    def completed(self, local: Callable[[str], Path]) -> Mapping[str, Any]:
        """Returns values of parameters that the shards determine, for instance class names; called once, first of all.

        The platform adds them to the parameters of the job, so that the shards need not be read again for them.

        Args:
            local: returns the path of an uncompressed copy of a shard on this machine, fetched if it lies at a URL.
        """
        ...

    def shard_sample(self, split: str, part: str, members: ShardMembers) -> ShardSample | None:
        """Reads the labels of one sample of a shard; None if it belongs to another split or is left out.

        Raises:
            DataError: a file is missing or a label is wrong; names shard and sample.
        """
        ...
