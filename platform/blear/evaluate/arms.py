"""Evaluates the arms of a job: writes the predictions table, the sample faces and the summary of a run."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc
import torch

from blear.errors import JobError
from blear.evaluate.arm_macs import arm_macs
from blear.evaluate.evaluator import Evaluator
from blear.evaluate.markdown import summary_markdown
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import read_predictions, write_predictions
from blear.evaluate.sample_faces import write_faces
from blear.evaluate.statistics.temperature import Temperatures, fit_temperatures
from blear.evaluate.summarise import SummaryOptions, summarise_targets
from blear.evaluate.summary import Summary
from blear.job.leakage import selected_on_reported_split
from blear.job.schema import Evaluate, Job
from blear.plugin.catalog import Catalog
from blear.progress import track
from blear.storage.run_folder import RunFolder, write_text


def evaluate_arms(
    job: Job, catalog: Catalog, run: RunFolder, prepared: Mapping[str, str | Path], device: torch.device
) -> str:
    """Evaluates every arm at every level of the sweep.

    Writes predictions.parquet, faces.npz and summary.json to the run folder, and validation.parquet where temperatures
    are fitted. Adds the arms, the headline metric and the sweeps to run.json.

    Args:
        prepared: name of the data in the job -> folder or URL of the prepared dataset.

    Returns:
        The summary as Markdown.

    Raises:
        JobError: the job has no `evaluate` section, or an arm has no stage at any level.
    """
    evaluate = job.evaluate
    if evaluate is None:
        raise JobError("this job has no `evaluate` section")
    evaluator = Evaluator(job, evaluate, catalog, run, prepared, device)
    evaluator.require_levels()
    _write_tables(evaluator, evaluate, run)
    run.update_info(evaluation={"runner": "local", "hosts": {socket.gethostname(): len(evaluator.blocks())}})
    return finish_evaluation(evaluator, evaluate, run)


def finish_evaluation(evaluator: Evaluator, evaluate: Evaluate, run: RunFolder) -> str:
    """Writes faces.npz and summary.json, and completes run.json, from the tables of predictions.

    Args:
        evaluator: after all stages were evaluated, so that it has their metrics.

    Returns:
        The summary as Markdown.
    """
    target, metrics = next(iter(evaluator.metrics.items()))
    selected_on_test = selected_on_reported_split(evaluator.job)
    arms = {label: {"stage": arm.stage, "clean": arm.clean, "note": arm.note} for label, arm in evaluate.arms.items()}
    run.update_info(
        arms=arms,
        headline={
            "target": target,
            "metric": metrics[0].name,
            "label": metrics[0].label,
            "higher_is_better": metrics[0].higher_is_better,
        },
        split=evaluate.split,
        cluster=evaluate.cluster,
        seen_in_selection=selected_on_test,
        sweeps=evaluator.sweeps(),
    )
    summary = _summarise(evaluator, evaluate, run)
    if summary.rates:
        run.update_info(
            arms={label: facts | {"macs": arm_macs(evaluator, evaluate.arms[label])} for label, facts in arms.items()}
        )
    write_text(run.root / "summary.json", summary.model_dump_json(indent=1))
    note = ""
    if selected_on_test:
        stages = ", ".join(selected_on_test)
        note = f"\n\nThe weights of {stages} were selected on {evaluate.split}, so its results are optimistic."
    return summary_markdown(summary) + note


def _write_tables(evaluator: Evaluator, evaluate: Evaluate, run: RunFolder) -> None:
    """Runs all models; writes predictions.parquet and, where temperatures are fitted, validation.parquet."""
    arms = evaluate.arms.values()
    passes = sum(1 for arm in arms for level in evaluator.levels if evaluator.stage_of(arm, level))
    passes *= len(evaluator.trainings)
    with track("evaluate", passes) as bar:
        write_predictions(run.root / "predictions.parquet", evaluator.tables(bar))
        if evaluate.temperature is not None:
            write_predictions(run.root / "validation.parquet", evaluator.validation(evaluate.temperature))


def _summarise(evaluator: Evaluator, evaluate: Evaluate, run: RunFolder) -> Summary:
    """Writes faces.npz and computes the summary, both from the predictions table."""
    table = read_predictions(run.root / "predictions.parquet")
    pool = evaluate.pooling
    targets = list(evaluator.metrics)
    of_targets = [table.filter(pc.field("target") == target) for target in targets]
    write_faces(
        run.root / "faces.npz",
        evaluator.store,
        evaluator.levels,
        evaluator.chain,
        evaluator.device,
        count=evaluate.faces,
        decisions=[rows if pool is None else pool_predictions(rows, pool.by, pool.score) for rows in of_targets],
    )
    validation = read_predictions(run.root / "validation.parquet") if evaluate.temperature else None
    options = {}
    for number, target in enumerate(targets):
        temperatures: Temperatures = {}
        if validation is not None:
            temperatures = fit_temperatures(validation.filter(pc.field("target") == target), pool)
        options[target] = SummaryOptions.of(evaluate, temperatures, target, first=number == 0)
    return summarise_targets(
        table,
        evaluator.metrics,
        reference=next(iter(evaluate.arms)),
        seed=evaluator.job.seed,
        resamples=evaluate.resamples,
        pool=pool,
        cluster=evaluate.cluster,
        options=options,
    )
