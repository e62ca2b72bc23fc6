"""A key that a split holds twice is found without all keys in memory."""

import tracemalloc

import pytest
from data_toy import prepare_toy

from blear.data.prepare import part_writer, repeated_keys
from blear.data.prepare.repeated_keys import find_repeated_key
from blear.errors import DataError


def blocks(count, extra=()):
    """Keys of one part in blocks of 1,000, made when they are read."""

    def read():
        for first in range(0, count, 1000):
            yield "a", [f"subject/{n:09d}" for n in range(first, min(first + 1000, count))]
        yield from extra

    return read


@pytest.mark.parametrize("bucket", [1 << 22, 1000])
def test_a_repeated_key_is_found_in_any_number_of_buckets(tmp_path, monkeypatch, bucket):
    monkeypatch.setattr(repeated_keys, "_BUCKET_KEYS", bucket)
    assert find_repeated_key(blocks(20_000), 20_000, tmp_path) is None
    found = find_repeated_key(blocks(20_000, [("b", ["new", "subject/000000007"])]), 20_002, tmp_path)
    assert found == ("subject/000000007", "a", "b")
    assert list(tmp_path.iterdir()) == []


def test_keys_of_equal_hashes_are_compared(tmp_path):
    """Python's hashes of -1 and -2 are equal."""
    assert find_repeated_key(lambda: [("a", [-1, -2])], 2, tmp_path) is None
    assert find_repeated_key(lambda: [("a", [-1, -2]), ("b", [-2])], 3, tmp_path) == (-2, "a", "b")


def test_the_memory_does_not_hold_all_keys(tmp_path, monkeypatch):
    """A dict of these keys needs 15 MB."""
    monkeypatch.setattr(repeated_keys, "_BUCKET_KEYS", 10_000)
    tracemalloc.start()
    try:
        assert find_repeated_key(blocks(100_000), 100_000, tmp_path) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_part_finds_an_early_key_again_at_once_and_any_key_at_the_end(tmp_path, monkeypatch):
    """The last sample of a part repeats the key before it; with no keys in memory, the whole split is compared."""
    with pytest.raises(DataError, match=r"part part1: key 'part1/001' comes twice"):
        prepare_toy(tmp_path, fault="twice")
    monkeypatch.setattr(part_writer, "_REMEMBERED_KEYS", 0)
    with pytest.raises(DataError, match=r"part part1: key 'part1/001' comes twice"):  # in one shard
        prepare_toy(tmp_path, fault="twice")
    monkeypatch.setattr(part_writer, "SHARD_SAMPLES", 1)
    with pytest.raises(DataError, match=r"split test: key 'part1/001' is twice in part1"):
        prepare_toy(tmp_path, fault="twice")
