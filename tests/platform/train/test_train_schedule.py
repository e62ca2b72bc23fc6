"""Learning learning_rates: equal to PyTorch's schedulers, step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR, StepLR

from blear.job.schema import Optimizer
from blear.train.schedule import learning_rate

LR = 0.3


def reference(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler, learning_rates = make(optimizer), []
    for step in range(steps):
        learning_rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return learning_rates


def ours(steps: int, **spec: object) -> list[float]:
    return [learning_rate(Optimizer(lr=LR, **spec), step, steps) for step in range(steps)]


@pytest.mark.parametrize("steps", [1, 10, 37])
def test_step_cosine_and_one_cycle_equal_pytorch(steps: int) -> None:
    assert ours(steps, schedule="step", drop_every=4, drop_by=0.5) == pytest.approx(
        reference(lambda o: StepLR(o, 4, 0.5), steps)
    )
    assert ours(steps, schedule="step", drop_at=[3, 20], drop_by=0.5) == pytest.approx(
        reference(lambda o: MultiStepLR(o, [3, 20], 0.5), steps)
    )
    assert ours(steps, schedule="cosine") == pytest.approx(reference(lambda o: CosineAnnealingLR(o, steps), steps))
    if steps > 1:
        one_cycle = reference(lambda o: OneCycleLR(o, LR, total_steps=steps, cycle_momentum=False), steps)
        assert ours(steps, schedule="one_cycle") == pytest.approx(one_cycle)


def test_one_cycle_may_rise_for_another_fraction_of_the_steps() -> None:
    expected = reference(lambda o: OneCycleLR(o, LR, total_steps=40, pct_start=0.15, cycle_momentum=False), 40)
    assert ours(40, schedule="one_cycle", rise=0.15) == pytest.approx(expected)


def test_a_schedule_of_fractions_is_interpolated_over_the_steps_after_the_warm_up() -> None:
    assert ours(5, schedule={0: 0.5, 0.5: 1, 1: 0}) == pytest.approx([LR * f for f in (0.5, 0.75, 1, 0.5, 0)])
    assert ours(7, warmup=2, schedule={0.5: 1, 1: 0})[2:] == pytest.approx([LR * f for f in (1, 1, 1, 0.5, 0)])


def test_the_warm_up_is_linear_and_the_schedule_starts_after_it() -> None:
    assert ours(6, warmup=3) == pytest.approx([LR / 3, 2 * LR / 3, LR, LR, LR, LR])
    assert ours(13, warmup=3, schedule="cosine")[3:] == pytest.approx(ours(10, schedule="cosine"))
    assert ours(4, warmup=10) == pytest.approx([LR * n / 10 for n in (1, 2, 3, 4)])


def test_options_that_contradict_each_other_are_errors() -> None:
    with pytest.raises(ValidationError, match="`step` needs drop_every"):
        Optimizer(lr=LR, schedule="step")
    with pytest.raises(ValidationError, match="`step` needs drop_every or drop_at"):
        Optimizer(lr=LR, schedule="step", drop_every=3, drop_at=[3])
    with pytest.raises(ValidationError, match="leave warmup out"):
        Optimizer(lr=LR, schedule="one_cycle", warmup=5)
    with pytest.raises(ValidationError, match="schedule is empty"):
        Optimizer(lr=LR, schedule={})
    with pytest.raises(ValidationError, match="rise belongs to schedule `one_cycle`"):
        Optimizer(lr=LR, rise=0.1)
    with pytest.raises(ValidationError, match="drop_every, drop_by belong to schedule `step`"):
        Optimizer(lr=LR, drop_every=10, drop_by=0.5)
    with pytest.raises(ValidationError, match="drop_at belongs to schedule `step`"):
        Optimizer(lr=LR, schedule="cosine", drop_at=[5])
    assert Optimizer(lr=LR, schedule="cosine", drop_at=None).drop_at is None  # as `--set` removes it
