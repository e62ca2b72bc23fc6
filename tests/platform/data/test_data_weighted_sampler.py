"""The weighted sampler: weights, strata, any number of workers, random access; and the members of groups."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from data_toy import prepare_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from blear.data.dataset_info import ShardInfo
from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampling_groups import (
    CategoricalColumn,
    SplitColumns,
    build_groups,
    column_names,
    describe_groups,
)
from blear.data.sampling.weighted_sampler import SamplingGroup, WeightedSampler
from blear.data.shard.archive import index_path
from blear.errors import DataError, JobError
from blear.job.schema import DrawEntry
from blear.storage.file_digest import file_digest
from blear.train.loop import train_stage
from blear.train.worker import LocalWorker

cells = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=6), min_size=1, max_size=4)
groups = st.builds(
    lambda share, lists: SamplingGroup(share, [np.array(one) for one in lists]), st.floats(0.01, 100), cells
)
samplers = st.builds(
    WeightedSampler, st.lists(groups, min_size=1, max_size=5), st.integers(1, 25), st.integers(-(2**63), 2**63 - 1)
)


def drawn(sampler: WeightedSampler, steps: int) -> np.ndarray:
    return np.concatenate([sampler.batch(step)[1] for step in range(steps)])


def within(found: np.ndarray, count: int, share: float) -> bool:
    """Six standard deviations of a binomial: one draw in 5e8 fails by chance, and the seed is fixed."""
    return abs(found.sum() - count * share) <= 6 * np.sqrt(count * share * (1 - share)) + 1e-9


@settings(deadline=None, max_examples=40)
@given(samplers, st.integers(0, 10**9), st.integers(1, 40))
def test_shares_of_all_workers_are_the_global_batch_and_balanced(
    sampler: WeightedSampler, step: int, world: int
) -> None:
    whole = np.stack(sampler.batch(step))
    parts = [np.stack(sampler.worker_batch(step, rank, world)) for rank in range(world)]
    back = np.full_like(whole, -1)
    for rank, part in enumerate(parts):
        back[:, rank::world] = part
    assert np.array_equal(back, whole)
    assert max(part.shape[1] for part in parts) - min(part.shape[1] for part in parts) <= 1


@settings(deadline=None, max_examples=30)
@given(samplers, st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_any_step_alone_equals_the_sequence(sampler: WeightedSampler, steps: list[int]) -> None:
    sequence = [sampler.batch(step) for step in range(31)]
    for step in steps:
        fresh = WeightedSampler(sampler.groups, sampler.batch_size, sampler.seed)
        for alone, inside in zip(fresh.batch(step), sequence[step], strict=True):
            assert alone.dtype == np.int64
            assert np.array_equal(alone, inside)


@settings(deadline=None, max_examples=30)
@given(samplers, st.integers(1, 25))
def test_draws_do_not_depend_on_the_batch_size(sampler: WeightedSampler, other: int) -> None:
    first = drawn(sampler, 25)
    second = drawn(WeightedSampler(sampler.groups, other, sampler.seed), len(first) // other)
    assert np.array_equal(second, first[: len(second)])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=4), st.integers(0, 2**31))
def test_groups_are_drawn_by_weight_and_their_samples_uniformly(shares: list[float], seed: int) -> None:
    sampler = WeightedSampler(
        [SamplingGroup(share, [np.arange(10) + 10 * n]) for n, share in enumerate(shares)], 4000, seed
    )
    samples = drawn(sampler, 1)
    for number, share in enumerate(shares):
        assert within(samples // 10 == number, 4000, share / sum(shares))
        for member in range(10):
            assert within(samples == 10 * number + member, 4000, share / sum(shares) / 10)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31))
def test_a_stratified_group_draws_its_classes_uniformly(seed: int) -> None:
    """Of two classes of 1 and 99 samples each comes half the time."""
    sampler = WeightedSampler([SamplingGroup(1.0, [np.array([7]), np.arange(100, 199)])], 4000, seed)
    assert within(drawn(sampler, 1) == 7, 4000, 0.5)


def test_seeds_draw_differently_and_repeated_samples_have_their_own_position() -> None:
    group = SamplingGroup(1.0, [np.arange(3)])
    assert len({tuple(drawn(WeightedSampler([group], 50, seed), 1).tolist()) for seed in (0, 1, -1)}) == 3
    epochs_B, samples_B = WeightedSampler([group], 50, 0).batch(2)
    assert epochs_B.tolist() == list(range(100, 150))
    assert set(samples_B.tolist()) == {0, 1, 2}


def test_the_draws_do_not_change_between_versions() -> None:
    # a change here would change what every resumed run sees
    sampler = WeightedSampler(
        [SamplingGroup(1.0, [np.arange(5)]), SamplingGroup(3.0, [np.array([10]), np.arange(20, 30)])], 12, seed=1
    )
    for step in (0, 1, 10**12):
        expected = []
        for position in range(12 * step, 12 * step + 12):
            group, cell, member = (splitmix(1, 0x64726177, position, 0, stream) for stream in range(3))
            cells = [[range(5)], [[10], range(20, 30)]][group >= 0.25]
            chosen = cells[int(cell * len(cells))]
            expected.append(chosen[int(member * len(chosen))])
        assert sampler.batch(step)[1].tolist() == expected


def splitmix(*parts: int) -> float:
    """SplitMix64 over (seed, operation, epoch, sample, stream), in whole numbers; [0, 1)."""
    golden, most = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z: int) -> int:
        z = (z + golden) & most
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & most
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & most
        return z ^ (z >> 31)

    *words, stream = parts
    state = 0
    for word in words:
        state = mix(state ^ word)
    return (mix(state ^ (stream * golden & most)) >> 11) * 2.0**-53


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WeightedSampler([], 1, 0),
        lambda: WeightedSampler([SamplingGroup(1.0, [np.arange(2)])], 0, 0),
        lambda: WeightedSampler([SamplingGroup(0.0, [np.arange(2)])], 1, 0),
        lambda: WeightedSampler([SamplingGroup(1.0, [])], 1, 0),
        lambda: WeightedSampler([SamplingGroup(1.0, [np.arange(2), np.arange(0)])], 1, 0),
    ],
)
def test_empty_groups_and_invalid_weights_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"at least 1|weight above 0"):
        wrong()
    with pytest.raises(ValueError, match="negative"):
        WeightedSampler([SamplingGroup(1.0, [np.arange(2)])], 1, 0).batch(-1)
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        WeightedSampler([SamplingGroup(1.0, [np.arange(2)])], 4, 0).worker_batch(0, 2, 2)


SPLIT = SplitColumns(
    8,
    {
        "emotion": CategoricalColumn(np.array([0, 1, 2, 2, 2, 0, 1, -1], dtype=np.int32), ("neutral", "anger", "fear")),
        "source": CategoricalColumn(np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int32), ("affectnet", "raf")),
    },
    ("emotion", "source", "row"),
)


def test_groups_are_described() -> None:
    draw = [
        DrawEntry(share=1, where={"source": "raf"}),
        DrawEntry(share=3, where={"source": "affectnet", "emotion": ["anger", "fear"]}, even="emotion"),
    ]
    assert describe_groups(draw, build_groups(draw, SPLIT, "draw"), SPLIT) == (
        "25.0% of 4 samples (source: raf); "
        "75.0% of 3 samples (source: affectnet, emotion: anger/fear, balanced over 2 values of emotion)"
    )


def cells_of(*draw: dict) -> list[list[list[int]]]:
    found = build_groups([DrawEntry.model_validate(group) for group in draw], SPLIT, "stages.s.draw")
    return [[cell.tolist() for cell in group.strata] for group in found]


def test_groups_follow_where_and_even() -> None:
    assert cells_of(
        {"share": 0.2, "where": {"source": "raf"}},
        {"share": 0.264, "where": {"source": "affectnet", "emotion": "neutral"}},
        {"share": 0.536, "where": {"source": "affectnet", "emotion": ["anger", "fear"]}, "even": "emotion"},
        {"share": 1},
        {"share": 1, "even": "emotion"},
        {"share": 1, "where": {"emotion": "fear"}, "even": "source"},
    ) == [
        [[4, 5, 6, 7]],
        [[0]],
        [[1], [2, 3]],
        [[0, 1, 2, 3, 4, 5, 6, 7]],
        [[0, 5], [1, 6], [2, 3, 4]],  # sample 7 has no emotion
        [[2, 3], [4]],
    ]


@pytest.mark.parametrize(
    ("group", "what", "do"),
    [
        ({"where": {"sauce": "raf"}}, "there is no class target or column of meta 'sauce'", "did you mean 'source'"),
        ({"even": "valence"}, "there is no class target or column of meta 'valence'", "known: emotion, source, row"),
        ({"where": {"emotion": "angr"}}, "no sample can have emotion 'angr'", "did you mean 'anger'"),
        ({"where": {"source": ["raf", 3]}}, "no sample can have source 3", "known: affectnet, raf"),
        ({"where": {"source": "raf", "emotion": ["neutral", "x"]}}, "no sample can have emotion 'x'", "known: neutral"),
        ({"where": {"emotion": []}}, "no sample belongs to this group", "change `where`"),
    ],
)
def test_an_impossible_group_is_an_error_with_a_suggestion(group: dict, what: str, do: str) -> None:
    with pytest.raises(JobError) as caught:
        cells_of({"share": 1}, {"share": 1} | group)
    assert what in caught.value.what
    assert do in caught.value.do
    assert caught.value.where.startswith("stages.s.draw.1")


def test_columns_are_read_from_the_indexes_of_the_shards(tmp_path: Path) -> None:
    """Two parts of three samples: emotion n % 2, face_px 20 + n; no shard is read."""
    prepared = prepare_toy(tmp_path)
    draw = [
        DrawEntry(share=1, where={"face_px": [20, 22]}, even="emotion"),
        DrawEntry(share=1, where={"emotion": "glad"}),
    ]
    assert column_names(draw) == {"face_px", "emotion"}
    for shard in prepared.shards("train"):
        shard.write_bytes(bytes(shard.stat().st_size))
    columns = SplitColumns.read(prepared, "train", column_names(draw))
    assert (columns.count, columns.known_names) == (6, ("emotion", "face_px"))
    assert columns.columns["emotion"].codes_N.tolist() == [0, 1, 0, 0, 1, 0]
    assert columns.columns["emotion"].categories == ("sad", "glad")
    assert [columns.columns["face_px"].categories[code] for code in columns.columns["face_px"].codes_N] == [
        20,
        21,
        22,
    ] * 2
    found = build_groups(draw, columns, "draw")
    assert [[cell.tolist() for cell in group.strata] for group in found] == [[[0, 2, 3, 5]], [[1, 4]]]


def test_a_million_samples_are_grouped_in_seconds() -> None:
    codes_N = np.random.default_rng(0).integers(7, size=10**6).astype(np.int32)
    columns = SplitColumns(10**6, {"emotion": CategoricalColumn(codes_N, tuple("abcdefg"))}, ("emotion",))
    began = time.process_time()  # of this process: others may keep the cores busy
    (group,) = build_groups([DrawEntry(share=1, where={"emotion": list("bcdefg")}, even="emotion")], columns, "draw")
    assert time.process_time() - began < 5
    assert [len(cell) for cell in group.strata] == np.bincount(codes_N)[1:].tolist()


def with_changed_shard(prepared: Prepared) -> Prepared:
    """The data after a change of their first shard's content."""
    shard = prepared.shards("train")[0]
    index_path(shard).unlink()
    train = prepared.info.splits["train"]
    changed = train.shards[0].model_copy(update={"sha256": file_digest(shard), "index_sha256": ""})
    train = train.model_copy(update={"shards": (changed, *train.shards[1:])})
    return Prepared(prepared.folder, prepared.info.model_copy(update={"splits": {"train": train}}))


def test_labels_that_cannot_be_used_count_as_broken(tmp_path: Path) -> None:
    prepared = prepare_toy(tmp_path)
    shard = prepared.shards("train")[0]
    shard.write_bytes(shard.read_bytes().replace(b'"emotion": 1', b'"emotion": 9'))
    prepared = with_changed_shard(prepared)
    with pytest.raises(
        DataError, match="1 samples have labels that cannot be used, the first one because target emoti"
    ):
        SplitColumns.read(prepared, "train", ["emotion"])
    columns = SplitColumns.read(prepared, "train", ["emotion"], max_broken=1)
    assert columns.columns["emotion"].codes_N.tolist() == [0, -1, 0, 0, 1, 0]
    draw = [DrawEntry(share=1), DrawEntry(share=1, where={"face_px": 21}), DrawEntry(share=1, even="face_px")]
    columns = SplitColumns.read(prepared, "train", column_names(draw), max_broken=1)
    found = build_groups(draw, columns, "draw")
    assert [[cell.tolist() for cell in group.strata] for group in found] == [
        [[0, 2, 3, 4, 5]],
        [[4]],
        [[0, 3], [4], [2, 5]],
    ]
    assert "; without 1 samples whose labels cannot be used" in describe_groups(draw, found, columns)
    sampler = WeightedSampler(found, 20, seed=0)
    for batch in batches(Store.open(prepared, "train", max_broken=1), sampler, 0, 3):
        assert len(batch.samples_B) == 20


def test_missing_values_of_a_column_are_no_value(tmp_path: Path) -> None:
    prepared = prepare_toy(tmp_path)
    shard = prepared.shards("train")[0]
    shard.write_bytes(shard.read_bytes().replace(b'"face_px": 20', b'"face_px":NaN').replace(b": 21", b":NaN"))
    prepared = with_changed_shard(prepared)
    columns = SplitColumns.read(prepared, "train", ["face_px"])
    assert columns.columns["face_px"].categories == (22, 20, 21)
    (group,) = build_groups([DrawEntry(share=1, even="face_px")], columns, "draw")
    assert [cell.tolist() for cell in group.strata] == [[2, 5], [3], [4]]


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    prepared = prepare_toy(tmp_path)
    train = prepared.info.splits["train"].model_copy(update={"shards": tuple[ShardInfo]()})
    info = prepared.info.model_copy(update={"splits": {"train": train}})
    with pytest.raises(DataError, match="the split has no sample"):
        SplitColumns.read(Prepared(prepared.folder, info), "train", [])


def test_batches_repeat_a_sample_that_is_drawn_again(tmp_path: Path) -> None:
    prepared = prepare_toy(tmp_path)
    store = Store.open(prepared, "train")
    sampler = WeightedSampler([SamplingGroup(1.0, [np.array([4, 1])])], 6, seed=0)
    whole = store.take(np.arange(6))
    for step, raw in enumerate(batches(store, sampler, 0, 4)):
        assert raw.samples_B.tolist() == sampler.batch(step)[1].tolist()
        assert torch.equal(raw.frames_BTCHW, whole.frames[torch.from_numpy(raw.samples_B)])
        assert raw.targets["emotion"].tolist() == [1] * 6


HAPPY, OTHERS = "{share: 1, where: {emotion: happy}}", "{share: 3, where: {emotion: [fear, angry]}, even: emotion}"
DRAW = f"stages.clean.draw=[{HAPPY}, {OTHERS}]"
TARGETS = "data.faces.stand_in.targets=[valence, emotion]"


def test_a_stage_trains_on_its_draws_and_audits_them(plan) -> None:
    """A batch of 16, more than some groups have samples; the audit names each draw."""
    drawing = plan("draws", TARGETS, DRAW, "stages.clean.audit=true", "stages.clean.steps=5")
    train_stage(drawing, LocalWorker(torch.device("cpu")))
    (file,) = (drawing.run.stage("clean") / "samples").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["epochs"] for line in lines] == [list(range(16 * n, 16 * n + 16)) for n in range(5)]
    prepared = Prepared.open(drawing.prepared["faces"])
    store, classes = Store.open(prepared, "train"), prepared.targets["emotion"].classes
    samples = np.concatenate([line["samples"] for line in lines])
    emotions = [classes[code] for code in store.take(samples).targets["emotion"].tolist()]
    assert set(emotions) == {"happy", "fear", "angry"}
    assert within(np.array(emotions) == "happy", 80, 0.25)


def test_fallback_data_may_have_groups_of_its_own(plan) -> None:
    """The stage's groups name what only the real data has."""
    real = "stages.clean.draw=[{share: 1, where: {source: raf}}]"
    with pytest.raises(JobError, match="no class target or column of meta 'source'"):
        train_stage(plan("real", TARGETS, real), LocalWorker(torch.device("cpu")))
    own = plan("own", TARGETS, real, "data.faces.stand_in.draw=[{share: 1, even: emotion}]", "stages.clean.steps=1")
    train_stage(own, LocalWorker(torch.device("cpu")))
    none = plan("none", TARGETS, real, "data.faces.stand_in.draw=[]", "stages.clean.steps=1")
    train_stage(none, LocalWorker(torch.device("cpu")))
    assert none.run.stage_done("clean")
