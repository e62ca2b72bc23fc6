"""Experiment trackers, which receive training metrics beside log.jsonl: TensorBoard and MLflow."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from blear.errors import JobError
from blear.progress import echo

_CLOSE_S = 30.0


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

    A thread sends the values, so that no step waits for the server. While the server cannot be reached, values are kept
    and sent later; training goes on, and log.jsonl has every value.

    Args:
        folder: the stage's folder.
        reached_before: whether an earlier stage or attempt of this run has reached the server: an error of the server
            is then an outage, not a mistake of the job.

    Raises:
        JobError: MLflow is not installed, or the server cannot be reached or refuses the request, and was never
            reached by this run.
    """

    def __init__(
        self, folder: Path, experiment: str, run: str, params: dict[str, Any], *, reached_before: bool = False
    ) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise JobError("MLflow is not installed", "trackers", "pip install 'blear[mlflow]'") from error
        self._error: type[Exception] = MlflowException
        self._client = MlflowClient()
        self._start = functools.partial(self._find_or_create, folder / "mlflow_run_id", experiment, run, params)
        self._run: str | None = None
        self._pending: deque[tuple[int, str, float]] = deque()
        self._wake, self._closed, self._warned = threading.Event(), False, False
        try:
            self._run = self._start()
        except MlflowException as error:
            if not reached_before:
                what = f"MLflow refuses: {_first_line(error)}"
                raise JobError(what, "trackers", "check MLFLOW_TRACKING_URI, or leave mlflow out") from error
            self._warn(error)
        self._thread = threading.Thread(target=self._send_all, name="blear-mlflow", daemon=True)
        self._thread.start()

    def _find_or_create(self, id_file: Path, experiment: str, run: str, params: dict[str, Any]) -> str:
        if id_file.is_file():
            return id_file.read_text().strip()
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        run_id: str = self._client.create_run(number, run_name=run).info.run_id
        for name, value in params.items():
            self._client.log_param(run_id, name, value)
        id_file.write_text(run_id)
        return run_id

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Queues the values of a step."""
        self._pending.extend((step, name, value) for name, value in values.items())
        self._wake.set()

    def close(self) -> None:
        """Sends the queued values and ends the MLflow run; gives up after a while."""
        self._closed = True
        self._wake.set()
        self._thread.join(_CLOSE_S)
        if self._pending or self._thread.is_alive():
            echo(f"MLflow did not receive {len(self._pending)} values; log.jsonl has them")

    def _send_all(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closed = self._closed
            try:
                self._run = self._run or self._start()
                while self._pending:
                    step, name, value = self._pending[0]
                    self._client.log_metric(self._run, name, value, step=step)
                    self._pending.popleft()
                if closed:
                    self._client.set_terminated(self._run)
            except (self._error, OSError) as error:
                self._warn(error)
            if closed:
                return

    def _warn(self, error: Exception) -> None:
        """Prints the first error."""
        if not self._warned:
            self._warned = True
            echo(f"MLflow cannot be reached: {_first_line(error)}; training goes on, values are sent when it can")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def open_trackers(
    names: Sequence[str], folder: Path, start: int, experiment: str, stage: str, params: dict[str, Any]
) -> list[ExperimentTracker]:
    """Opens the trackers of a job's `trackers`.

    Args:
        folder: the stage's folder, beside those of the other stages.
    """
    reached = any(folder.parent.glob("*/mlflow_run_id"))
    return [
        TensorBoard(folder, start)
        if name == "tensorboard"
        else MLflow(folder, experiment, stage, params, reached_before=reached)
        for name in names
    ]
