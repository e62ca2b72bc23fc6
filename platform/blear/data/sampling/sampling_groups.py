"""Which samples of a split belong to each group that a stage draws from, read from the shards' indexes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blear.data.prepared import Prepared
from blear.data.sampling.weighted_sampler import Group
from blear.data.shard.archive import index_of
from blear.data.shard.labels import labels_of
from blear.errors import DataError, JobError
from blear.job.schema import DrawEntry

_SHOWN = 10
_NONE = -1


@dataclass(frozen=True)
class Column:
    """What one class target or column of `meta` says of each sample of a split.

    Attributes:
        codes_N: int32 index into `values`; -1 where the sample says nothing.
        values: class names, or what occurs in `meta`.
    """

    codes_N: np.ndarray
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Columns:
    """The columns of a split that groups name, out of those it has.

    Attributes:
        count: samples of the split.
        of: name -> column.
        known: every name that a group may use.
    """

    count: int
    of: Mapping[str, Column]
    known: tuple[str, ...]

    @staticmethod
    def read(prepared: Prepared, split: str, names: Iterable[str], max_broken: int = 0) -> Columns:
        """Reads the index of every shard, and no sample; the shards of a URL are fetched.

        Args:
            names: those that are wanted; what the split does not have is left out.
            max_broken: how many samples may have labels that cannot be used; they belong to no group.

        Raises:
            DataError: an index cannot be read, or more labels cannot be used.
        """
        wanted, targets = set(names), prepared.info.targets
        classes = {target.name: target.classes for target in targets if target.kind == "class"}
        labels: dict[str, list[np.ndarray]] = {name: [] for name in classes}
        metas: list[Mapping[str, Any]] = []
        broken = 0
        for info in prepared.split(split).shards:
            index = index_of(prepared.local(info))
            values_NK, problems = labels_of(index, targets)
            for target, values_N in zip(targets, values_NK.T, strict=True):
                if target.name in classes:
                    labels[target.name].append(_codes(values_N, problems))
            broken += len(problems)
            metas += index.columns()["meta"]
        if not metas:
            raise DataError("the split has no sample", f"{prepared.place}, split {split}", "prepare the data again")
        if broken > max_broken:
            what = f"{broken} samples have labels that cannot be used"
            raise DataError(what, f"{prepared.place}, split {split}", "prepare the data again, or raise max_broken")
        found = {name: Column(np.concatenate(labels[name]), classes[name]) for name in classes if name in wanted}
        meta_names = sorted({name for meta in metas for name in meta} - classes.keys())
        found |= {name: _meta_column(metas, name) for name in meta_names if name in wanted}
        return Columns(len(metas), found, (*classes, *meta_names))


def find_groups(draw: Sequence[DrawEntry], columns: Columns, where: str) -> list[Group]:
    """The samples of each group.

    Args:
        draw: the groups of a stage.
        columns: those that `draw` names (`names_of`).
        where: the key of the job, for errors.

    Raises:
        JobError: a name or a value that the split does not have, or a group without a sample.
    """
    return [_group(group, columns, f"{where}.{number}") for number, group in enumerate(draw)]


def in_words(draw: Sequence[DrawEntry], groups: Sequence[Group]) -> str:
    """Share, samples and conditions of each group, for a person."""
    total = sum(group.share for group in groups)
    lines = []
    for spec, group in zip(draw, groups, strict=True):
        where = ", ".join(
            f"{name}: {'/'.join(map(str, one)) if isinstance(one, list) else one}" for name, one in spec.where.items()
        )
        even = f", {len(group.cells)} of {spec.even} alike" if spec.even is not None else ""
        count = sum(map(len, group.cells))
        lines.append(f"{group.share / total:.1%} of {count} samples ({where or 'every one'}{even})")
    return "; ".join(lines)


def names_of(draw: Sequence[DrawEntry]) -> set[str]:
    """The class targets and columns of `meta` that groups name."""
    return {name for group in draw for name in (*group.where, group.even) if name is not None}


def _group(group: DrawEntry, columns: Columns, where: str) -> Group:
    chosen_N: np.ndarray | None = None
    for name, value in group.where.items():
        column = _column(columns, name, f"{where}.where")
        wanted = value if isinstance(value, list) else [value]
        codes = [_code(column, name, one, f"{where}.where.{name}") for one in wanted]
        matches_N = np.isin(column.codes_N, codes)
        chosen_N = matches_N if chosen_N is None else chosen_N & matches_N
    if chosen_N is None:
        chosen_N = np.ones(columns.count, dtype=np.bool_)
    members = np.flatnonzero(chosen_N)
    if group.even is None:
        cells = [members] if len(members) else []
    else:
        codes_M = _column(columns, group.even, f"{where}.even").codes_N[members]
        cells = [members[codes_M == code] for code in np.unique(codes_M[codes_M != _NONE])]
    if not cells:
        raise JobError(f"no sample belongs to this group: {group.where or 'every sample'}", where, "mend `where`")
    return Group(group.share, cells)


def _column(columns: Columns, name: str, where: str) -> Column:
    if name not in columns.of:
        raise JobError(f"there is no class target or column of meta {name!r}", where, _advice(name, columns.known))
    return columns.of[name]


def _code(column: Column, name: str, value: Any, where: str) -> int:
    if value not in column.values:
        raise JobError(f"no sample can have {name} {value!r}", where, _advice(value, column.values))
    return column.values.index(value)


def _advice(given: Any, known: Sequence[Any]) -> str:
    close = difflib.get_close_matches(str(given), [str(one) for one in known], n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f", and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"known: {', '.join(map(str, known[:_SHOWN])) or 'none'}{more}"


def _codes(labels_N: np.ndarray, problems: Mapping[int, str]) -> np.ndarray:
    codes_N = labels_N.astype(np.int32)
    codes_N[list(problems)] = _NONE
    return codes_N


def _meta_column(metas: Sequence[Mapping[str, Any]], name: str) -> Column:
    codes: dict[Any, int] = {}
    given = (meta.get(name) for meta in metas)
    codes_N = [codes.setdefault(v, len(codes)) if isinstance(v, str | int | float) else _NONE for v in given]
    return Column(np.array(codes_N, dtype=np.int32), tuple(codes))
