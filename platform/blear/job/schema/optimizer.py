"""The optimizer of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from blear.plugin.uses import Positive, StrictModel, UnitInterval

Fraction = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
OWN = ("sgd", "adam", "adamw")
"""Optimizers with keys of their own."""
_OF_SCHEDULE = {"one_cycle": ("rise",), "step": ("drop_every", "drop_at", "drop_by")}
_UNSUITABLE = {
    "LBFGS": "it computes the loss several times in each step",
    "SparseAdam": "it needs sparse gradients",
}


def _belongs(keys: Sequence[str]) -> str:
    return f"{', '.join(keys)} {'belongs' if len(keys) == 1 else 'belong'}"


class Optimizer(StrictModel):
    """The optimizer and its learning-rate schedule."""

    use: str = Field(
        "sgd",
        description="`sgd` with momentum, `adam`, `adamw`, or the name of a class of `torch.optim`, such as `RAdam`",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of a class of `torch.optim`, checked by its signature"
    )
    lr: float = Field(gt=0, description="base learning rate, multiplied by the schedule and by `scale_lr`")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of `sgd`")
    nesterov: bool = Field(False, description="`sgd`: use Nesterov momentum")
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.999), description="`adam`, `adamw`: decay rates of the first and second moment estimates"
    )
    amsgrad: bool = Field(False, description="`adam`, `adamw`: use the AMSGrad variant")
    weight_decay: float = Field(
        0.0, ge=0, description="weights and biases; `sgd`, `adam`: L2 penalty; `adamw`: decoupled decay"
    )
    no_decay: list[str] = Field(
        default_factory=list, description="patterns of names of parameters without weight decay"
    )
    decay_vectors: bool = Field(
        True, description="false: no weight decay of parameters with one dimension: biases, scales of normalisations"
    )
    schedule: Literal["fixed", "step", "cosine", "one_cycle"] | dict[UnitInterval, NonNegative] = Field(
        "fixed",
        description="schedule of the learning rate after the warm-up; or fraction of the remaining steps -> factor of "
        "`lr`, interpolated linearly and constant outside",
    )
    rise: float = Field(
        0.3, gt=0, lt=1, description="`one_cycle`: fraction of the steps in which the learning rate rises"
    )
    warmup: int = Field(
        0, ge=0, description="number of first steps in which the learning rate rises linearly from 0 to `lr`"
    )
    drop_every: Positive | None = Field(
        None, description="`step`: number of steps between two drops of the learning rate"
    )
    drop_at: list[Positive] | None = Field(
        None, description="`step`, instead of `drop_every`: the steps at which the learning rate drops"
    )
    drop_by: float = Field(0.1, gt=0, le=1, description="`step`: factor of the learning rate at each drop")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; null: no clipping")
    scale_lr: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="pattern of parameter names -> factor of the learning rate; the first match counts; 0 freezes",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.schedule == "step" and (self.drop_every is None) == (self.drop_at is None):
            raise ValueError("schedule `step` needs drop_every or drop_at")
        if self.schedule == "one_cycle" and self.warmup:
            raise ValueError("schedule `one_cycle` warms up by itself; leave warmup out")
        if self.schedule == {}:
            raise ValueError("schedule is empty; give fraction: factor, for instance {0: 0.1, 0.2: 1, 1: 0}")
        for schedule, keys in _OF_SCHEDULE.items():
            if self.schedule != schedule and (given := self._given(keys)):
                raise ValueError(f"{_belongs(given)} to schedule `{schedule}`")
        if self.no_decay and not self.weight_decay:
            raise ValueError("no_decay needs a weight_decay above 0")
        if self.use not in OWN:
            return self._of_torch()
        if self.options:
            raise ValueError(f"options belong to a class of torch.optim; `{self.use}` has keys of its own")
        if self.nesterov and (self.use != "sgd" or not self.momentum):
            raise ValueError("nesterov needs `sgd` with a momentum above 0")
        if self.amsgrad and self.use == "sgd":
            raise ValueError("amsgrad needs `adam` or `adamw`")
        if self.use != "sgd" and self._given(("momentum",)):
            raise ValueError("momentum belongs to `sgd`")
        if self.use == "sgd" and self._given(("betas",)):
            raise ValueError("betas belongs to `adam` and `adamw`")
        return self

    def _given(self, keys: Sequence[str]) -> list[str]:
        """The keys that the job sets; null is a value that is not set."""
        return [key for key in keys if key in self.model_fields_set and getattr(self, key) is not None]

    def _of_torch(self) -> Self:
        """Checks the keys of a class of torch.optim; its options are checked when it is built."""
        if self.use in _UNSUITABLE:
            raise ValueError(f"`{self.use}` cannot train a stage: {_UNSUITABLE[self.use]}")
        if own := {"momentum", "nesterov", "betas", "amsgrad"} & self.model_fields_set:
            raise ValueError(f"{', '.join(sorted(own))}: give arguments of `{self.use}` in `options`")
        if taken := {"lr", "weight_decay", "params"} & self.options.keys():
            raise ValueError(f"options: {', '.join(sorted(taken))} has a key beside `options`")
        return self
