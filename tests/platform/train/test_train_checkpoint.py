"""Checkpoints: written atomically, newest and best kept, restored exactly, never executed as code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from blear.errors import RunError
from blear.train import checkpoint
from blear.train.checkpoint import CheckpointWriter, TrainedModules, TrainerState
from blear.train.state_copy import load_state, save_state, state_on_cpu


def make_modules(average: bool = False, width: int = 3) -> TrainedModules:
    torch.manual_seed(width)
    net = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True) if average else None
    return TrainedModules(net, optimizer, mean)


def move(modules: TrainedModules) -> None:
    modules.model(torch.randn(5, 4)).sum().backward()
    modules.optimizer.step()
    if modules.average is not None:
        modules.average.update_parameters(modules.model)


def save(folder: Path, modules: TrainedModules, *states: TrainerState) -> None:
    with closing(CheckpointWriter(folder)) as writer:
        for state in states:
            writer.save(state, modules)
        writer.wait()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_weights_average_optimizer_and_state_are_restored_exactly(tmp_path: Path) -> None:
    modules = make_modules(average=True)
    assert checkpoint.restore_checkpoint(tmp_path, modules) == TrainerState()
    move(modules)
    move(modules)
    save(tmp_path, modules, TrainerState(2, best=0.25, best_step=1, not_improved=1))
    other = make_modules(average=True)
    assert checkpoint.restore_checkpoint(tmp_path, other) == TrainerState(2, best=0.25, best_step=1, not_improved=1)
    assert other.average is not None
    assert modules.average is not None
    assert other.average.n_averaged == modules.average.n_averaged == 2
    for ours, theirs in ((modules.model, other.model), (modules.average.module, other.average.module)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    ours, theirs = (t.optimizer.state_dict()["state"][0]["momentum_buffer"] for t in (modules, other))
    assert torch.equal(ours, theirs)


def test_a_checkpoint_has_the_state_at_save_although_training_goes_on(tmp_path: Path) -> None:
    modules = make_modules()
    before = {name: value.clone() for name, value in modules.model.state_dict().items()}
    with closing(CheckpointWriter(tmp_path)) as writer:
        writer.save(TrainerState(1), modules)
        for parameter in modules.model.parameters():
            parameter.data.fill_(7.0)
        writer.wait()
    other = make_modules()
    checkpoint.restore_checkpoint(tmp_path, other)
    assert all(torch.equal(value, before[name]) for name, value in other.model.state_dict().items())


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    modules = make_modules()
    save(
        tmp_path,
        modules,
        TrainerState(3),
        TrainerState(6, best=0.1, best_step=6),
        TrainerState(9, best=0.1, best_step=6),
    )
    assert names(tmp_path) == ["step-00000006", "step-00000009"]
    save(tmp_path, modules, TrainerState(12, best=0.05, best_step=12))
    assert names(tmp_path) == ["step-00000012"]


def test_the_partial_checkpoint_of_a_killed_writer_is_ignored_and_deleted(tmp_path: Path) -> None:
    modules = make_modules()
    save(tmp_path, modules, TrainerState(3))
    half = tmp_path / ".step-00000006.partial"
    half.mkdir()
    (half / "state.json").write_text('{"step": 6}')
    assert checkpoint.restore_checkpoint(tmp_path, modules).step == 3
    save(tmp_path, modules, TrainerState(9))
    assert names(tmp_path) == ["step-00000009"]


@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_an_error_with_its_path(tmp_path: Path, damage: str) -> None:
    modules = make_modules()
    save(tmp_path, modules, TrainerState(3))
    file = tmp_path / "step-00000003" / damage
    file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(RunError, match="cannot be restored") as caught:
        checkpoint.restore_checkpoint(tmp_path, modules)
    assert str(file.parent) in caught.value.where


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, make_modules(), TrainerState(3))
    with pytest.raises(RunError, match="cannot be restored"):
        checkpoint.restore_checkpoint(tmp_path, make_modules(width=5))


def test_loading_a_checkpoint_never_executes_code(tmp_path: Path) -> None:
    modules = make_modules()
    save(tmp_path, modules, TrainerState(3))
    torch.save({"x": Path}, tmp_path / "step-00000003" / "optimizer.pt")
    with pytest.raises(RunError, match="cannot be restored"):
        checkpoint.restore_checkpoint(tmp_path, modules)


def test_a_full_disk_keeps_the_previous_checkpoint(tiny_disk: Path) -> None:
    modules = make_modules()
    save(tiny_disk / "checkpoints", modules, TrainerState(3))
    room = os.statvfs(tiny_disk)
    (tiny_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - 8192))
    with pytest.raises(RunError, match=r"checkpoint of step 6 cannot be written: .*No space left") as caught:
        save(tiny_disk / "checkpoints", modules, TrainerState(6))
    assert "continues from step-00000003" in caught.value.do
    assert names(tiny_disk / "checkpoints") == ["step-00000003"]
    (tiny_disk / "ballast").unlink()
    assert checkpoint.restore_checkpoint(tiny_disk / "checkpoints", modules).step == 3
    save(tiny_disk / "checkpoints", modules, TrainerState(6))
    assert names(tiny_disk / "checkpoints") == ["step-00000006"]


class KeepsActivation(nn.Module):
    """Has tied weights, and keeps a part of the graph of its last forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = self.first(x)
        return self.second(self.last)


def test_a_module_that_keeps_an_activation_is_saved_and_restored_with_its_tied_weights(tmp_path: Path) -> None:
    def make() -> TrainedModules:
        net = KeepsActivation()
        mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
        return TrainedModules(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), mean)

    modules, other = make(), make()
    move(modules)
    save(tmp_path, modules, TrainerState(1))
    assert checkpoint.restore_checkpoint(tmp_path, other) == TrainerState(1)
    for name, value in modules.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    first, second = other.model.get_submodule("first"), other.model.get_submodule("second")
    assert first.weight is second.weight


def test_a_normalisation_at_two_places_is_saved_and_restored(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(2)
    own = nn.Sequential(nn.Sequential(norm), nn.Sequential(norm, nn.Linear(2, 1)))
    own(torch.randn(5, 2))
    save_state(state_on_cpu(own), tmp_path / "model.safetensors")
    other = nn.BatchNorm1d(2)
    found = nn.Sequential(nn.Sequential(other), nn.Sequential(other, nn.Linear(2, 1)))
    load_state(found, tmp_path / "model.safetensors")
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in own.state_dict().items())
    assert other.num_batches_tracked == 2
    for wrong in (nn.Sequential(nn.Sequential(other)), nn.Sequential(found[0], found[1], nn.Linear(1, 1))):
        with pytest.raises(RuntimeError, match="the names of the weights differ: "):
            load_state(wrong, tmp_path / "model.safetensors")


def test_the_copy_of_the_state_shares_no_memory_with_the_module() -> None:
    net = KeepsActivation()
    before = net.first.weight.detach().clone()
    state = state_on_cpu(net)
    with torch.no_grad():
        net.first.weight.zero_()
    assert torch.equal(state["first.weight"], before)
    assert state["first.weight"].data_ptr() == state["second.weight"].data_ptr()
