"""Experiment trackers, which receive training metrics beside log.jsonl: TensorBoard and MLflow."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from blear.errors import JobError, first_line
from blear.progress import echo

_CLOSE_S, _RETRY_S = 10.0, 5.0
_MAX_PENDING, _BATCH = 100_000, 500


class ExperimentTracker(Protocol):
    """Receives metrics while a stage trains."""

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Logs the values of a step."""
        ...

    def close(self) -> None:
        """Writes pending values and closes the tracker."""
        ...


class TensorBoard:
    """Event files in `<stage folder>/tensorboard`; values of an interrupted run after step `start` are purged."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Logs the values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes the file."""
        self._writer.close()


class MLflow:
    """One MLflow run for each stage, continued after an interruption; the server is $MLFLOW_TRACKING_URI.

    A thread sends the values, so that no step waits for the server. While the server cannot be reached, the newest
    100,000 values are kept and sent later; training continues, and log.jsonl has every value. A request is repeated
    once and waits 20 s at most, unless $MLFLOW_HTTP_REQUEST_MAX_RETRIES and $MLFLOW_HTTP_REQUEST_TIMEOUT are set.

    Args:
        folder: the stage's folder.
        reached_before: whether an earlier stage or attempt of this run has reached the server. An error of the server
            is then an outage, not a mistake of the job, and the constructor does not wait for the server.

    Raises:
        JobError: MLflow is not installed, or the server, which this run has never reached, cannot be reached or
            refuses the request.
    """

    def __init__(
        self, folder: Path, experiment: str, run: str, params: dict[str, Any], *, reached_before: bool = False
    ) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise JobError("MLflow is not installed", "trackers", "pip install 'blear[mlflow]'") from error
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        self._id_file, self._experiment, self._name = folder / "mlflow_run_id", experiment, run
        self._run = self._id_file.read_text().strip() if self._id_file.is_file() else None
        self._params = params if self._run is None else {}
        self._pending: deque[tuple[int, str, float, int]] = deque()
        self._lost, self._warned = 0, False
        self._lock, self._wake, self._closing = threading.Lock(), threading.Event(), threading.Event()
        self._make_client: Any = MlflowClient
        self._client: Any = None
        if not reached_before:
            try:
                self._open_run()
            except MlflowException as error:
                what = f"MLflow refuses: {first_line(error)}"
                raise JobError(what, "trackers", "check MLFLOW_TRACKING_URI, or leave mlflow out") from error
        self._thread = threading.Thread(target=self._run_sender, name="blear-mlflow", daemon=True)
        self._thread.start()

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Queues the values of a step. If the queue is full, the oldest values are dropped and counted."""
        now = int(time.time() * 1000)
        with self._lock:
            self._pending.extend((step, name, value, now) for name, value in values.items())
            while len(self._pending) > _MAX_PENDING:
                self._pending.popleft()
                self._lost += 1
        self._wake.set()

    def close(self) -> None:
        """Sends the queued values and ends the MLflow run; gives up after 10 s, and prints how many are lost."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE_S)
        lost = self._lost + len(self._pending)
        if lost:
            echo(f"MLflow did not receive {lost} values of stage {self._name}; log.jsonl has them")

    def _run_sender(self) -> None:
        """Sends until the tracker is closed; tries again after an error."""
        failed = False
        while True:
            self._wake.wait(_RETRY_S if failed else None)
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                self._open_run()
                self._send_metrics()
                if closing:
                    self._client.set_terminated(self._run)
                failed = False
            except Exception as error:  # noqa: BLE001 (no error of the server or of MLflow may end this thread)
                failed = True
                self._warn(error)
            if closing:
                return

    def _open_run(self) -> None:
        """Opens the client, creates the MLflow run if there is none, and sends its parameters."""
        from mlflow.entities import Param

        self._client = self._client or self._make_client()
        if self._run is None:
            known = self._client.get_experiment_by_name(self._experiment)
            number = known.experiment_id if known else self._client.create_experiment(self._experiment)
            self._run = self._client.create_run(number, run_name=self._name).info.run_id
            self._id_file.write_text(self._run)
        if self._params:
            self._client.log_batch(self._run, params=[Param(name, str(value)) for name, value in self._params.items()])
            self._params = {}

    def _send_metrics(self) -> None:
        """Sends the queued values; what was not received stays in the queue."""
        from mlflow.entities import Metric

        while True:
            with self._lock:
                batch = list(itertools.islice(self._pending, _BATCH))
            if not batch:
                return
            metrics = [Metric(name, value, now, step) for step, name, value, now in batch]
            self._client.log_batch(self._run, metrics=metrics)
            with self._lock:  # the queue may have dropped some of them
                sent = set(map(id, batch))
                while self._pending and id(self._pending[0]) in sent:
                    self._pending.popleft()

    def _warn(self, error: Exception) -> None:
        """Prints the first error."""
        if not self._warned:
            self._warned = True
            echo(f"MLflow cannot be reached: {first_line(error)}; training continues, values are sent later")


def open_trackers(
    names: Sequence[str], folder: Path, start: int, experiment: str, stage: str, params: dict[str, Any]
) -> list[ExperimentTracker]:
    """Opens the trackers of a job's `trackers`.

    Args:
        folder: the stage's folder, beside those of the other stages.
        start: the step at which the run resumes.
        experiment: name of MLflow's experiment.
        stage: name of the stage.
        params: parameters of the stage for MLflow.
    """
    reached = any(folder.parent.glob("*/mlflow_run_id"))
    return [
        TensorBoard(folder, start)
        if name == "tensorboard"
        else MLflow(folder, experiment, stage, params, reached_before=reached)
        for name in names
    ]
