"""Training on the Ray cluster of this process: two gloo workers equal to one, and without Ray's internal names."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import ray
from safetensors.numpy import load_file
from small_job import SMALL, sets

from blear import load
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.metrics import ccc
from blear.train.on_ray import internals, trainer
from ports import free_port

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

TAUGHT = (
    "stages.taught={data: faces, degrade: [{use: downscale, factor: 3}], batch_size: 15, steps: 3, swa: 0.5, "
    "backbone: {use: vlqr/cnn5x5, width: 0.0625, dropout: 0.0}, head: {use: vlqr/valence}, optimizer: {lr: 0.01}, "
    "teacher: {stage: hq, features: {embedding: 1}}, consistency: 0.5}"
)
"""A stage with a teacher, whose features it is compared with, two views of each sample, and averaged weights."""
NORMED = (
    "stages.normed={data: faces, batch_size: 6, steps: 4, validate: {every: 2, metric: ccc}, "
    "backbone: {use: robust/plain_resnet, width: 0.125}, head: {use: vlqr/valence}, optimizer: {lr: 0.001}}"
)
"""A stage with batch normalisation, whose statistics differ between workers after each step."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shards that the tests without a head share."""
    return tmp_path_factory.mktemp("shards")


@pytest.fixture
def run_here(ray_here: None, blear, storage: Path, shards: Path):
    """Runs a small job in this process, on its own Ray: run_here("name=one") -> CompletedProcess."""
    storage.mkdir()
    (storage / "shards").symlink_to(shards)
    return lambda *changes, runner="auto": blear(
        "run", "jobs/vlqr_hq.yaml", "--runner", runner, *sets(*SMALL, "evaluate=null", *changes)
    )


def log(run: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "stages" / stage / "log.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in log(run, "hq") if "loss" in line]


def dev_ccc(stage: Path, shards: Path) -> float:
    """CCC of the saved model of a stage on all samples of the split dev."""
    store = Store.open(Prepared.open(next(shards.glob("faces-procedural-*"))), "dev")
    decoded = store.take(np.arange(len(store)))
    predicted = load(stage)(decoded.frames[:, 0].float() / 255)["valence"]
    return ccc(decoded.targets["valence"].numpy(), predicted.detach().numpy().reshape(-1))


def controllers() -> set[str]:
    """Ids of all actors of Ray Train's controller, dead ones included."""
    actors = ray._private.state.actors()
    return {key for key, actor in actors.items() if actor["ActorClassName"] == "TrainController"}


def test_two_workers_give_the_losses_of_one(run_here, storage: Path) -> None:
    """Several workers train on Ray without --runner; a batch of 15 is split into 8 and 7."""
    before = controllers()
    done = run_here(TAUGHT, NORMED, "cluster.workers=2", "name=two")
    assert done.returncode == 0, done.stderr[-6000:]
    assert controllers() == before, "the driver is the controller"
    two = storage / "runs" / "two"
    info = json.loads((two / "run.json").read_text())
    assert (info["runner"], info["world"]) == ("ray", 2)
    validated = [one["validation_ccc"] for one in log(two, "normed") if "validation_ccc" in one]
    assert validated[-1] == pytest.approx(dev_ccc(two / "stages" / "normed", storage / "shards"), abs=1e-5)
    local = run_here(TAUGHT, "name=one")
    assert local.returncode == 0, local.stderr
    one = storage / "runs" / "one"
    assert json.loads((one / "run.json").read_text())["runner"] == "local"
    assert len(losses(one)) == 6
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    for stage in ("hq", "taught"):
        ours, theirs = (load_file(run / "stages" / stage / "model.safetensors") for run in (one, two))
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, abs=1e-4), (stage, name)


def test_a_run_without_rays_internals_goes_on(run_here, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "cluster_status", lambda: None)
    monkeypatch.setattr(internals, "train_callback_base", lambda: object)
    monkeypatch.setattr(trainer, "_controller_without_actors", lambda: None)
    before = controllers()
    callback = "blear.train.on_ray.callback"  # imported again, here with another base class and after the test
    monkeypatch.setitem(sys.modules, callback, None)
    monkeypatch.delitem(sys.modules, callback)
    done = run_here("name=plain", runner="ray")
    assert done.returncode == 0, done.stderr[-6000:]
    assert "restarts are not reported, because this version of Ray is not known" in done.stderr
    assert len(controllers() - before) == 1
    assert len(losses(storage / "runs" / "plain")) == 6


def test_workers_are_not_sought_on_a_node_that_does_not_answer(ray_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray counts a lost node for some seconds more."""
    (node,) = ray.nodes()
    resources = {key: {"CPU": 2.0} for key in (node["NodeID"], "lost", "unknown")}
    assert trainer.staying_nodes(resources) == resources
    assert trainer.staying_nodes(None) is None
    lost = node | {"NodeID": "lost", "NodeManagerPort": free_port()}
    monkeypatch.setattr(ray, "nodes", lambda: [node, lost])
    assert list(trainer.staying_nodes(resources)) == [node["NodeID"], "unknown"]
    monkeypatch.setattr(ray, "nodes", lambda: [lost])
    assert trainer.staying_nodes(resources) == resources, "this process has no network"
