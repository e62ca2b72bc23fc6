"""The functions of evaluation tasks. They need no Ray: a test, or one process, calls them alike."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

import blear
from blear.errors import JobError
from blear.evaluate.arms import finish_evaluation
from blear.evaluate.blocks import Block
from blear.evaluate.evaluator import Evaluator
from blear.evaluate.frames_cache import CodedFrames
from blear.evaluate.predictions import SCHEMA, write_predictions
from blear.job.reader import dump_job
from blear.job.schema import Job
from blear.plugin.code_digest import code_digest
from blear.plugin.discovery import load_plugins
from blear.plugin.fingerprints import check_fingerprints
from blear.storage.durable import durable_file
from blear.storage.run_folder import RunFolder
from blear.storage.shared_run import SharedRun, call_in_run
from blear.train.worker import local_device


@dataclass(frozen=True)
class EvaluationPlan:
    """What the tasks of an evaluation need. It can be pickled.

    Attributes:
        job: the resolved job.
        run: the run folder, on storage that every node can access.
        prepared: name of the data in the job -> folder or URL of the prepared dataset.
        fingerprints: (slot, name) of each component -> its fingerprint where the job was started.
        shared: the run, where the nodes share no folder.
        key: name of `folder`, set by the driver.
    """

    job: Job
    run: RunFolder
    prepared: Mapping[str, str | Path]
    fingerprints: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    shared: SharedRun = field(default_factory=SharedRun)
    key: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the blocks. Its name changes with the job, the code and the weights of the stages."""
        digest = hashlib.sha256(f"{blear.__version__} {code_digest()}\n{dump_job(self.job)}\n".encode())
        digest.update(repr(sorted((name, sorted(each.items())) for name, each in self.fingerprints.items())).encode())
        for path in sorted(self.run.root.glob("**/stages/*/stage.json")):
            digest.update(path.read_bytes())
        for name, place in sorted(self.prepared.items()):
            digest.update(f"{name} {place}\n".encode())
        return self.run.root / "evaluation" / digest.hexdigest()[:16]


@dataclass(frozen=True)
class BlockResult:
    """One finished block.

    Attributes:
        path: its Arrow file.
        host: the machine that computed it.
        seconds: time of the computation.
    """

    path: Path
    host: str
    seconds: float


_opened: dict[tuple[Path, str], Evaluator] = {}
"""The evaluator of this process: tasks of one evaluation share opened data and loaded models."""


def open_evaluator(plan: EvaluationPlan) -> Evaluator:
    """Returns the evaluator of a plan in this process.

    Raises:
        PluginError: a component differs from the one where the job was started.
    """
    root = plan.shared.local(plan.run.root)
    key = root, plan.key or plan.folder.name
    if key not in _opened:
        plan.shared.pull()
        _opened.clear()
        if plan.job.evaluate is None:
            raise JobError("this job has no `evaluate` section")
        catalog = load_plugins(tuple(plan.job.plugins))
        for component, expected in plan.fingerprints.items():
            check_fingerprints(expected, catalog, [component], f"node {socket.gethostname()}")
        device = local_device("auto")
        _opened[key] = Evaluator(plan.job, plan.job.evaluate, catalog, RunFolder(root), plan.prepared, device)
    return _opened[key]


def evaluate_block(
    plan: EvaluationPlan, block: Block, path: Path, coded: Sequence[CodedFrames] | None = None
) -> BlockResult:
    """Writes the predictions of a block to an Arrow file, one record batch for each batch and target."""
    started, path = time.monotonic(), plan.shared.local(path)
    write_block(path, open_evaluator(plan).predict(block, coded))
    plan.shared.put(path)
    return BlockResult(path, _host(), time.monotonic() - started)


def _host() -> str:
    """The name of this machine; in a task with the node's id, because a machine may have several nodes."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return socket.gethostname()
    return f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:8]})"


def code_block(plan: EvaluationPlan, block: Block) -> list[CodedFrames]:
    """Returns the degraded frames of a block, computed by a codec on the CPU."""
    return open_evaluator(plan).code(block)


def finish_blocks(plan: EvaluationPlan, files: Mapping[str, Sequence[Path]], placement: Mapping[str, object]) -> str:
    """Joins the blocks to the tables of the run, and writes the summary; returns it as Markdown.

    Args:
        files: name of a table of the run -> files of its blocks, in order.
        placement: where the blocks were computed, for run.json.
    """
    return call_in_run(plan.shared, _finish, plan, files, placement)


def _finish(plan: EvaluationPlan, files: Mapping[str, Sequence[Path]], placement: Mapping[str, object]) -> str:
    evaluator, run = open_evaluator(plan), RunFolder(plan.shared.local(plan.run.root))
    for name, paths in files.items():
        here = [plan.shared.local(path) for path in paths]
        for path in here:
            plan.shared.get(path)
        write_predictions(run.root / name, read_blocks(here))
    first = next(iter(evaluator.trainings))
    evaluator.metrics = {}  # this process may have evaluated blocks, in any order
    for block in evaluator.validation_blocks(evaluator.evaluate.split):  # one batch of each stage: its metrics
        if block.seed == first:
            for _ in evaluator.predict(replace(block, batches=range(1))):
                pass
    run.update_info(evaluation=dict(placement))
    return finish_evaluation(evaluator, evaluator.evaluate, run)


def write_block(path: Path, tables: Iterable[pa.Table]) -> None:
    """Writes tables to one Arrow file, atomically; the metadata are those of the first table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.partial")
    schema, writer = SCHEMA, None
    with durable_file(path, partial), pa.OSFile(str(partial), "wb") as sink:
        for table in tables:
            if writer is None:
                schema = SCHEMA.with_metadata(table.schema.metadata)
                writer = pa.ipc.new_file(sink, schema)
            writer.write_table(table.replace_schema_metadata(schema.metadata).combine_chunks())
        writer = writer or pa.ipc.new_file(sink, schema)
        writer.close()


def read_blocks(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Yields the tables of block files, one for each batch and target."""
    for path in paths:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])
