"""Where a job trains: `cluster.workers` and `cluster.gpu` are followed without a running cluster, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blear.errors import JobError
from blear.job.reader import read_job
from blear.pipeline.runner import check_resources, trains_on_ray


def vlqr(repository: Path, *overrides: str):
    return read_job(repository / "jobs" / "vlqr.yaml", profile="tiny", overrides=overrides)[0]


def test_several_workers_train_on_ray_also_without_an_address(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one, two = vlqr(repository), vlqr(repository, "cluster.workers=[1, 2]")
    assert [trains_on_ray(one, runner) for runner in ("auto", "local", "ray")] == [False, False, True]
    assert [trains_on_ray(two, runner) for runner in ("auto", "local", "ray")] == [True, False, True]


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
