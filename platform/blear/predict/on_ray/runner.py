"""Predicts many inputs with Ray Data: actors with the model loaded; this process writes what they return."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from blear.errors import DataError, RunError
from blear.plugin.code_digest import code_digest
from blear.predict.inputs import Input
from blear.predict.journal import Journal
from blear.predict.on_ray.actor import InputPredictor, describe_model, to_row
from blear.predict.on_ray.groups import group_inputs
from blear.predict.on_ray.worker_options import options_for_workers
from blear.predict.one_input import file_version
from blear.predict.options import EVERY, PredictOptions, PredictSummary, clip_decisions
from blear.predict.output import check_suffix
from blear.predict.run import unchecked_note, write_results
from blear.progress import duration, echo, track
from blear.train.on_ray.cluster_status import autoscaler_config_file, read_autoscaler_limits
from blear.train.on_ray.tasks import cancelled_on_error, fits_on_a_node, remote_task, task_errors

WAIT_S = 3600.0
"""Seconds for which the command waits for the first node with the resources of a worker."""
_DEATHS = 4  # of a worker process; the unfinished inputs are then predicted after all others
_BLOCKS = 20_000  # tasks of one dataset
_POLL_S = 5.0


def predict_on_ray(inputs: Sequence[Input], options: PredictOptions) -> PredictSummary:
    """Predicts inputs on the connected cluster; the output is that of `predict_inputs`, in the same order.

    A worker predicts a group of inputs (see `group_inputs`) and returns their records, which this process appends to
    the journal beside the output. A worker that dies is started again, on another node if its own is gone, with the
    group that it had. Inputs of a group whose worker died each time are predicted again, one in a group.

    Raises:
        BlearError: the model or an option cannot be used.
        RunError: no node came within `WAIT_S`, or the output cannot be written.
    """
    _check(inputs, options)
    out = options.out
    check_suffix(out)
    gpus = 1.0 if options.device != "cpu" and _most("GPU") else 0.0
    own, every = options_for_workers(options, gpus), options.every or EVERY
    settings, targets, labels = _describe(own, every, gpus)
    settings["model"]["given"] = options.model
    settings["locator"] = " ".join([settings["locator"].split(" ")[0], *options.locator_params])  # as it was given
    decisions, hosts = clip_decisions(options, inputs, targets[0], labels), Counter[str]()
    versions = {source.name: file_version(source) for source in inputs}
    with Journal(out, settings, versions, versions) as journal:
        if journal.finished:
            echo(f"{out}: continues after {len(journal.finished)} finished inputs")
        todo = [source for source in inputs if source.name not in journal.finished]
        most = options.workers or max(1, _most("GPU" if gpus else "CPU"))
        with track("predict", len(inputs), len(inputs) - len(todo)) as bar:
            groups = group_inputs(todo, most)
            while todo:
                for row in _predict(groups, own, every, gpus, most):
                    journal.append_lines(row["records"])
                    journal.finish_input(row["name"], json.loads(row["facts"]))
                    hosts[row["host"]] += 1
                    bar.advance(1, Path(row["name"]).name)
                before, todo = todo, [source for source in todo if source.name not in journal.finished]
                if len(todo) == len(before) == len(groups):  # none of the single inputs was finished
                    break
                groups = [[source] for source in todo]
        for source in todo:
            what = "the worker process died each time that it predicted this input"
            journal.finish_input(source.name, {"frames": 0, "faces": 0, "error": what})
        finished = {source.name: journal.finished[source.name] for source in inputs}
        write_results(journal, inputs, out, settings, targets, labels, decisions, hosts=dict(hosts))
    broken = [name for name, facts in finished.items() if "error" in facts]
    lines = [f"{name}: {finished[name]['error'].splitlines()[0]}" for name in broken]
    faces, frames = (sum(facts[kind] for facts in finished.values()) for kind in ("faces", "frames"))
    unchecked = unchecked_note(sum(facts.get("not_decoded", 0) for facts in finished.values()))
    lines.append(
        f"{len(finished) - len(broken)} of {len(finished)} inputs: {faces} faces in {frames} frames{unchecked}"
    )
    return PredictSummary(lines, broken, [out])


def _check(inputs: Sequence[Input], options: PredictOptions) -> None:
    """Refuses what is for one video.

    Raises:
        DataError: an input is a stream, or an option is for one video.
        RunError: the device is unknown.
    """
    if options.device not in ("auto", "cpu", "cuda"):
        raise RunError(f"there is no device {options.device!r}", "--device", "give cpu, cuda or auto")
    for source in inputs:
        if source.address is not None:
            raise DataError("a stream is predicted by one process", source.name, "leave --cluster out")
    for name in ("boxes", "tracks", "annotate", "plot"):
        if getattr(options, name) is not None:
            raise DataError("is for one video in one process", f"--{name}", "leave it or --cluster out")


def _most(resource: str) -> int:
    """The amount of a resource that the cluster has, or may have with the nodes that the autoscaler may add."""
    import ray

    now = int(ray.cluster_resources().get(resource, 0))
    limits = read_autoscaler_limits(autoscaler_config_file())
    if limits is None:
        return now
    nodes = sorted(int(kind.resources.get(resource, 0)) for kind in limits.types for _ in range(kind.limit))
    return max(now, sum(nodes[::-1][: limits.workers]))


def _describe(options: PredictOptions, every: int, gpus: float) -> Any:
    """Calls `describe_model` on a worker, with the resources of an actor; waits for a node that has them.

    Raises:
        RunError: no such node came within `WAIT_S`.
    """
    import ray

    needs = "1 CPU, 1 GPU" if gpus else "1 CPU"
    task = remote_task(describe_model, name="describe model", cpus=1.0, gpus=gpus, retries=3)
    since, announced = time.monotonic(), False
    with task_errors("predict"):
        reference = task(options, every)
        with cancelled_on_error([reference]):
            importlib.import_module("ray.data")  # takes seconds, in which the worker starts
            while not ray.wait([reference], timeout=_POLL_S)[0]:
                if fits_on_a_node(1.0, gpus):
                    continue
                if not announced:
                    announced = True
                    echo(f"predict: waiting for a node with {needs}")
                if time.monotonic() - since > WAIT_S:
                    what = f"no node with {needs} within {duration(WAIT_S)}"
                    raise RunError(what, "predict", "add nodes, or give --device cpu; the same command continues")
            return ray.get(reference)


def _predict(
    groups: Sequence[Sequence[Input]], options: PredictOptions, every: int, gpus: float, most: int
) -> Iterator[dict[str, Any]]:
    """Yields the rows of `InputPredictor` as groups are finished, without those whose worker died `_DEATHS` times."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # restarts and retries are expected; the result counts
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1
    most = min(most, len(groups))
    dataset = ray.data.from_items(
        [to_row(group) for group in groups], override_num_blocks=min(len(groups), _BLOCKS)
    ).flat_map(
        InputPredictor,
        fn_constructor_args=(options, every, code_digest()),
        # one task at a time: the death of a worker counts for the group that it had, and for no other one
        compute=ActorPoolStrategy(min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=gpus,
        max_task_retries=_DEATHS - 1,
    )
    with task_errors("predict"), contextlib.closing(iter(dataset.iter_rows())) as rows:  # type: ignore[type-var]
        yield from rows
