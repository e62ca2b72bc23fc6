"""Runs a job: prepare, train, evaluate, report. Each step resumes from the results of an earlier run."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blear.data.prepared import Prepared, share_opened
from blear.data.shared_samples import require_unseen
from blear.data.split_manifest import check_split_manifest
from blear.errors import RunError
from blear.evaluate.arms import evaluate_arms
from blear.job.arm_stages import evaluated_stages
from blear.job.reader import read_job
from blear.job.schema import Job, Search
from blear.pipeline.data_facts import DataFacts, data_facts
from blear.pipeline.dry_run import dry_run
from blear.pipeline.prepare import prepare_data
from blear.pipeline.resume import open_run
from blear.pipeline.run_info import run_info, utc_now
from blear.pipeline.runner import check_resources, ray_session, require_linux, trains_on_ray, uses_ray, with_workers
from blear.pipeline.stage_check import StageOutput
from blear.plugin.catalog import Catalog
from blear.plugin.fingerprints import component_fingerprints
from blear.progress import console, echo
from blear.storage.root import storage_root, storage_url
from blear.storage.run_folder import RunFolder
from blear.storage.run_lock import run_lock
from blear.storage.run_log import log_to_file
from blear.storage.run_mirror import mirrored, sync_current
from blear.storage.shared_run import SharedRun, call_in_run
from blear.terminal import print_markdown
from blear.train.loop import train_stage
from blear.train.on_ray.runner import train_on_ray
from blear.train.plan import StagePlan, seed_runs
from blear.train.precision import recorded_precisions
from blear.train.worker import LocalWorker, local_device

_log = logging.getLogger(__name__)


@share_opened()
def run_job(job: Job, catalog: Catalog, *, runner: str, fresh: bool, command: str, profile: str | None) -> Path:
    """Runs a job from raw data to report.

    Args:
        job: the resolved job.
        catalog: the loaded plugins.
        runner: "auto", "local" or "ray", see `uses_ray`.
        fresh: whether an earlier run of the same name is deleted; otherwise it is resumed.
        command: the command line, for run.json.
        profile: the profile that was chosen, for run.json.

    Returns:
        The path of the report; the run folder if the job has no `evaluate` section.

    Raises:
        BlearError: the job, a plugin, the data or the run folder cannot be used.
    """
    require_linux()
    local, asked = not uses_ray(runner), job
    job = with_workers(job, local=True) if local else job
    on_ray = trains_on_ray(job, runner)
    if storage_url() is not None and not local and job.search is not None:
        _require_single_trials(job, job.search)
    check_resources(job, on_ray=on_ray, local=local)
    outputs: dict[str, StageOutput] = {}
    # before the run folder is touched, and before the data is prepared, which may take hours
    notes = dry_run(job, catalog, data_facts(job, catalog)[0], distributed=on_ray, outputs=outputs)
    root = storage_root() / "runs" / job.name
    with run_lock(root), mirrored(root):
        stored = SharedRun.stored(root)
        if fresh:
            stored.delete_parts()
        else:
            stored.collect(unfinished=True)
        run = open_run(asked, root, fresh=fresh)
        log_to_file(run.root / "run.log")
        _log.info("command: %s", command)
        echo(f"run folder: {run.root}")
        began = time.monotonic()
        with ray_session(on_ray or job.search is not None, local=local):
            job = with_workers(job, local=local)
            prepared = prepare_data(job, catalog, runner=runner)
            facts = {name: DataFacts.of_prepared(Prepared.open(place)) for name, place in prepared.items()}
            notes += dry_run(job, catalog, facts, distributed=on_ray, outputs=outputs)
            for note in dict.fromkeys(notes):
                echo(note)
            check_split_manifest(job, run.root, prepared)
            require_unseen(job, prepared)
            run.update_info(**run_info(job, catalog, prepared, on_ray, command, profile))
            if job.search is not None:
                from blear.search.run import search_job

                table = search_job(job, catalog, run, prepared)
            else:
                _train(job, catalog, run, prepared, on_ray)
            if job.search is None and job.evaluate is not None:
                table = _evaluate(job, catalog, run, prepared, on_ray)
            run.update_info(finished=utc_now(), seconds=run.info.get("seconds", 0.0) + time.monotonic() - began)
            if job.evaluate is None:
                return run.root
            print_markdown(table, console)
            report = _report(run.root, on_ray or job.search is not None)
        echo(f"report: {report}")
        return report


def _require_single_trials(job: Job, search: Search) -> None:
    """Refuses searches that object storage does not support, where the nodes share no folder."""
    what = "population-based training" if search.algorithm == "pbt" else "a search whose trials have several workers"
    if search.algorithm == "pbt" or job.cluster.worker_range != (1, 1):
        do = "set BLEAR_STORAGE to such a folder (`data.NAME.shards` may be URLs), or change the job"
        raise RunError(f"{what} needs a folder that all nodes share", f"BLEAR_STORAGE={storage_url()}", do)


def _evaluate(job: Job, catalog: Catalog, run: RunFolder, prepared: dict[str, str | Path], on_ray: bool) -> str:
    """Evaluates the arms in this process, or in tasks of the connected cluster; returns the results as Markdown."""
    if not on_ray:
        return evaluate_arms(job, catalog, run, prepared, local_device("auto"))
    from blear.evaluate.on_ray.runner import evaluate_on_ray

    return evaluate_on_ray(job, catalog, run, prepared)


def _report(root: Path, on_ray: bool) -> Path:
    """Builds the report of a run in this process, or on a worker of the connected cluster."""
    if not on_ray:
        from blear.report import build  # imports matplotlib

        return build(root)
    from blear.train.on_ray.tasks import call_on_worker

    shared = SharedRun.of(root)
    sync_current()
    report = call_on_worker(_build, shared, root, name="report")
    shared.collect()
    return root / report


def _build(shared: SharedRun, root: Path) -> str:
    """Builds the report on a worker; returns its name."""
    from blear.report import build

    return call_in_run(shared, build, shared.local(root)).name


def _train(job: Job, catalog: Catalog, run: RunFolder, prepared: dict[str, str | Path], on_ray: bool) -> None:
    """Trains the stages of a job, with each of its seeds."""
    trainings = seed_runs(job, run)
    for seed, (own_job, own_run) in trainings.items():
        if len(trainings) > 1:
            echo(f"seed {seed}")
            own_job = _with_precision(own_job, [other for _, other in trainings.values()])
        _train_seed(own_job, catalog, own_run, prepared, on_ray)
    run.update_info(precision=recorded_precisions(next(iter(trainings.values()))[1], job.stages))


def _with_precision(job: Job, runs: Sequence[RunFolder]) -> Job:
    """Returns a job with the precision that another seed has recorded, so that all seeds have the same."""
    known = [precision for run in runs for precision in recorded_precisions(run, job.stages).values() if precision]
    if job.cluster.precision != "auto" or not known:
        return job
    return job.model_copy(update={"cluster": job.cluster.model_copy(update={"precision": known[0]})})


def _train_seed(job: Job, catalog: Catalog, run: RunFolder, prepared: dict[str, str | Path], on_ray: bool) -> None:
    for name in job.stages:
        if run.stage_done(name):
            echo(f"stage {name}: done by an earlier run")
            continue
        plan = StagePlan(job, name, run, prepared)
        plan = replace(plan, fingerprints=component_fingerprints(catalog, plan.components))
        if on_ray and job.stages[name].steps:
            train_on_ray(plan)
        else:
            worker = LocalWorker(local_device(job.cluster.gpu))
            with worker.catch_sigterm():
                train_stage(plan, worker)


@share_opened()
def evaluate_run(root: Path, *, on_ray: bool = False) -> str:
    """Evaluates the arms of a trained run again and rebuilds its report.

    Args:
        on_ray: in tasks of the Ray cluster of RAY_ADDRESS; without RAY_ADDRESS, of a cluster started on this machine.

    Returns:
        The results as a Markdown table.

    Raises:
        RunError: `root` is not a run folder, a stage of an arm is not trained, or the job has no `evaluate` section.
    """
    root = stored_run_folder(root)
    with mirrored(root, create=False) if root.parent == storage_root() / "runs" else contextlib.nullcontext():
        return _evaluate_run(root, on_ray)


def stored_run_folder(root: Path) -> Path:
    """Returns the absolute path of a run folder; of a run's name, where BLEAR_STORAGE is a URL, the copy's path."""
    if storage_url() is not None and not root.exists():
        return storage_root() / "runs" / root.name
    return root.resolve()  # tasks of a cluster have other working folders


def _evaluate_run(root: Path, on_ray: bool) -> str:
    run = RunFolder.open(root)
    log_to_file(run.root / "run.log")
    final = root / "final.yaml"  # of a search: the job of the best trial and of its baselines
    job, catalog = read_job(final if final.is_file() else root / "job.yaml")
    if job.evaluate is None:
        raise RunError("this job has no `evaluate` section", str(root / "job.yaml"), "add one to the job and run it")
    for _, own_run in seed_runs(job, run).values():
        for name in evaluated_stages(job.evaluate, job.stages):  # after a search, the run lacks the searched stage
            own_run.weights(name)
    with run_lock(root), ray_session(on_ray, local=on_ray and not uses_ray("auto")):
        prepared = prepare_data(job, catalog)
        check_split_manifest(job, run.root, prepared)
        table = _evaluate(job, catalog, run, prepared, on_ray)
        _report(root, on_ray)
        return table
