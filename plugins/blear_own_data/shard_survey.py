"""Finds size, contents and classes of shards, as far as the job does not give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from blear.contracts import ShardMembers, Target
from blear.errors import DataError
from blear_own_data.fields import find_field, read_field
from blear_own_data.labels import Labels, find_labels
from blear_own_data.shard_frames import stored_size
from blear_own_data.tar_samples import read_samples
from blear_own_data.webdataset_params import FieldLabel, WebdatasetParams


def survey(params: WebdatasetParams, shards: Sequence[str], local: Callable[[str], str]) -> dict[str, Any]:
    """Returns values of parameters; reads the first sample for size and contents, all labels for classes.

    Args:
        params: as the job gives them.
        shards: paths and URLs.
        local: returns where a shard is read.

    Raises:
        DataError: no sample has a picture, or a label has no value that occurs.
    """
    found: dict[str, Any] = {}
    if params.size is None or params.contents is None:
        found |= _first(params, shards, local)
    open_targets = [name for name in params.targets if _is_open(params.label(name))]
    values: dict[str, set[Any]] = {name: set() for name in open_targets}
    if open_targets:
        for shard in shards:
            for members in read_samples(local(shard)):
                for name in open_targets:
                    _add_value(values[name], members, params.label(name).field or "")
        targets: dict[str, Any] = {name: params.label(name).model_dump(exclude_none=True) for name in params.targets}
        for name in open_targets:
            label = params.label(name)
            target = find_labels(name, label, values[name], f"{params.source}, field {label.field}").target
            targets[name] |= {"kind": target.kind}
            if target.kind == "class":
                targets[name] |= {"classes": {cls: cls for cls in target.classes}}
        found["targets"] = targets
    return found


def labels_of(name: str, label: FieldLabel) -> Labels:
    """Returns the converter of a target whose kind and classes are known."""
    if label.kind == "distribution":
        classes = label.classes if isinstance(label.classes, list) else []
        return Labels(Target(name, "distribution", tuple(classes)), {})
    return find_labels(name, label, [], name)


def _is_open(label: FieldLabel) -> bool:
    """Whether kind or classes of a target are not given."""
    return label.kind in (None, "class") and label.classes is None and label.bounds is None


def _first(params: WebdatasetParams, shards: Sequence[str], local: Callable[[str], str]) -> dict[str, Any]:
    """Size and contents of the first sample that has a picture."""
    for shard in shards:
        for members in read_samples(local(shard)):
            field = find_field(members, params.image)
            if field is None:
                continue
            height, width, video = stored_size(field[0], members)
            size = {"size": [height, width], "fit": "exact"} if params.size is None else {}
            return size | {"contents": params.contents or ("videos" if video else "pictures")}
    do = "set `image` to the ending of the pictures' names"
    raise DataError(f"no sample has a file {params.image.replace(';', ', ')}", params.source, do)


def _add_value(values: set[Any], members: ShardMembers, field: str) -> None:
    try:
        value = read_field(members, field)
    except ValueError:
        return  # reported with its sample when the shard is indexed
    if not isinstance(value, list) and value is not None:
        values.add(value)
