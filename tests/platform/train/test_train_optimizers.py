"""Adam with AMSGrad, Nesterov momentum, parameters without weight decay: each step compared with torch.optim."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file
from torch import nn

from blear.errors import JobError
from blear.job.reader import read_job
from blear.job.schema import Optimizer
from blear.plugin.discovery import load_plugins
from blear.train.loop import train_stage
from blear.train.optimizer import build_optimizer, no_decay_parameters
from blear.train.plan import StagePlan
from blear.train.worker import LocalWorker


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv1": nn.Conv2d(1, 2, 3), "bn1": nn.BatchNorm2d(2)})
        self.head = nn.ModuleDict({"fc5": nn.Linear(3, 1)})


def reference(
    net: nn.Module, without_decay: set[str], kind: type[torch.optim.Optimizer], **options
) -> torch.optim.Optimizer:
    """PyTorch's optimizer; the parameters of `without_decay` have no weight decay."""
    named = dict(net.named_parameters())
    return kind(
        [
            {"params": [p for name, p in named.items() if name not in without_decay]},
            {"params": [named[name] for name in sorted(without_decay)], "weight_decay": 0.0},
        ],
        **options,
    )


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int = 5) -> dict[str, torch.Tensor]:
    """The parameters after some steps whose gradients shrink, so that AMSGrad differs from Adam."""
    generator = torch.Generator().manual_seed(0)
    for step in range(count):
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator) / 4**step
        optimizer.step()
    return {name: p.detach().clone() for name, p in net.named_parameters()}


SPARED = {"backbone.conv1.bias", "backbone.bn1.weight", "backbone.bn1.bias", "head.fc5.bias"}
CASES = [
    ({"use": "adam"}, torch.optim.Adam, {}),
    ({"use": "adam", "amsgrad": True, "betas": (0.8, 0.9)}, torch.optim.Adam, {"amsgrad": True, "betas": (0.8, 0.9)}),
    ({"use": "adamw", "amsgrad": True}, torch.optim.AdamW, {"amsgrad": True}),
    ({"use": "sgd", "momentum": 0.9, "nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ({"use": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    ({"use": "RAdam", "options": {"betas": [0.8, 0.9]}}, torch.optim.RAdam, {"betas": (0.8, 0.9)}),
    ({"use": "RMSprop", "options": {"momentum": 0.5}}, torch.optim.RMSprop, {"momentum": 0.5}),
]


@pytest.mark.parametrize(("given", "kind", "options"), CASES)
@pytest.mark.parametrize("without_decay", [[], ["*.bias", "backbone.bn1.*"]])
def test_steps_equal_pytorch(given: dict, kind, options: dict, without_decay: list[str]) -> None:
    ours = Net()
    theirs = copy.deepcopy(ours)
    spec = Optimizer.model_validate({"lr": 0.05, "weight_decay": 0.3, "no_decay": without_decay} | given)
    found = steps(ours, build_optimizer(ours, spec))
    expected = steps(
        theirs, reference(theirs, SPARED if without_decay else set(), kind, lr=0.05, weight_decay=0.3, **options)
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_parameters_of_one_dimension_are_spared_without_decay_vectors() -> None:
    ours = Net()
    theirs = copy.deepcopy(ours)
    spec = Optimizer(lr=0.05, weight_decay=0.3, decay_vectors=False)
    expected = steps(theirs, reference(theirs, SPARED, torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.3))
    for name, value in steps(ours, build_optimizer(ours, spec)).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"use": "RAdm"}, "no optimizer 'RAdm'.*did you mean RAdam"),
        ({"use": "Optimizer"}, "no optimizer 'Optimizer'"),
        ({"use": "RAdam", "options": {"beta": 1}}, "RAdam has no argument beta.*betas"),
        ({"use": "Rprop", "weight_decay": 0.1}, "Rprop has no weight decay.*leave weight_decay out"),
        ({"use": "RAdam", "options": {"eps": -1}}, "RAdam refuses its arguments: Invalid epsilon value"),
    ],
)
def test_an_unknown_class_or_argument_of_torch_is_an_error(given: dict, message: str) -> None:
    with pytest.raises(JobError, match=f"(?s){message}"):
        build_optimizer(Net(), Optimizer.model_validate({"lr": 0.1} | given))


def test_keys_of_other_optimizers_are_errors() -> None:
    with pytest.raises(ValidationError, match="momentum: give arguments of `RAdam` in `options`"):
        Optimizer(use="RAdam", lr=0.1, momentum=0.9)
    with pytest.raises(ValidationError, match="options: weight_decay has a key beside `options`"):
        Optimizer(use="RAdam", lr=0.1, options={"weight_decay": 0.1})
    with pytest.raises(ValidationError, match="options belong to a class"):
        Optimizer(lr=0.1, options={"dampening": 0.1})


def test_the_largest_second_moment_matters_as_gradients_shrink() -> None:
    plain = Net()
    kept = copy.deepcopy(plain)
    adam = Optimizer(use="adam", lr=0.05, betas=(0.8, 0.9))
    ours = steps(plain, build_optimizer(plain, adam))
    theirs = steps(kept, build_optimizer(kept, adam.model_copy(update={"amsgrad": True})))
    assert not torch.allclose(ours["head.fc5.weight"], theirs["head.fc5.weight"], atol=1e-3)


def test_weight_decay_and_multiplier_are_combined() -> None:
    """One group for each pair: weights 0.1 with weight decay, biases 2 without, the rest with."""
    spec = Optimizer(
        lr=0.5, momentum=0, weight_decay=0.5, scale_lr={"conv1.weight": 0.1, "*.bias": 2}, no_decay=["*.bias"]
    )
    net = Net()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 2.0)
        parameter.grad = torch.ones_like(parameter)
    optimizer = build_optimizer(net, spec)
    assert sorted((group["scale"], group["weight_decay"]) for group in optimizer.param_groups) == [
        (0.1, 0.5), (1.0, 0.5), (2, 0.0),
    ]  # fmt: skip
    optimizer.step()
    after = {name: float(p.detach().mean()) for name, p in net.named_parameters()}
    assert after == pytest.approx(
        {
            "backbone.conv1.weight": 2 - 0.5 * 0.1 * (1 + 0.5 * 2),
            "backbone.conv1.bias": 2 - 0.5 * 2 * 1,
            "backbone.bn1.weight": 2 - 0.5 * (1 + 0.5 * 2),
            "backbone.bn1.bias": 2 - 0.5 * 2 * 1,
            "head.fc5.weight": 2 - 0.5 * (1 + 0.5 * 2),
            "head.fc5.bias": 2 - 0.5 * 2 * 1,
        },
        rel=1e-6,
    )


def test_no_decay_patterns_match_like_scale_lr_patterns() -> None:
    net = Net()
    assert no_decay_parameters(net, ["*.bias"]) == SPARED - {"backbone.bn1.weight"}
    assert no_decay_parameters(net, ["head.*"]) == {"head.fc5.weight", "head.fc5.bias"}
    with pytest.raises(JobError, match=r"no_decay: 'bn2\.\*' matches no parameter") as caught:
        build_optimizer(net, Optimizer(lr=0.1, weight_decay=0.1, no_decay=["*.bias", "bn2.*"]))
    assert "bn1.weight" in caught.value.do


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"nesterov": True, "momentum": 0}, "nesterov needs `sgd` with a momentum above 0"),
        ({"nesterov": True, "use": "adam"}, "nesterov needs `sgd`"),
        ({"amsgrad": True}, "amsgrad needs `adam` or `adamw`"),
        ({"no_decay": ["*.bias"]}, "no_decay needs a weight_decay above 0"),
        ({"no_decay": ["*.bias"], "use": "RAdam"}, "no_decay needs a weight_decay above 0"),
        ({"momentum": 0.9, "use": "adamw"}, "momentum belongs to `sgd`"),
        ({"betas": (0.9, 0.99)}, "betas belongs to `adam` and `adamw`"),
        ({"use": "LBFGS"}, "`LBFGS` cannot train a stage: it computes the loss several times"),
        ({"use": "SparseAdam"}, "`SparseAdam` cannot train a stage: it needs sparse gradients"),
    ],
)
def test_options_without_effect_are_errors(given: dict, cause: str) -> None:
    with pytest.raises(ValidationError, match=cause):
        Optimizer.model_validate({"lr": 0.1} | given)


def test_amsgrad_and_groups_without_weight_decay_resume_bit_by_bit(plan) -> None:
    options = ("stages.clean.steps=4", "stages.clean.checkpoint_every=2")
    adam = "stages.clean.optimizer={use: adam, amsgrad: true, lr: 0.01, weight_decay: 0.01, no_decay: ['*.bias']}"
    whole, cut = plan("whole", *options, adam), plan("cut", *options, adam)
    worker = LocalWorker(torch.device("cpu"))
    train_stage(whole, worker)
    train_stage(plan("cut", "stages.clean.steps=2", options[1], adam), worker)
    (cut.run.stage("clean") / "stage.json").unlink()
    train_stage(cut, worker)
    ours, theirs = (load_file(one.run.weights("clean")) for one in (cut, whole))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


FROZEN = '''
import torch
from torch import nn

from blear.contracts import Component

from blear.contracts import Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class FrozenNorm(nn.Module):
    """Batch normalisation that stays in evaluation mode during training."""

    def __init__(self, params, context):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(context.clip.channels, 4, 5, 4), nn.BatchNorm2d(4)
        self.free = nn.BatchNorm2d(4)
        self.norm.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, frames_BTCHW):
        assert not self.norm.training
        x = self.free(self.norm(self.conv(frames_BTCHW.flatten(0, 1))))
        return {"embedding": x.mean((2, 3)).unflatten(0, frames_BTCHW.shape[:2])}


@hookimpl
def register_backbones():
    return [Component("net", "A backbone with frozen normalisation", Params, FrozenNorm)]
'''


def test_a_backbone_that_keeps_its_normalisation_frozen_stays_so(plan, tmp_path: Path) -> None:
    """Through validation, averaging and a checkpoint: statistics and affine parameters stay those of the start."""
    (tmp_path / "frozen.py").write_text(FROZEN)
    job, _ = read_job(
        Path(__file__).resolve().parents[3] / "jobs" / "vlqr.yaml",
        profile="tiny",
        overrides=[
            f"plugins=[{tmp_path / 'frozen.py'}]",
            "stages.clean.backbone={use: frozen/net}",
            "stages.clean.ema=0.5",
            "stages.clean.validate={every: 2, batches: 1}",
        ],
    )
    base = plan("frozen")
    frozen = StagePlan(job, "clean", base.run, base.prepared)
    train_stage(frozen, LocalWorker(torch.device("cpu")))
    weights = load_file(frozen.run.weights("clean"))
    assert (weights["backbone.norm.running_mean"] == 0).all()
    assert (weights["backbone.norm.running_var"] == 1).all()
    assert (weights["backbone.norm.weight"] == 1).all()
    assert (weights["backbone.free.running_mean"] != 0).any()
    load_plugins.cache_clear()
