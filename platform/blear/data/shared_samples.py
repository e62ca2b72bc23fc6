"""Refuses a run that reports on samples on which an evaluated stage is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.errors import DataError
from blear.job.leakage import evaluated_lineage
from blear.job.schema import Job

_MOST_SAMPLES = 4_000_000  # whose keys are compared


def require_unseen(job: Job, prepared: Mapping[str, str | Path]) -> None:
    """Compares the reported split with the training splits of evaluated stages that have another entry of `data`.

    Entries of the same component and the same `source` may divide it differently: folds, shares. Their samples have
    the same keys.

    Args:
        job: the job of the run.
        prepared: name of the data in the job -> folder or URL of its shards.

    Raises:
        DataError: a stage is trained on samples of the reported split.
    """
    if job.evaluate is None or job.evaluate.data is None:
        return
    reported = job.evaluate.data
    trained = {(job.stages[name].data, job.stages[name].split): name for name in evaluated_lineage(job)}
    others = {
        place: name for place, name in trained.items() if place[0] != reported and _same_source(job, place[0], reported)
    }
    tested = _keys(prepared[reported], job.evaluate.split) if others else set()
    for (data, split), name in others.items():
        if shared := len(tested & _keys(prepared[data], split)):
            what = f"stage {name!r} is trained on {shared} of the {len(tested)} samples that `evaluate` reports on"
            do = "divide both in the same way; each fold of a cross-validation is a run of its own"
            raise DataError(what, f"data.{data}, data.{reported}", do)


def _same_source(job: Job, first: str, second: str) -> bool:
    (use, params), (other_use, other_params) = job.data[first].chosen, job.data[second].chosen
    source = params.get("source")
    return use == other_use and source is not None and source == other_params.get("source")


def _keys(place: str | Path, split: str | None) -> set[str]:
    """Keys of the samples of a split; none of shards at a URL, which would have to be fetched, and of very many."""
    prepared = Prepared.open(place)
    split = split or prepared.splits[0]
    if prepared.mirror is not None or split not in prepared.splits or prepared.count(split) > _MOST_SAMPLES:
        return set()
    store = Store.open(prepared, split, cache_gb=0)
    keys = set(store.keys(np.arange(len(store))))
    store.close()
    return keys
