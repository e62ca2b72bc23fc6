"""Builds the sampling groups of a stage: which samples of a split belong to each group.

The groups are found from class targets and `meta` columns in the indexes of the shards; no sample is read.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blear.data.prepared import Prepared
from blear.data.sampling.weighted_sampler import SamplingGroup
from blear.data.shard.labels import label_slices, read_labels
from blear.errors import DataError, JobError
from blear.job.schema import DrawEntry

_SHOWN = 10
_MISSING = -1


@dataclass(frozen=True)
class CategoricalColumn:
    """One class target, or one column of `meta`, for all samples of a split.

    Attributes:
        codes_N: int32 [N], index into `categories`; -1 for samples without a value.
        categories: class names, or the distinct values in `meta`.
    """

    codes_N: np.ndarray
    categories: tuple[Any, ...]


@dataclass(frozen=True)
class SplitColumns:
    """The columns of a split that the groups of a stage use.

    Attributes:
        count: number of samples of the split.
        columns: name -> column.
        known_names: all names that a group may use.
        unusable: number of each sample whose labels cannot be used -> the cause; these samples belong to no group.
    """

    count: int
    columns: Mapping[str, CategoricalColumn]
    known_names: tuple[str, ...]
    unusable: Mapping[int, str] = field(default_factory=dict)

    @staticmethod
    def read(prepared: Prepared, split: str, names: Iterable[str], max_broken: int = 0) -> SplitColumns:
        """Reads the index of every shard, and no shard, also at a URL.

        Args:
            names: columns to read; names that the split does not have are ignored.
            max_broken: how many samples may have invalid labels; these samples belong to no group.

        Raises:
            DataError: an index cannot be read, the split is empty, or more than `max_broken` samples have invalid
                labels.
        """
        wanted, targets = set(names), prepared.info.targets
        classes = {target.name: target.classes for target in targets if target.kind == "class"}
        labels: dict[str, list[np.ndarray]] = {name: [] for name in classes}
        metas: list[Mapping[str, Any]] = []
        unusable: dict[int, str] = {}
        for info in prepared.split(split).shards:
            index = prepared.index(info)
            values_NK, problems = read_labels(index, targets)
            columns_of = label_slices(targets)
            for name in classes:
                labels[name].append(_class_codes(values_NK[:, columns_of[name].start], problems))
            unusable |= {len(metas) + row: cause for row, cause in problems.items()}
            metas += index.columns()["meta"]
        if not metas:
            raise DataError("the split has no sample", f"{prepared.place}, split {split}", "prepare the data again")
        if len(unusable) > max_broken:
            what = f"{len(unusable)} samples have labels that cannot be used, the first one because {_first(unusable)}"
            raise DataError(what, f"{prepared.place}, split {split}", "prepare the data again, or raise max_broken")
        columns = {
            name: CategoricalColumn(np.concatenate(labels[name]), classes[name]) for name in classes if name in wanted
        }
        meta_names = sorted({name for meta in metas for name in meta} - classes.keys())
        columns |= {name: _meta_column(metas, name) for name in meta_names if name in wanted}
        return SplitColumns(len(metas), columns, (*classes, *meta_names), unusable)


def build_groups(draw: Sequence[DrawEntry], columns: SplitColumns, where: str) -> list[SamplingGroup]:
    """Finds the samples of each group.

    Args:
        draw: the groups of a stage, as in the job.
        columns: the columns that `draw` names (`column_names`).
        where: key of `draw` in the job, for error messages.

    Raises:
        JobError: the split does not have a name or a value, or a group has no sample.
    """
    return [_build_group(group, columns, f"{where}.{number}") for number, group in enumerate(draw)]


def describe_groups(draw: Sequence[DrawEntry], groups: Sequence[SamplingGroup], columns: SplitColumns) -> str:
    """Formats share, number of samples and conditions of each group, and the left out samples, for the log."""
    total = sum(group.weight for group in groups)
    lines = []
    for spec, group in zip(draw, groups, strict=True):
        where = ", ".join(
            f"{name}: {'/'.join(map(str, one)) if isinstance(one, list) else one}" for name, one in spec.where.items()
        )
        even = f", balanced over {len(group.strata)} values of {spec.even}" if spec.even is not None else ""
        count = sum(map(len, group.strata))
        lines.append(f"{group.weight / total:.1%} of {count} samples ({where or 'all'}{even})")
    if count := len(columns.unusable):
        lines.append(
            f"without {count} samples whose labels cannot be used, the first one because {_first(columns.unusable)}"
        )
    return "; ".join(lines)


def column_names(draw: Sequence[DrawEntry]) -> set[str]:
    """Names of the class targets and `meta` columns that the groups use."""
    return {name for group in draw for name in (*group.where, group.even) if name is not None}


def _build_group(group: DrawEntry, columns: SplitColumns, where: str) -> SamplingGroup:
    selected_N = np.ones(columns.count, dtype=np.bool_)
    selected_N[list(columns.unusable)] = False
    for name, value in group.where.items():
        column = _column(columns, name, f"{where}.where")
        wanted = value if isinstance(value, list) else [value]
        codes = [_code(column, name, one, f"{where}.where.{name}") for one in wanted]
        selected_N &= np.isin(column.codes_N, codes)
    members = np.flatnonzero(selected_N)
    if group.even is None:
        strata = [members] if len(members) else []
    else:
        codes_M = _column(columns, group.even, f"{where}.even").codes_N[members]
        strata = [members[codes_M == code] for code in np.unique(codes_M[codes_M != _MISSING])]
    if not strata:
        raise JobError(f"no sample belongs to this group: {group.where or 'every sample'}", where, "change `where`")
    return SamplingGroup(group.share, strata)


def _column(columns: SplitColumns, name: str, where: str) -> CategoricalColumn:
    if name not in columns.columns:
        what = f"there is no class target or column of meta {name!r}"
        raise JobError(what, where, _suggestion(name, columns.known_names))
    return columns.columns[name]


def _code(column: CategoricalColumn, name: str, value: Any, where: str) -> int:
    if value not in column.categories:
        raise JobError(f"no sample can have {name} {value!r}", where, _suggestion(value, column.categories))
    return column.categories.index(value)


def _suggestion(given: Any, known: Sequence[Any]) -> str:
    close = difflib.get_close_matches(str(given), [str(one) for one in known], n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f", and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"known: {', '.join(map(str, known[:_SHOWN])) or 'none'}{more}"


def _class_codes(labels_N: np.ndarray, problems: Mapping[int, str]) -> np.ndarray:
    codes_N = labels_N.astype(np.int32)
    codes_N[list(problems)] = _MISSING
    return codes_N


def _meta_column(metas: Sequence[Mapping[str, Any]], name: str) -> CategoricalColumn:
    codes: dict[Any, int] = {}
    values = (meta.get(name) for meta in metas)
    codes_N = [codes.setdefault(value, len(codes)) if _is_given(value) else _MISSING for value in values]
    return CategoricalColumn(np.array(codes_N, dtype=np.int32), tuple(codes))


def _is_given(value: Any) -> bool:
    """Whether an entry of `meta` is a value; NaN stands for a missing one, and no two are equal."""
    return isinstance(value, str | int) or (isinstance(value, float) and not math.isnan(value))


def _first(unusable: Mapping[int, str]) -> str:
    return next(iter(unusable.values()))
