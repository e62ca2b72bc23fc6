"""Prepares the shards of a job's data, or of one dataset by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from blear.data.prepare.description import describe_dataset
from blear.data.prepare.run import prepare_dataset, prepared_name
from blear.data.prepared import Prepared
from blear.errors import DataError
from blear.job.schema import Job
from blear.pipeline.runner import ray_session, require_linux, uses_ray
from blear.plugin.catalog import Catalog
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry
from blear.progress import echo
from blear.storage.root import storage_root, storage_url
from blear.storage.stored_shards import store_shards, stored_shards


def prepare_data(
    job: Job, catalog: Catalog, *, workers: int | None = None, runner: str = "auto"
) -> dict[str, str | Path]:
    """Prepares every entry of the job's `data` that a stage or the evaluation uses.

    Args:
        job: the resolved job.
        catalog: the loaded plugins.
        workers: processes or Ray tasks; None: one for each core.
        runner: "auto", "local" or "ray", see `uses_ray`.

    Returns:
        name of data -> folder or URL of its prepared shards.

    Raises:
        DataError: raw data or given shards cannot be used.
    """
    require_linux()
    folders: dict[str, str | Path] = {}
    for name, data in job.used_data.items():
        use, params = data.chosen
        if data.shards is not None:
            folders[name] = _given(data.shards, use, name)
            continue
        if data.uses_fallback:
            echo(data.fallback_note(name))
        ref = ComponentRef("dataset", use, params, tuple(job.plugins))
        folders[name] = _prepared(ref, catalog, data.degrade_once, seed=job.seed, workers=workers, runner=runner)
    return folders


def _given(place: str, use: str, name: str) -> str:
    """Returns the place of given shards, after checking that they are of the dataset that the job names."""
    prepared = Prepared.open(place)
    if prepared.name != use:
        do = f"give shards of {use}, or set data.{name}.use to {prepared.name}"
        raise DataError(f"these shards are of {prepared.name}, the job's data.{name} is {use}", place, do)
    copied = f", copied to {prepared.folder} as they are used" if prepared.mirror else ""
    echo(f"data {name}: prepared shards at {prepared.place}{copied}")
    return place


def prepare_one(name: str, params: dict[str, Any], *, workers: int | None = None) -> str | Path:
    """Prepares one dataset by component name; returns the folder or the URL of its shards."""
    require_linux()
    return _prepared(ComponentRef("dataset", name, params), load_plugins(), seed=0, workers=workers, runner="auto")


def describe_one(name: str, params: dict[str, Any]) -> Iterator[str]:
    """Iterates over the lines that describe one dataset and its raw data."""
    return describe_dataset(load_plugins().get("dataset", name), params)


def _prepared(
    ref: ComponentRef,
    catalog: Catalog,
    degrade_once: Sequence[DegradationEntry] = (),
    *,
    seed: int,
    workers: int | None,
    runner: str,
) -> str | Path:
    registered = catalog.get("dataset", ref.name)
    ref = ComponentRef("dataset", registered.name, ref.params, ref.plugin_files)
    version, root, on_ray = registered.plugin.version, storage_root() / "shards", uses_ray(runner)
    name = prepared_name(ref, version=version, seed=seed, degrade_once=degrade_once)
    if not (root / name / "dataset.json").is_file() and (stored := stored_shards(name)) is not None:
        echo(f"prepared shards at {stored}, copied to this machine as they are used")
        return stored
    with ray_session(on_ray):
        if on_ray and storage_url() is not None:  # the nodes share no folder: one of them writes all parts
            from blear.train.on_ray.tasks import call_on_worker

            options = {"version": version, "seed": seed, "degrade_once": degrade_once}
            return call_on_worker(_prepare_and_store, ref, options, name=f"prepare {name}")
        done = prepare_dataset(
            ref, root, version=version, seed=seed, degrade_once=degrade_once, workers=workers, use_ray=on_ray
        )
    store_shards(done.folder)
    return done.folder


def _prepare_and_store(ref: ComponentRef, options: dict[str, Any]) -> str:
    """Prepares a dataset with all cores of this node and uploads it; returns its URL."""
    done = prepare_dataset(ref, storage_root() / "shards", workers=None, use_ray=False, **options)
    store_shards(done.folder)
    return f"{storage_url()}/shards/{done.folder.name}"
