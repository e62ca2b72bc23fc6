"""The dataset `webdataset`: shards that others wrote, which training reads in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from blear.clips import Fit, decode_frames
from blear.contracts import BuildContext, ClipSpec, Label, Sample, ShardMembers, ShardSample, Target
from blear.errors import DataError
from blear_own_data.fields import find_field, read_field
from blear_own_data.keys import plain_key, unique_keys
from blear_own_data.labels import Labels, as_number, as_text, is_missing
from blear_own_data.left_out import LeftOut
from blear_own_data.media import is_video
from blear_own_data.shard_places import find_places
from blear_own_data.shard_survey import labels_of, survey
from blear_own_data.splitting import position, sort_splits, split_borders
from blear_own_data.tar_samples import read_samples
from blear_own_data.webdataset_params import WebdatasetParams

_ENDINGS = (".gz", ".tar", ".tgz")


class Webdataset:
    """A `contracts.Dataset` and `contracts.InPlace` of WebDataset shards. Each shard is a part.

    Raises:
        DataError: there is no shard, it is damaged, or more samples than `max_broken` of a shard lack a file or have a
            wrong label; names shard and sample.
    """

    terms = "Shards of your own, or of others: see their licence."

    def __init__(self, params: WebdatasetParams, context: BuildContext) -> None:
        self._params = params
        self._places = find_places(params)
        self._where = params.source
        self.fit: Fit = "exact" if params.size is None else params.fit
        if set(self._places) == {"train"} and (params.splits is None or params.drawn):
            self._places = {"": self._places["train"]}
        named = {split: places for split, places in self._places.items() if split}
        if named and params.drawn:
            do = "remove `test`, `dev` and `folds`; or name only shards of `train`"
            raise DataError(f"the shards have the splits {', '.join(named)} already", self._where, do)
        self._ranges = {} if named else params.ranges()
        self.splits = sort_splits(list(named) or ["train", *self._ranges])
        self._labels_of = _shard_labels(self._places.values())
        self._left_out: dict[tuple[str, str], LeftOut] = {}

    @property
    def targets(self) -> Sequence[Target]:
        """The targets; classes that the job does not give are read from the shards."""
        return tuple(labels.target for labels in self._labels.values())

    @property
    def clip(self) -> ClipSpec:
        """Shape of the clips; a size that the job does not give is that of the first sample."""
        return self._complete.clip

    def completed(self, local: Callable[[str], Path]) -> Mapping[str, Any]:
        """Size, contents, class names and borders of drawn splits, as far as the job does not give them."""
        return self._survey(lambda place: str(local(place)))

    def parts(self, split: str) -> Sequence[str]:
        """Paths and URLs of the shards."""
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}", self._where, f"use one of: {', '.join(self.splits)}")
        return self._places.get(split) or self._places[""]

    def samples(self, split: str, part: str) -> Iterator[Sample]:
        """The samples of a shard, decoded; used where the shards are not read in place."""
        if part not in self.parts(split):
            raise DataError(f"no part is called {part!r}", self._where, "use the names that `parts` gives")
        self._left_out.pop((split, part), None)  # this part may have been read before
        for members in read_samples(part):
            sample = self.shard_sample(split, part, members)
            if sample is not None:
                clip = self.clip
                shape = (clip.length, clip.height, clip.width, clip.channels)
                frames = decode_frames(
                    members.read(sample.frames), f"{members.where}, {sample.frames}", shape, self.fit
                )
                labels = (sample.subject, sample.video, sample.time)
                yield Sample(sample.key, frames, sample.targets, None, *labels)

    def shard_sample(self, split: str, part: str, members: ShardMembers) -> ShardSample | None:
        """Reads the labels of one sample."""
        left_out = self._left_out.setdefault((split, part), LeftOut(self._params.max_broken, part))
        try:
            return self._read(split, part, members)
        except DataError as error:
            left_out.add(error)
            return None

    @cached_property
    def _complete(self) -> WebdatasetParams:
        return self._with(self._survey(lambda place: place))

    def _with(self, found: Mapping[str, Any]) -> WebdatasetParams:
        return WebdatasetParams.model_validate({**self._params.model_dump(), **found})

    def _survey(self, local: Callable[[str], str]) -> dict[str, Any]:
        """Values of parameters that the shards determine."""
        found = survey(self._params, self._all_shards, local)
        if self._ranges and self._params.borders is None:
            complete = self._with(found)
            labels = {name: labels_of(name, complete.label(name)) for name in complete.targets}
            groups = self._groups(complete, labels, local)
            borders = split_borders(groups, self._ranges, self._where, self._params.folds)
            found["borders"] = {split: list(places) for split, places in borders.items()}
        return found

    def _groups(
        self, complete: WebdatasetParams, labels: Mapping[str, Labels], local: Callable[[str], str]
    ) -> list[str]:
        """Groups of the samples of all shards; without samples that are broken or left out.

        Raises:
            DataError: no sample is left, because the first one is broken.
        """
        groups: list[str] = []
        first: DataError | None = None
        for part in self._all_shards:
            for members in read_samples(local(part)):
                try:
                    group = self._group(part, members)
                    kept = find_field(members, complete.image) is not None
                    values = [self._convert(name, complete, of_target, members) for name, of_target in labels.items()]
                except DataError as error:
                    first = first or error  # others are reported when the shard is indexed
                    continue
                if kept and None not in values:
                    groups.append(group)
        if first is not None and not groups:
            raise first
        return groups

    @cached_property
    def _labels(self) -> dict[str, Labels]:
        return {name: labels_of(name, self._complete.label(name)) for name in self._params.targets}

    @property
    def _all_shards(self) -> list[str]:
        return list(self._labels_of)

    def _read(self, split: str, part: str, members: ShardMembers) -> ShardSample | None:
        frames = find_field(members, self._params.image)
        if frames is None:
            do = f"set `image`; the sample has {', '.join(members.suffixes)}"
            raise DataError(f"there is no file {_shown(self._params.image)}", members.where, do)
        if is_video(f"x.{frames[0]}") and self._complete.contents == "pictures":
            raise DataError(
                f"a video ({frames[0]}) among pictures", members.where, "set `contents: videos`, or `image`"
            )
        if self._ranges and self._drawn(self._group(part, members)) != split:
            return None
        targets: dict[str, Label] = {}
        for name, labels in self._labels.items():
            label = self._convert(name, self._complete, labels, members)
            if label is None:
                return None
            targets[name] = label
        subject, video = self._text("subject", members), self._text("video", members)
        return ShardSample(self._key(part, members), frames[0], targets, subject, video, self._time(members))

    def _key(self, part: str, members: ShardMembers) -> str:
        return plain_key(f"{self._labels_of[part]}/{members.key}.x")

    def _group(self, part: str, members: ShardMembers) -> str:
        """What stays in one split: the subject, else the video, else the sample."""
        return self._text("subject", members) or self._text("video", members) or self._key(part, members)

    def _drawn(self, group: str) -> str:
        """Split of a group."""
        place, borders = position(group), self._complete.borders or {}
        return next((split for split, (first, last) in borders.items() if first <= place <= last), "train")

    def _convert(self, name: str, complete: WebdatasetParams, labels: Labels, members: ShardMembers) -> Label | None:
        field = complete.label(name).field or ""
        try:
            return labels.convert(read_field(members, field))
        except ValueError as error:
            do = f"fix the sample, or set `targets.{name}`; it has {', '.join(members.suffixes)}"
            raise DataError(f"target {name} (field {field}) {error}", members.where, do) from error

    def _text(self, name: str, members: ShardMembers) -> str:
        raw = self._raw(name, members)
        return "" if is_missing(raw) else as_text(raw)

    def _time(self, members: ShardMembers) -> float | None:
        raw = self._raw("time", members)
        try:
            return None if is_missing(raw) else as_number(raw)
        except ValueError as error:
            raise DataError(f"time {error}", members.where, "give seconds") from error

    def _raw(self, name: str, members: ShardMembers) -> Any:
        field = getattr(self._params, name)
        if field is None:
            return None
        try:
            return read_field(members, field)
        except ValueError as error:
            raise DataError(f"{name} (field {field}) {error}", members.where, f"fix the sample, or `{name}`") from error


def _shard_labels(splits: Iterable[Sequence[str]]) -> dict[str, str]:
    """Shard -> its part of the keys: the name; the path below the common folder if a split has a name twice."""
    stems: dict[str, str] = {}
    for places in splits:
        names = [_stem(place) for place in places]
        if len(set(names)) < len(names):
            common = os.path.commonpath([place.rpartition("/")[0] for place in places])
            names = [place.rpartition("/")[0].removeprefix(common).strip("/") + "/" + _stem(place) for place in places]
        stems |= dict(zip(places, (name.strip("/") for name in names), strict=True))
    return dict(zip(stems, unique_keys([f"{stem}.x" for stem in stems.values()]), strict=True))


def _stem(place: str) -> str:
    name = place.rpartition("/")[2]
    while name.lower().endswith(_ENDINGS):
        name = name.rpartition(".")[0]
    return name


def _shown(names: str) -> str:
    """Lists at most three endings, for messages."""
    first, *others = names.split(";")
    return ", ".join([first, *others[:2]]) + (f" and {len(others) - 2} more endings" if len(others) > 2 else "")
