"""Cancellation of Ray tasks when one of them fails."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from blear.errors import DataError
from blear.train.on_ray.tasks import call_on_worker, cancelled_on_error

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_only_tasks_that_run_or_wait_are_cancelled(
    ray_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends the driver's process if it cancels a task that is just ending: see `cancel_tasks`."""
    import ray

    def fail() -> None:  # workers cannot import this file: functions inside of functions are sent whole
        raise DataError("no label", "labels.csv", "fix the row")

    def wait_for_ever(file: Path) -> None:
        try:
            file.touch()
            while True:
                time.sleep(0.05)
        finally:
            file.unlink()

    cancelled, unfinished = [], tmp_path / "unfinished"
    cancel = ray.cancel
    monkeypatch.setattr(ray, "cancel", lambda reference: (cancelled.append(reference), cancel(reference)))
    with pytest.raises(DataError, match="no label"):
        call_on_worker(fail, name="fails")
    assert not cancelled

    running = ray.remote(wait_for_ever).remote(unfinished)
    while not unfinished.exists():
        time.sleep(0.05)
    failing = [ray.remote(max_retries=0)(fail).remote() for _ in range(3)]
    ray.wait(failing, num_returns=len(failing))
    never = ray.remote(num_cpus=100)(fail).remote()
    with pytest.raises(ray.exceptions.RayTaskError), cancelled_on_error([*failing, running, never]):
        ray.get(failing[0])
    assert cancelled == [never, running]
    assert not unfinished.exists(), "a cancelled task ends before the caller continues"
    for reference in (running, never):
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(reference)
