"""Where training metrics go beside log.jsonl: TensorBoard files, MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from blear.errors import JobError


class Tracker(Protocol):
    """Takes points of curves."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One point of each curve."""
        ...

    def close(self) -> None:
        """Everything is written."""
        ...


class TensorBoard:
    """Event files in `<stage folder>/tensorboard`; points after `start` that an interrupted run wrote are purged."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes the file."""
        self._writer.close()


class MLflow:
    """One MLflow run for each stage, continued after an interruption; the server is $MLFLOW_TRACKING_URI.

    Raises:
        JobError: MLflow is not installed, or the server refuses or does not answer.
    """

    def __init__(self, folder: Path, experiment: str, run: str, params: dict[str, Any]) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise JobError("MLflow is not installed", "trackers", "pip install 'blear[mlflow]'") from error
        try:
            self._client = MlflowClient()
            self._run = self._continued(folder / "mlflow_run_id", experiment, run, params)
        except MlflowException as error:
            what = f"MLflow refuses: {error.message.splitlines()[0]}"
            raise JobError(what, "trackers", "check MLFLOW_TRACKING_URI, or leave mlflow out") from error

    def _continued(self, kept: Path, experiment: str, run: str, params: dict[str, Any]) -> str:
        if kept.is_file():
            return kept.read_text().strip()
        found = self._client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self._client.create_experiment(experiment)
        made: str = self._client.create_run(number, run_name=run).info.run_id
        for name, value in params.items():
            self._client.log_param(made, name, value)
        kept.write_text(made)
        return made

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """Ends the MLflow run."""
        self._client.set_terminated(self._run)


def open_trackers(
    names: Sequence[str], folder: Path, start: int, experiment: str, stage: str, params: dict[str, Any]
) -> list[Tracker]:
    """The trackers of a job's `trackers`."""
    made: list[Tracker] = []
    for name in names:
        made.append(TensorBoard(folder, start) if name == "tensorboard" else MLflow(folder, experiment, stage, params))
    return made
