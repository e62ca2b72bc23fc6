"""A job from raw data to report: prepare, train, evaluate. Each step continues what an earlier run left."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from blear.data.lock import lock_splits
from blear.data.prepared import Prepared
from blear.data.preparing.describe import describe
from blear.data.preparing.prepare import prepare
from blear.errors import DataError, RunError
from blear.evaluate.arms import evaluate_arms
from blear.job import Job
from blear.jobfile import dump_job, read_job
from blear.plugins import Catalog, ComponentRef, fingerprint, load
from blear.progress import say
from blear.rehearse import rehearse
from blear.report import build
from blear.runfolder import RunFolder
from blear.storage import storage_root
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.ray_runner import train_on_ray
from blear.train.worker import LocalWorker, local_device
from blear.uses import Entry

_VERSIONS = (
    "blear",
    "torch",
    "torchvision",
    "kornia",
    "webdataset",
    "ray",
    "numpy",
    "opencv-python",
    "facenet-pytorch",
)


def run_job(job: Job, catalog: Catalog, *, runner: str, fresh: bool, command: str, profile: str | None) -> Path:
    """Runs a job to its report and returns the report's path (the run folder when the job does not evaluate)."""
    on_ray = _on_ray(runner)
    run = RunFolder.start(storage_root() / "runs" / job.name, dump_job(job), fresh=fresh)
    say(f"run folder: {run.root}")
    began = time.monotonic()
    with _ray(on_ray or job.search is not None, local=not on_ray):
        prepared = prepare_data(job, catalog, runner=runner)
        opened = {name: Prepared.open(place) for name, place in prepared.items()}
        rehearse(job, catalog, {name: (data.clip, data.targets) for name, data in opened.items()})
        lock_splits(job, run.root, prepared)
        run.update_info(**_info(job, catalog, prepared, on_ray, command, profile))
        if job.search is not None:
            from blear.search.run import search_job

            table = search_job(job, catalog, run, prepared)
        else:
            _train(job, catalog, run, prepared, on_ray)
    if job.evaluate is None:
        return run.root
    if job.search is None:
        table = evaluate_arms(job, catalog, run, prepared, local_device("auto"))
    run.update_info(finished=_now(), seconds=run.info.get("seconds", 0.0) + time.monotonic() - began)
    say(table)
    report = build(run.root)
    say(f"report: {report}")
    return report


def _train(job: Job, catalog: Catalog, run: RunFolder, prepared: dict[str, str | Path], on_ray: bool) -> None:
    for name in job.stages:
        if run.stage_done(name):
            say(f"stage {name}: done by an earlier run")
            continue
        plan = StagePlan(job, name, run, prepared)
        plan = replace(plan, prints=fingerprint(catalog, plan.components))
        if on_ray:
            train_on_ray(plan)
        else:
            worker = LocalWorker(local_device(job.cluster.gpu))
            with worker.listening():
                train_stage(plan, worker)


def evaluate_run(root: Path) -> str:
    """Tests the arms of a trained run again; returns their table as Markdown."""
    run = RunFolder.open(root)
    final = root / "final.yaml"  # of a search: the best trial and what it is compared with
    job, catalog = read_job(final if final.is_file() else root / "job.yaml")
    if job.evaluate is None:
        raise RunError("this job has no `evaluate` section", str(root / "job.yaml"), "add one to the job and run it")
    for name in job.stages:
        run.weights(name)
    prepared = prepare_data(job, catalog)
    lock_splits(job, run.root, prepared)
    table = evaluate_arms(job, catalog, run, prepared, local_device("auto"))
    build(root)
    return table


def prepare_data(
    job: Job, catalog: Catalog, *, workers: int | None = None, runner: str = "auto"
) -> dict[str, str | Path]:
    """Shards of every entry of the job's `data` that is used: name -> folder or URL of the prepared dataset."""
    folders: dict[str, str | Path] = {}
    for name, data in job.used_data.items():
        use, params = data.chosen
        if data.shards is not None:
            folders[name] = _given(data.shards, use, name)
            continue
        if data.stands_in:
            say(f"data {name}: no source given, so {use} stands in for {data.use} (--set data.{name}.source=PATH)")
        ref = ComponentRef("dataset", use, params, tuple(job.plugins))
        folders[name] = _prepared(ref, catalog, data.degrade_once, seed=job.seed, workers=workers, runner=runner)
    return folders


def _given(place: str, use: str, name: str) -> str:
    """Shards that are prepared already, if they are those of the dataset that the job names."""
    prepared = Prepared.open(place)
    if prepared.name != use:
        do = f"give shards of {use}, or set data.{name}.use to {prepared.name}"
        raise DataError(f"these shards are of {prepared.name}, the job's data.{name} is {use}", place, do)
    copied = f", copied to {prepared.folder} as they are used" if prepared.mirror else ""
    say(f"data {name}: prepared shards at {prepared.place}{copied}")
    return place


def prepare_one(name: str, params: dict[str, Any], *, workers: int | None = None) -> Path:
    """Shards of one dataset by component name."""
    return _prepared(ComponentRef("dataset", name, params), load(), seed=0, workers=workers, runner="auto")


def describe_one(name: str, params: dict[str, Any]) -> Iterator[str]:
    """What one dataset is and what was found of it, line by line."""
    return describe(load().get("dataset", name), params)


def _prepared(
    ref: ComponentRef,
    catalog: Catalog,
    degrade_once: Sequence[Entry] = (),
    *,
    seed: int,
    workers: int | None,
    runner: str,
) -> Path:
    registered = catalog.get("dataset", ref.name)
    ref = ComponentRef("dataset", registered.name, ref.params, ref.plugin_files)
    version, root, on_ray = registered.plugin.version, storage_root() / "shards", _on_ray(runner)
    with _ray(on_ray):
        done = prepare(
            ref, root, version=version, seed=seed, degrade_once=degrade_once, workers=workers, use_ray=on_ray
        )
    return done.folder


def _on_ray(runner: str) -> bool:
    """Whether to use a Ray cluster: asked for, or RAY_ADDRESS names one, as inside every Ray job."""
    return runner == "ray" or (runner == "auto" and bool(os.environ.get("RAY_ADDRESS")))


@contextlib.contextmanager
def _ray(wanted: bool, *, local: bool = False) -> Iterator[None]:
    """Ray within it, where it is wanted: the cluster that runs, or with `local` one of this process."""
    if not wanted:
        yield
        return
    import ray

    already = ray.is_initialized()
    if not already:
        ray.init(address="local" if local else None, logging_level=logging.WARNING)
    try:
        yield
    finally:
        if not already:
            ray.shutdown()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _info(
    job: Job, catalog: Catalog, prepared: dict[str, str | Path], on_ray: bool, command: str, profile: str | None
) -> dict[str, Any]:
    """What run.json says of the run beside its job."""
    names = {("dataset", data.chosen[0]) for key, data in job.data.items() if key in prepared}
    names |= {("degradation", use.use) for use in job.degradations}
    for stage in job.stages.values():
        names |= {("backbone", stage.backbone.use), ("head", stage.head.use)}
    workers = job.cluster.workers if on_ray else 1
    data = {}
    for name, folder in prepared.items():
        opened = Prepared.open(folder)
        data[name] = {
            "use": job.data[name].chosen[0],
            "for": job.data[name].use,
            "source": job.data[name].shards or job.data[name].source,
            "stand_in": job.data[name].stands_in,
            "terms": opened.terms,
            "counts": {split: opened.count(split) for split in opened.splits},
        }
    return {
        "name": job.name,
        "description": job.description,
        "started": _now(),
        "command": command,
        "profile": profile,
        "seed": job.seed,
        "runner": "ray" if on_ray else "local",
        "world": workers if isinstance(workers, int) else list(workers),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _VERSIONS},
        "host": {"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "components": fingerprint(catalog, sorted(names)),
        "data": data,
    }
