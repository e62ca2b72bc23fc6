"""Training options: the exact effect of each on a small stage."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampler import Sampler
from blear.errors import JobError, RunError
from blear.metrics import ccc
from blear.train.checkpoint import list_checkpoints
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.setup import set_up
from blear.train.worker import LocalWorker, local_device
from ports import free_port

PLAIN = ("stages.clean.backbone.dropout=0", "stages.clean.optimizer={use: sgd, lr: 0.05, momentum: 0}")


def trained(plan: StagePlan) -> dict[str, np.ndarray]:
    train_stage(plan, LocalWorker(torch.device("cpu")))
    return load_file(plan.run.weights("clean"))


def facts(plan: StagePlan) -> dict[str, object]:
    return json.loads((plan.run.stage("clean") / "stage.json").read_text())


def log(plan: StagePlan, name: str) -> dict[int, float]:
    lines = map(json.loads, (plan.run.stage("clean") / "log.jsonl").read_text().splitlines())
    return {line["step"]: line[name] for line in lines if name in line}


def distance(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(((ours[name] - theirs[name]) ** 2).sum() for name in theirs)))


def test_micro_batches_equal_the_whole_batch(plan) -> None:
    """A batch of 16 in micro-batches of 5, 5 and 6."""
    whole, cut = plan("whole", *PLAIN), plan("cut", *PLAIN, "stages.clean.accumulate=3")
    ours, theirs = trained(cut), trained(whole)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name
    assert log(cut, "loss") == pytest.approx(log(whole, "loss"), rel=1e-5)


def test_clipping_bounds_the_length_of_a_step(plan) -> None:
    """Without momentum and weight decay, a clipped step has the length lr * clip_norm."""
    one, two = ("stages.clean.steps=1", "stages.clean.log_every=1"), "stages.clean.steps=2"
    clip = "stages.clean.optimizer.clip_norm=0.001"
    first = trained(plan("first", *PLAIN, *one, clip))
    second = trained(plan("second", *PLAIN, two, clip))
    assert distance(second, first) == pytest.approx(0.05 * 0.001, rel=1e-3)
    free = trained(plan("free", *PLAIN, two))
    assert distance(free, first) > 0.05 * 0.001 * 2
    assert distance(trained(plan("loose", *PLAIN, two, "stages.clean.optimizer.clip_norm=1e9")), free) == 0


def test_the_moving_average_is_updated_after_each_step(plan) -> None:
    first = trained(plan("first", *PLAIN, "stages.clean.steps=1"))
    second = trained(plan("second", *PLAIN, "stages.clean.steps=2"))
    average = trained(plan("average", *PLAIN, "stages.clean.steps=2", "stages.clean.ema=0.75"))
    for name in first:
        assert average[name] == pytest.approx(0.75 * first[name] + 0.25 * second[name], abs=1e-7), name


def test_the_moving_average_continues_bit_by_bit_after_an_interruption(plan) -> None:
    options = (*PLAIN, "stages.clean.steps=4", "stages.clean.ema=0.9", "stages.clean.checkpoint_every=2")
    whole = trained(plan("whole", *options))
    cut = plan("cut", *options)
    with pytest.raises(RunError, match="stopped by SIGTERM"):
        train_stage(cut, terminated(2))
    assert distance(trained(cut), whole) == 0


VALIDATED = (
    "stages.clean.steps=8",
    "stages.clean.validate={every: 2, batches: 2, keep: best, patience: 2}",
    "stages.clean.checkpoint_every=100",
    "evaluate.shares_validation=true",
)
STILL = ("stages.clean.optimizer={use: sgd, lr: 1.0e-30}", "stages.clean.backbone.dropout=0")


def test_patience_stops_the_stage_and_the_best_weights_are_kept(plan) -> None:
    """At a learning rate near 0 the first validation stays the best; two more end the stage."""
    stopped = plan("stopped", *VALIDATED, *STILL)
    ours = trained(stopped)
    assert (facts(stopped)["steps"], facts(stopped)["weights_of_step"]) == (6, 2)
    assert list(log(stopped, "validation_loss")) == [2, 4, 6]
    kept = list_checkpoints(stopped.run.stage("clean") / "checkpoints")
    assert [path.name for path in kept] == ["step-00000002", "step-00000006"]
    best = load_file(kept[0] / "model.safetensors")
    assert all(np.array_equal(ours[name], best[name]) for name in best)


@pytest.mark.parametrize(("ties", "step"), [("first", 2), ("last", 4)])
def test_equal_validations_keep_the_first_or_the_last_one(plan, ties: str, step: int) -> None:
    """At a learning rate near 0 all validations are equal."""
    still = plan("still", *VALIDATED, *STILL, "stages.clean.steps=4", f"stages.clean.validate.ties={ties}")
    trained(still)
    found = log(still, "validation_loss")
    assert found[2] == found[4]
    assert facts(still)["weights_of_step"] == step


def test_the_best_step_follows_the_direction_of_the_metric(plan) -> None:
    judged = plan("judged", *VALIDATED, "stages.clean.validate.metric=ccc", "stages.clean.validate.patience=null")
    trained(judged)
    found = log(judged, "validation_ccc")
    assert facts(judged)["weights_of_step"] == max(found, key=lambda step: found[step])
    assert facts(judged)["steps"] == 8
    assert list(log(judged, "training_ccc")) == list(log(judged, "loss"))
    with pytest.raises(JobError, match="no metric 'cc_'"):
        train_stage(plan("wrong", *VALIDATED, "stages.clean.validate.metric=cc_"), LocalWorker(torch.device("cpu")))


def test_the_training_metric_is_computed_on_logged_batches_before_their_update(plan) -> None:
    options = ("stages.clean.log_every=2", "stages.clean.accumulate=3", "stages.clean.backbone.dropout=0")
    metric = "stages.clean.validate={every: 9, batches: 1, metric: ccc}"
    run = set_up(plan("watched", *options, metric), LocalWorker(torch.device("cpu")))
    metric_of_training = run.stepper.training_metric
    assert metric_of_training is not None
    found = []
    for step, raw in enumerate(
        batches(run.store, run.sampler, 0, 4, 0, 1, frame_sampler=run.frame_sampler, transform=run.cpu_preprocessing)
    ):
        batch = run.stepper.preprocessing(raw)
        with torch.no_grad():
            decoded = run.model.head.decode(run.model(batch.frames_BTCHW))["valence"]
        expected = ccc(batch.targets["valence"].numpy(), decoded.values_BT.ravel().numpy())
        run.stepper(step, raw)
        found.append((metric_of_training.compute(), {"training_ccc": pytest.approx(expected, abs=1e-5)}))
    assert [ours for ours, _ in found[::2]] == [{}, {}]  # only every second step is logged
    assert [ours for ours, _ in found[1::2]] == [theirs for _, theirs in found[1::2]]


def test_a_diverging_run_stops_with_step_samples_and_gradient_norm(plan) -> None:
    wild = plan("wild", *PLAIN, "stages.clean.optimizer.lr=1.0e+30", "stages.clean.checkpoint_every=1")
    with pytest.raises(RunError, match=r"step \d+.*; gradient norm ") as caught:
        trained(wild)
    store = Store.open(Prepared.open(wild.prepared["faces"]), "train")
    named = caught.value.what.split("samples ")[1].split(" and ")[0].split(", ")
    assert len(named) == 8
    assert set(named) <= set(store.keys(np.arange(len(store))))
    for kept in list_checkpoints(wild.run.stage("clean") / "checkpoints"):
        assert all(np.isfinite(value).all() for value in load_file(kept / "model.safetensors").values())


def terminated(step: int) -> LocalWorker:
    """A worker whose process receives a real SIGTERM after the checkpoint of a step."""

    class Terminated(LocalWorker):
        def on_checkpoint(self, done: int, metrics: dict[str, float]) -> None:
            if done == step:
                with self.catch_sigterm():
                    os.kill(os.getpid(), signal.SIGTERM)

    return Terminated(torch.device("cpu"))


def test_sigterm_writes_a_checkpoint_and_the_same_command_continues(plan) -> None:
    options = ("stages.clean.steps=6", "stages.clean.checkpoint_every=2")
    whole = trained(plan("whole", *options))
    cut = plan("cut", *options)
    with pytest.raises(RunError, match="stopped by SIGTERM at step 3"):
        train_stage(cut, terminated(2))
    assert list_checkpoints(cut.run.stage("clean") / "checkpoints")[-1].name == "step-00000003"
    assert distance(trained(cut), whole) == 0


def test_the_audit_lists_the_samples_of_each_step(plan) -> None:
    audited = plan("audited", "stages.clean.audit=true", "stages.clean.steps=5")
    trained(audited)
    (file,) = (audited.run.stage("clean") / "samples").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    store = Store.open(Prepared.open(audited.prepared["faces"]), "train")
    order = Sampler(store.counts, audited.spec.batch_size, audited.job.seed)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        epochs_B, samples_B = order.batch(line["step"] - 1)
        assert (line["epochs"], line["samples"]) == (epochs_B.tolist(), samples_B.tolist())


def test_a_profile_has_the_operations_of_the_given_steps(plan) -> None:
    profiled = plan("profiled", "stages.clean.profile_steps=[2, 3]")
    trained(profiled)
    trace = json.loads((profiled.run.stage("clean") / "trace.json").read_text())
    convolutions = [event for event in trace["traceEvents"] if event.get("name") == "aten::conv2d"]
    backbone = 3
    assert len(convolutions) == 2 * backbone


@pytest.mark.parametrize("option", ["channels_last=false", "precision=bfloat16", "compile=true"])
def test_memory_format_precision_and_compilation_change_rounding_only(plan, option: str) -> None:
    if option.startswith("compile") and shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler on the CPU")
    plain, other = plan("plain", *PLAIN), plan("other", *PLAIN, f"cluster.{option}")
    ours, theirs = trained(other), trained(plain)
    assert log(other, "loss") == pytest.approx(log(plain, "loss"), rel=0.02)
    assert all(value.dtype == np.float32 for value in ours.values())
    assert distance(ours, theirs) < 0.05


def test_mlflow_receives_the_parameters_and_the_metrics(plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    with pytest.raises(JobError, match="MLflow refuses"):
        train_stage(plan("refused", "trackers=[mlflow]"), LocalWorker(torch.device("cpu")))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tracked = plan("tracked", "trackers=[tensorboard, mlflow]", "stages.clean.log_every=2")
    trained(tracked)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("vlqr").experiment_id])
    assert (run.info.run_name, run.info.status) == ("clean", "FINISHED")
    assert run.data.params["backbone"] == "vlqr/cnn5x5"
    points = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "loss")}
    assert points == pytest.approx(log(tracked, "loss"))


def test_training_ends_without_the_mlflow_server_of_an_earlier_stage(
    plan, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracked = plan("outage", "trackers=[mlflow]", "stages.clean.log_every=2")
    with pytest.raises(JobError, match="MLflow refuses"):  # the first contact: rather a mistake than an outage
        trained(tracked)
    earlier = tracked.run.stage("earlier")
    earlier.mkdir(parents=True)
    (earlier / "mlflow_run_id").write_text("1")
    trained(tracked)
    assert facts(tracked)["steps"] == max(log(tracked, "loss"))
    printed = capfd.readouterr().err
    assert printed.count("MLflow cannot be reached") == 1
    assert re.search(r"MLflow did not receive \d+ values of stage clean; log.jsonl has them", printed)


def test_a_gpu_that_is_missing_is_one_message() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(JobError, match=r"cluster\.gpu: it is true, but torch finds no GPU here"):
        local_device(True)
    assert local_device("auto") == local_device(False) == torch.device("cpu")
