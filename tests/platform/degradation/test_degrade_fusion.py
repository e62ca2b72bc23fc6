"""Fusion of neighbouring separable operations: equal to applying them one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from blear.contracts import BuildContext, ClipSpec, DrawKeys, Separable
from blear.degradation.chain import build_chain
from blear.degradation.nodes import OneOf, Operation, RandomApply
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry
from blear.separable import apply_operators, compose, fused

CATALOG = load_plugins()
ENTRIES = TypeAdapter(list[DegradationEntry])
MIX = {"use": "corruptions/scale_mix", "factors": [3, 4, 6]}
MILD = {"use": "corruptions/scale_mix", "factors": [1, 1.5, 4]}
GAUSS = {"use": "corruptions/blur", "sigma": [0, 2.5]}
BOX = {"use": "corruptions/box_blur", "width": [1, 4]}
KERNELS = {"use": "corruptions/random_blur", "p": 0.5}
LISTS = [
    [GAUSS, MIX],
    [MIX, GAUSS, BOX],
    [GAUSS | {"p": 0.5}, MIX, KERNELS],
    [MILD, {"one_of": [GAUSS, {"chain": [BOX, MIX]}, KERNELS]}],
    [{"any_order": [GAUSS, BOX, MIX | {"p": 0.7}]}, BOX | {"until": 0.5}],
    [{"chain": [GAUSS, {"any_order": [MIX, BOX]}], "p": 0.6}, GAUSS],
]


class Plain:
    """A degradation whose `operators` are hidden, so that it is not fused."""

    def __init__(self, inner):
        self.draw, self.apply, self.levels = inner.draw, inner.apply, inner.levels


def unfused(node):
    if isinstance(node, Operation):
        return Operation(Plain(node.operation))
    if isinstance(node, RandomApply):
        return RandomApply(unfused(node.node), node.p, node.first, node.until)
    members = [unfused(member) for member in node.members]
    return OneOf(members, node.weights) if isinstance(node, OneOf) else type(node)(members)


@pytest.mark.parametrize("entries", LISTS, ids=range(len(LISTS)))
@pytest.mark.parametrize("progress", [0.2, 1.0])
def test_a_fused_chain_equals_its_operations_one_after_another(entries, progress):
    clip = ClipSpec(2, 3, 24, 31)
    chain, _ = build_chain(CATALOG, ENTRIES.validate_python(entries), BuildContext(3, clip))
    assert all(node.separable for node in chain.nodes)
    plain, _ = build_chain(CATALOG, ENTRIES.validate_python(entries), BuildContext(3, clip))
    plain.nodes = [unfused(node) for node in plain.nodes]
    assert not any(node.separable for node in plain.nodes)
    frames = torch.rand(16, 2, 3, 24, 31, generator=torch.Generator().manual_seed(1))
    numbers = np.arange(16)
    one, other = (each(frames, numbers, numbers, progress) for each in (chain, plain))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert (one - frames).abs().amax(dim=(1, 2, 3, 4)).median() > 0.1
    alone = torch.cat([chain(frames[k : k + 1], numbers[k : k + 1], numbers[k : k + 1], progress) for k in range(16)])
    torch.testing.assert_close(one, alone, atol=1e-5, rtol=0)


def test_an_operation_that_is_not_separable_ends_a_fused_run():
    clip = ClipSpec(1, 3, 24, 24)
    noise = {"use": "corruptions/noise"}
    chain, _ = build_chain(CATALOG, ENTRIES.validate_python([GAUSS, MIX, noise, BOX]), BuildContext(3, clip))
    assert [node.separable for node in chain.nodes] == [True, True, False, True]
    chain.nodes = [*chain.nodes[:2], *map(unfused, chain.nodes[2:])]
    frames, numbers = torch.rand(4, 1, 3, 24, 24), np.arange(4)
    whole, _ = build_chain(CATALOG, ENTRIES.validate_python([GAUSS, MIX, noise, BOX]), BuildContext(3, clip))
    torch.testing.assert_close(chain(frames, numbers, numbers), whole(frames, numbers, numbers), atol=1e-5, rtol=0)
    assert whole(frames[:0], numbers[:0], numbers[:0]).shape == (0, 1, 3, 24, 24)


@pytest.mark.parametrize("use", [MIX, MILD, GAUSS, BOX, KERNELS])
def test_operators_give_the_result_of_apply(use):
    node = build_chain(CATALOG, ENTRIES.validate_python([use]), BuildContext(3, ClipSpec(1, 1, 20, 26)))[0].nodes[0]
    node = node if isinstance(node, Operation) else node.node
    assert isinstance(node.operation, Separable)
    draws = node.operation.draw(DrawKeys(1, 0, np.zeros(9, np.int64), np.arange(9)))
    rows, columns = node.operation.operators(draws, 20, 26)
    assert rows[0].shape[::2] == (9, 20)
    assert columns[0].shape[::2] == (9, 26)
    frames = torch.rand(9, 1, 1, 20, 26)
    torch.testing.assert_close(
        apply_operators(frames, (rows, columns)), node.operation.apply(frames, draws), atol=1e-5, rtol=0
    )
    half = apply_operators(frames.half(), (rows, columns))
    assert half.dtype == torch.float16


def test_matrices_are_multiplied_through_the_smallest_image():
    generator = torch.Generator().manual_seed(2)
    sizes = [(24, 24), (6, 24), (24, 6), (24, 24)]
    steps = [torch.rand(2, *size, generator=generator, dtype=torch.float64) for size in sizes]
    two = fused(steps)
    assert [tuple(step.shape) for step in two] == [(2, 6, 24), (2, 24, 6)]
    one = fused([steps[0], steps[3]])
    assert [tuple(step.shape) for step in one] == [(2, 24, 24)]
    for k in range(2):
        torch.testing.assert_close(compose(*(step[k] for step in two)), compose(*(step[k] for step in steps)))
        torch.testing.assert_close(one[0][k], steps[3][k] @ steps[0][k])
