"""`eager_optimizer`: the results of `torch.optim` without its compiler."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blear.train.eager_optimizer import eager

CLASSES = {
    "Adadelta": {},
    "Adafactor": {},
    "Adagrad": {},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adamax": {},
    "ASGD": {},
    "LBFGS": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9},
    "Rprop": {},
    "SGD": {"momentum": 0.9, "nesterov": True},
}


def trained(optimizer_class: type[torch.optim.Optimizer], options: dict) -> tuple[Tensor, dict]:
    """Weights and state after five steps, the last two by an optimizer that loaded the state of the first three."""
    weights = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    optimizer = optimizer_class([weights], lr=0.1, **options)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (weights.cos() * weights.square()).sum()
        value.backward()
        return value

    for step in range(5):
        if step == 3:
            state = optimizer.state_dict()
            optimizer = optimizer_class([weights], lr=0.2, **options)
            optimizer.load_state_dict(state)
        optimizer.step(loss)
    return weights.detach(), optimizer.state_dict()


@pytest.mark.parametrize("name", CLASSES)
def test_steps_equal_those_of_torch(name: str) -> None:
    torch_class = getattr(torch.optim, name)
    weights, state = trained(torch_class, CLASSES[name])
    ours, our_state = trained(eager(torch_class), CLASSES[name])
    assert torch.equal(ours, weights)
    assert str(our_state) == str(state)
    assert isinstance(eager(torch_class)([torch.nn.Parameter(weights)], lr=0.1), torch_class)


def test_gradients_flow_through_a_differentiable_optimizer() -> None:
    start = torch.ones(2, requires_grad=True)
    weights = start.clone()
    optimizer = eager(torch.optim.SGD)([weights], lr=torch.tensor(0.5), differentiable=True)
    weights.grad = torch.full((2,), 3.0)
    optimizer.step()
    weights.sum().backward()
    assert start.grad.tolist() == [1.0, 1.0]
