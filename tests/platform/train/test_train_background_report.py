"""Reports to Ray Train in a background thread, and the end of a stage that waits too long; no Ray cluster."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from blear.train.on_ray import callback
from blear.train.on_ray.background_report import BackgroundReport
from blear.train.on_ray.callback import StageCallback, WaitedTooLong


def test_steps_do_not_wait_for_a_report_of_two_seconds() -> None:
    """100 checkpoints while a report is blocked: the loop waits for none of them; the newest values are sent next."""
    sent, release = [], threading.Event()

    def blocked(values: dict[str, int]) -> None:
        sent.append(values["step"])
        release.wait(10)

    report = BackgroundReport(blocked, every_s=0.0)
    started = time.perf_counter()
    for step in range(100):
        report.update({"step": step})
        if report.ready:
            report.start()
    assert time.perf_counter() - started < 5  # a waiting loop takes ten seconds
    release.set()
    report.close()
    assert report.ready
    report.start()
    report.close()
    assert sent == [0, 99]
    assert not report.ready, "nothing new"


def test_reports_are_rare_and_an_error_of_ray_ends_nothing() -> None:
    def broken(values: dict[str, int]) -> None:
        raise RuntimeError("the barrier was reset")

    report = BackgroundReport(broken, every_s=60.0)
    report.update({"step": 1})
    assert not report.ready
    report.start()
    report.close()


def test_a_stage_ends_after_wait_s_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(callback.time, "monotonic", lambda: now[0])
    waiting = SimpleNamespace(is_terminal=lambda: False)
    stage = StageCallback("joint", tmp_path, 3600)

    def update(seconds: float) -> None:
        now[0] = seconds
        stage.after_controller_state_update(waiting, waiting)

    for seconds in (1.0, 60.0, 3600.0):
        update(seconds)
    stage.after_worker_group_training_start([object()])  # workers come, and are lost later
    update(9000.0)
    stage.before_worker_group_shutdown([])
    update(10_000.0)
    with pytest.raises(WaitedTooLong, match=r"gave up after 1 h 0 min \(cluster.wait_s\)") as caught:
        update(13_601.0)
    assert "cluster.gpu=false" in caught.value.do
