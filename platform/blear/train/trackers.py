"""Experiment trackers, which receive training metrics beside log.jsonl: TensorBoard and MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from blear.errors import JobError


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

    Raises:
        JobError: MLflow is not installed, or the server cannot be reached or refuses the request.
    """

    def __init__(self, folder: Path, experiment: str, run: str, params: dict[str, Any]) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise JobError("MLflow is not installed", "trackers", "pip install 'blear[mlflow]'") from error
        try:
            self._client = MlflowClient()
            self._run = self._find_or_create(folder / "mlflow_run_id", experiment, run, params)
        except MlflowException as error:
            what = f"MLflow refuses: {error.message.splitlines()[0]}"
            raise JobError(what, "trackers", "check MLFLOW_TRACKING_URI, or leave mlflow out") from error

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
        """Logs the values of a step."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """Ends the MLflow run."""
        self._client.set_terminated(self._run)


def open_trackers(
    names: Sequence[str], folder: Path, start: int, experiment: str, stage: str, params: dict[str, Any]
) -> list[ExperimentTracker]:
    """Opens the trackers of a job's `trackers`."""
    return [
        TensorBoard(folder, start) if name == "tensorboard" else MLflow(folder, experiment, stage, params)
        for name in names
    ]
