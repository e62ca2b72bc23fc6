"""Lists of degradations: probabilities, groups, schedules, and the random streams of their parts."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from blear.contracts import DATASET_STREAMS, BuildContext, ClipSpec, DrawKeys
from blear.degradation.chain import build_chain, evaluation_chain, swept_chain
from blear.errors import JobError
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationEntry, DegradationUse
from blear.random_keys import nested

CATALOG = load_plugins((str(Path(__file__).parents[1] / "degrade_plugin.py"),))
ENTRIES = TypeAdapter(list[DegradationEntry])
CLIP = ClipSpec(1, 1, 2, 2)
SEED = 7


def add(**more):
    return {"use": "degrade_plugin/add", **more}


def times(factor, **more):
    return {"use": "degrade_plugin/times", "factor": factor, **more}


def fit(to, **more):
    return {"use": "degrade_plugin/fit", "to": to, **more}


def chain_of(*entries, first=0):
    return build_chain(CATALOG, ENTRIES.validate_python(entries), BuildContext(SEED, CLIP), "degrade", first=first)[0]


def run(*entries, count=400, start=1.0, progress=1.0, first=0, samples=None):
    """The value of each sample after the chain, for frames filled with `start`; float64 [B]."""
    samples_B = np.arange(count) if samples is None else np.asarray(samples)
    frames = torch.full((len(samples_B), 1, 1, 2, 2), start)
    out = chain_of(*entries, first=first)(frames, np.ones_like(samples_B), samples_B, progress)
    assert torch.equal(out, out[..., :1, :1].expand_as(out))
    return out[:, 0, 0, 0, 0].double().numpy()


def drawn(operation, count=400):
    """The numbers that `add` adds when it draws from a stream."""
    samples_B = np.arange(count)
    return DrawKeys(SEED, operation, np.ones_like(samples_B), samples_B).uniform()[:, 0]


def test_each_entry_of_a_flat_list_draws_from_the_stream_of_its_position():
    np.testing.assert_allclose(run(add(), times(3), add()), (1 + drawn(0)) * 3 + drawn(16), rtol=1e-6)
    np.testing.assert_allclose(run(add(), times(3), add(), first=4), (1 + drawn(18)) * 3 + drawn(20), rtol=1e-6)
    assert {0, 1, 16, 18, 20}.isdisjoint(DATASET_STREAMS)


def test_streams_of_parts_are_pinned():
    """Other stream numbers would change the draws of groups in all finished runs."""
    assert nested(0, 0) == 7620573580782624667
    assert nested(5, -1) == 7904072245564335421
    numbers = {nested(operation, index) for operation in range(100) for index in range(-2, 98)}
    assert len(numbers) == 10_000
    assert all(2**62 <= number < 2**63 for number in numbers)
    keys = DrawKeys(1, 5, np.zeros(3), np.arange(3), 0.25)
    assert (keys.nested(2).operation, keys.nested(2).progress, keys.frozen().progress) == (nested(5, 2), 0.25, 0.25)


def test_p_selects_samples_and_does_not_change_their_draws():
    out = run(add(p=0.3))
    chosen = out > 1
    np.testing.assert_allclose(out, 1 + drawn(0) * chosen, rtol=1e-6)
    np.testing.assert_array_equal(chosen, drawn(nested(0, -1)) < 0.3)
    assert chosen.mean() == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(run(add(p=0)), np.ones(400))
    np.testing.assert_array_equal(run(add(p=1)), run(add()))


def test_a_component_with_a_p_of_its_own_draws_by_itself():
    out = run({"use": "degrade_plugin/own", "p": 0.25})
    np.testing.assert_array_equal(out, np.where(drawn(0) < 0.25, 101, 1))
    assert set(run({"use": "degrade_plugin/own"})) == {1, 101}
    with pytest.raises(ValueError, match="less than or equal to 1"):
        ENTRIES.validate_python([{"use": "degrade_plugin/own", "p": 2}])


@pytest.mark.parametrize(
    "entry",
    [
        add(p=0.4),
        {"chain": [add(), times(2, p=0.5)], "p": 0.6},
        {"one_of": [add(), times(2), {"chain": [times(3), add()]}]},
        {"any_order": [add(p=0.7), times(2), {"one_of": [times(5), add(most=9)]}]},
    ],
)
def test_draws_depend_neither_on_the_batch_nor_on_later_entries(entry):
    whole = run(entry, add(), count=24)
    alone = np.concatenate([run(entry, add(), samples=[k]) for k in range(24)])
    np.testing.assert_array_equal(whole, alone)
    before = run(entry, count=24)
    np.testing.assert_array_equal(whole, np.float32(before + np.float32(drawn(1, 24))))
    group = next((key for key in ("chain", "any_order") if key in entry), None)
    if group == "chain":
        longer = entry | {group: [*entry[group], times(1)]}
        np.testing.assert_array_equal(run(longer, count=24), before)
    assert run(entry, count=0).shape == (0,)


def test_each_member_of_a_chain_has_its_own_stream():
    out = run({"chain": [add(), {"chain": [times(2), add()]}]}, first=3)
    inner = nested(nested(17, 1), 1)
    np.testing.assert_allclose(out, (1 + drawn(nested(17, 0))) * 2 + drawn(inner), rtol=1e-6)


def test_one_of_chooses_by_weight():
    counts = Counter(run({"one_of": [times(2, weight=3), times(3), times(5, weight=0)]}, count=8000))
    assert set(counts) == {2, 3}
    assert counts[2] / 8000 == pytest.approx(0.75, abs=0.02)
    only = run({"one_of": [add(weight=0), add()]})
    np.testing.assert_allclose(only, 1 + drawn(nested(0, 1)), rtol=1e-6)


def test_p_of_a_member_of_one_of_applies_after_the_choice():
    counts = Counter(run({"one_of": [times(2, p=0.5), times(3)]}, count=8000))
    assert [counts[k] / 8000 for k in (1, 2, 3)] == pytest.approx([0.25, 0.25, 0.5], abs=0.02)


def test_any_order_applies_each_entry_once_in_uniformly_drawn_orders():
    ends = drawn(nested(0, 2), 6000)
    places = {}
    for order in itertools.permutations([2, 3, None]):
        value = np.ones(6000)
        for step in order:
            value = value + ends if step is None else value * step
        places[order] = value
    found = np.float32(run({"any_order": [times(2), times(3), add()]}, count=6000))
    hits = np.stack([np.isclose(found, value, rtol=1e-6) for value in places.values()])
    assert hits.any(axis=0).all()
    # add first, in the middle after 2 or after 3, last: of six orders the first and the last have two each
    share = [np.isclose(found, places[order], rtol=1e-6).mean() for order in ((None, 2, 3), (2, None, 3), (3, None, 2))]
    assert share == pytest.approx([1 / 3, 1 / 6, 1 / 6], abs=0.02)


def test_from_and_until_are_fractions_of_the_steps():
    entries = [times(2, until=0.5), times(3, **{"from": 0.5})]
    assert [run(*entries, count=1, progress=at)[0] for at in (0.0, 0.49, 0.5, 0.99, 1.0)] == [2, 2, 3, 3, 3]
    always = [times(2), times(2, **{"from": 0, "until": 1})]
    assert run(*always, count=1, progress=1.0)[0] == 4


def test_probabilities_and_weights_follow_their_schedule():
    p = {0.2: 0.0, 0.6: 0.8}
    for progress, expected in ((0.0, 0.0), (0.2, 0.0), (0.4, 0.4), (0.6, 0.8), (1.0, 0.8)):
        share = (run(times(2, p=p), count=4000, progress=progress) == 2).mean()
        assert share == pytest.approx(expected, abs=0.03)
    mix = {"one_of": [times(2, weight={0: 1, 1: 0}), times(3, weight={0: 0, 1: 3})]}
    for progress, expected in ((0.0, 0.0), (0.5, 0.75), (1.0, 1.0)):
        share = (run(mix, count=4000, progress=progress) == 3).mean()
        assert share == pytest.approx(expected, abs=0.03)
    # samples selected by a smaller probability are also selected by a larger one
    early, late = (run(times(2, p=p), progress=at) == 2 for at in (0.3, 0.5))
    assert (late >= early).all()
    assert late.sum() > early.sum()


@pytest.mark.parametrize(
    ("entry", "words", "place"),
    [
        ({"one_of": [fit(3), times(2)]}, "after entry 0 frames have 3 x 3 pixels, after entry 1 2 x 2", "0.one_of"),
        ({"any_order": [times(2), fit(1)]}, "after entry 1 1 x 1", "0.any_order"),
        ({"chain": [times(2), fit(3, p=0.5)]}, "2 x 2 pixels into 3 x 3, but not every sample", "0.chain.1"),
        (fit(3, until=0.5), "not every sample goes through it", "0"),
        ({"chain": [fit(3)], "p": 0.5}, "not every sample goes through it", "0"),
    ],
)
def test_groups_that_give_samples_of_different_sizes_are_refused(entry, words, place):
    with pytest.raises(JobError, match=words) as caught:
        chain_of(entry)
    assert caught.value.where == f"degrade.{place}"


@pytest.mark.parametrize(
    "entry",
    [
        {"one_of": [fit(3), {"chain": [times(2), fit(3)]}]},
        {"any_order": [fit(3), {"chain": [times(2), fit(3)]}]},
        {"chain": [{"one_of": [fit(2), times(2)]}, fit(3)]},
        {"chain": [fit(3), fit(2)], "p": 0.5},
    ],
)
def test_groups_may_change_the_size_equally_for_all_samples(entry):
    chain, after = build_chain(CATALOG, ENTRIES.validate_python([entry]), BuildContext(SEED, CLIP))
    out = chain(torch.ones(5, 1, 1, 2, 2), np.zeros(5), np.arange(5))
    side = 2 if "p" in entry else 3
    assert (out.shape, after.clip) == ((5, 1, 1, side, side), ClipSpec(1, 1, side, side))


def test_the_evaluation_chain_keeps_the_sizes_of_groups():
    entries = [{"one_of": [fit(3), fit(4)], "p": 0.5}, {"chain": [times(2), fit(5)]}, {"any_order": [add(), fit(6)]}]
    chain, after = evaluation_chain(CATALOG, ENTRIES.validate_python(entries), BuildContext(SEED, CLIP))
    assert len(chain.nodes) == 3
    assert after.clip == ClipSpec(1, 1, 6, 6)
    assert torch.equal(chain(torch.ones(2, 1, 1, 2, 2), np.zeros(2), np.arange(2)), torch.ones(2, 1, 1, 6, 6))


def test_gradients_pass_through_groups():
    frames = torch.ones(6, 1, 1, 2, 2, requires_grad=True)
    chain = chain_of({"any_order": [times(2, p=0.5), {"one_of": [times(3), times(5)]}]})
    out = chain(frames, np.zeros(6), np.arange(6))
    out.sum().backward()
    assert torch.equal(frames.grad, out.detach())


def swept(before=(), after=()):
    """The value of each sample after a swept `add` with other entries around it, for frames filled with 1."""
    around = ENTRIES.validate_python(before), ENTRIES.validate_python(after)
    use = DegradationUse.model_validate(add(most=5))
    chain = swept_chain(CATALOG, use, around, BuildContext(SEED, CLIP), "evaluate.sweep")
    samples_B = np.arange(50)
    return chain(torch.ones(50, 1, 1, 2, 2), np.ones_like(samples_B), samples_B)[:, 0, 0, 0, 0].double().numpy()


def test_entries_around_a_swept_degradation_do_not_change_its_draws():
    own, first, last = 5 * drawn(0, 50), drawn(nested(1, 0), 50), drawn(nested(2, 1), 50)
    np.testing.assert_allclose(swept(), 1 + own, rtol=1e-6)
    np.testing.assert_allclose(swept(before=[add()]), 1 + first + own, rtol=1e-6)
    expected = (1 + first + own) * 2 + last
    np.testing.assert_allclose(swept(before=[add()], after=[times(2), add()]), expected, rtol=1e-6)
