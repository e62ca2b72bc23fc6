"""Where a job trains: `cluster.workers` and `cluster.gpu` are followed without a running cluster, or refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from blear.errors import JobError, RunError
from blear.job.reader import read_job
from blear.pipeline.runner import _default_variables, check_resources, ray_session, trains_on_ray, with_workers
from blear.storage import transient
from ports import free_port


def vlqr(repository: Path, *overrides: str):
    return read_job(repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=overrides)[0]


def test_several_workers_train_on_ray_also_without_an_address(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one, two = vlqr(repository), vlqr(repository, "cluster.workers=[1, 2]")
    assert [trains_on_ray(one, runner) for runner in ("auto", "local", "ray")] == [False, False, True]
    assert [trains_on_ray(two, runner) for runner in ("auto", "local", "ray")] == [True, False, True]


def test_auto_workers_take_every_gpu_of_this_machine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    job = vlqr(repository, "cluster.workers=auto")
    for gpus, workers in ((0, 1), (1, 1), (8, 8)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        resolved = with_workers(job, local=True)
        assert (resolved.cluster.workers, trains_on_ray(resolved, "auto")) == (workers, workers > 1)
    without = vlqr(repository, "cluster.workers=auto", "cluster.gpu=false")
    assert with_workers(without, local=True).cluster.workers == 1
    assert with_workers(vlqr(repository, "cluster.workers=3"), local=True).cluster.workers == 3


def test_auto_workers_of_a_cluster_include_those_of_its_autoscaler(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    monkeypatch.setenv("BLEAR_AUTOSCALING_CONFIG", "/nowhere.yaml")
    job = vlqr(repository, "cluster.workers=auto")
    assert with_workers(job, local=False).cluster.worker_range == (2, 2)
    monkeypatch.setenv("BLEAR_AUTOSCALING_CONFIG", str(repository / "cluster.yaml"))
    assert with_workers(job, local=False).cluster.worker_range == (1, 8)


def test_more_workers_than_this_machine_has_cpus_are_refused(repository: Path) -> None:
    many = vlqr(repository, "cluster.workers=[5000, 6000]", "cluster.cpus_per_worker=2")
    with pytest.raises(JobError, match=r"cluster\.workers: 5000 workers need 10000 CPUs, this machine has "):
        check_resources(many, on_ray=True, local=True)
    check_resources(many, on_ray=True, local=False)  # a cluster may grow


def test_one_worker_instead_of_several_is_said(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_resources(vlqr(repository, "cluster.workers=2"), on_ray=False, local=True)
    assert "cluster.workers is not used" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_known_before_the_data_is_prepared(repository: Path) -> None:
    with pytest.raises(JobError, match=r"cluster\.gpu: it is true, but torch finds no GPU here"):
        check_resources(vlqr(repository, "cluster.gpu=true"), on_ray=True, local=True)


def test_settings_of_an_own_cluster_end_with_it_and_those_of_the_user_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_OF_THE_USER", "1")
    monkeypatch.delenv("RAY_OF_BLEAR", raising=False)
    with _default_variables({"RAY_OF_THE_USER": "0", "RAY_OF_BLEAR": "0"}):
        assert [os.environ[name] for name in ("RAY_OF_THE_USER", "RAY_OF_BLEAR")] == ["1", "0"]
    assert os.environ["RAY_OF_THE_USER"] == "1"
    assert "RAY_OF_BLEAR" not in os.environ


@pytest.mark.parametrize("auto", [False, True])
def test_a_head_that_does_not_answer_is_named(
    auto: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RAY_ADDRESS=auto is the cluster that was last started on this machine."""
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(address)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "auto" if auto else address)
    monkeypatch.setattr(transient, "TRANSIENT_S", 0.1)
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # whatever other tests have started
    with pytest.raises(RunError, match=f"{address}: the head of the Ray cluster does not answer"), ray_session(True):
        pass
    assert f"{address}: the head of the cluster does not answer; it may be starting" in capsys.readouterr().err


@pytest.mark.ray
def test_instead_of_a_cluster_that_has_ended_another_one_is_started() -> None:
    """A head that was killed leaves its address behind."""
    use = "from blear.pipeline.runner import ray_session\nwith ray_session(True): import ray; print(len(ray.nodes()))"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the paths of Ray's sockets must be short
        stale = Path(folder) / "ray" / "ray_current_cluster"
        stale.parent.mkdir()
        stale.write_text(address := f"127.0.0.1:{free_port()}")
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment["RAY_TMPDIR"] = folder
        done = subprocess.run(
            [sys.executable, "-c", use], env=environment, capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    assert f"the Ray cluster of this machine ({address}) has ended: another one is started" in done.stderr
