"""Fuzzed shards, indexes and dataset.json: each is read or refused, in bounded time and memory."""

import base64
import io
import json
import struct
import tarfile

import numpy as np
import pytest
import torch
from data_toy import prepare_toy
from fuzzing import fuzz, mutated

from blear.contracts import Sample
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.data.shard.archive import Shard, index_path
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_codec import decode_sample, encode_sample
from blear.data.shard.tar_index import build_index

INPUTS = 7500
TOKENS = (
    *(b"\0", b"\xff" * 8, b"..", b"/", b"../../x.png", b"NaN", b"1e999", b"-1", b"9" * 30, b"[" * 3000, b"\\ud800"),
    *(b"77777777777\0", b"\x80" + b"\xff" * 11, b"ustar  \0", b"ustar\00000", *(bytes([c]) for c in b"LxgSK125V\r\n")),
    *(b"30 path=a/b.png\n", b"99999999 size=1\n", b"GNU.sparse.map=0,1", b"(99999999, 99999999, 9, 1)", b"'|O8'"),
    *(struct.pack(">II", 30000, 30000), b"IHDR", b"IDAT", b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff", b"\xff\xd8"),
)


def with_correct_checksums(data):
    """Corrects the checksum of every tar header, so that damaged headers pass that check."""
    fixed = bytearray(data)
    for at in range(0, len(fixed) - 511, 512):
        block = fixed[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            fixed[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(fixed)


def archive(members, kind=tarfile.PAX_FORMAT):
    """A tar of (name, data) pairs, as tarfile writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def samples():
    rng = np.random.default_rng(0)
    stills = rng.integers(0, 256, (2, 1, 6, 5, 1), dtype=np.uint8)
    floats = rng.random((1, 2, 6, 5, 1), dtype=np.float32)
    for number, frames in enumerate((*stills, *floats)):
        yield Sample(f"part/{number}", frames, {"emotion": 1, "valence": 0.5}, frames[:1, :3], "s", "v", 0.5, {"px": 3})


def seeds():
    """Small tars in the PAX, GNU and USTAR formats."""
    members = [(f"{one.key}.{suffix}", data) for one in samples() for suffix, data in encode_sample(one).items()]
    yield archive(members)
    yield archive([("long/" * 40 + name, data) for name, data in members[:3]], tarfile.GNU_FORMAT)
    yield archive([("lång/" * 40 + name, data) for name, data in members[:3]], tarfile.PAX_FORMAT)
    yield archive(members[:3], tarfile.USTAR_FORMAT)


def read(path):
    """Reads and decodes every sample of a shard."""
    with Shard.open(path) as shard:
        for number, key in enumerate(shard.index.keys):
            decode_sample(key, shard.read(number), str(path))
        shard.index.columns()


def read_store(folder):
    prepared = Prepared.open(folder)
    for split in prepared.splits:
        store = Store.open(prepared, split, folder / "cache", max_broken=3)
        every = np.arange(len(store))
        store.take(every)
        store.metadata(every)


def inputs(rng, folder):
    """Yields (input, call that reads it) without end."""
    torch.set_num_threads(1)
    tars = list(seeds())
    shard, index = folder / "a.tar", folder / "b.idx"
    shard.write_bytes(tars[0])
    build_index(shard).save(index)
    whole_index = index.read_bytes()
    members = [encode_sample(one) for one in samples()]
    prepared = prepare_toy(folder, samples=2, parts=1)
    facts = (prepared.folder / "dataset.json").read_bytes()
    real = prepared.shards("train")[0]
    whole, whole_beside = real.read_bytes(), index_path(real).read_bytes()

    def put(data):
        shard.write_bytes(data)
        index_path(shard).unlink(missing_ok=True)

    def load(data):
        index.write_bytes(data)
        loaded = ShardIndex.load(index)
        put(tars[0])
        index_path(shard).write_bytes(data)
        read(shard)
        return loaded

    def dataset(changed, shard_data, beside):
        (prepared.folder / "dataset.json").write_bytes(changed)
        real.write_bytes(shard_data)
        index_path(real).unlink(missing_ok=True)
        if beside is not None:
            index_path(real).write_bytes(beside)
        read_store(prepared.folder)

    while True:
        kind = rng.random()
        if kind < 0.45:
            data = mutated(rng, rng.choice(tars), TOKENS)
            data = with_correct_checksums(data) if rng.random() < 0.7 else data
            yield data, lambda data=data: (put(data), read(shard))
        elif kind < 0.6:
            data = mutated(rng, whole_index, TOKENS)
            if rng.random() < 0.5:  # the digest of the body is right again, so that the header alone is wrong
                data = with_correct_digest(data)
            yield data, lambda data=data: load(data)
        elif kind < 0.8:
            one = dict(rng.choice(members))
            suffix = rng.choice(list(one))
            one[suffix] = mutated(rng, one[suffix], TOKENS)
            yield repr(one).encode(), lambda one=one: decode_sample("k", one, "a.tar")
        elif kind < 0.97:
            data = with_correct_checksums(mutated(rng, whole, TOKENS))
            beside = rng.choice((None, whole_beside, mutated(rng, whole_beside, TOKENS)))
            yield data, lambda data=data, beside=beside: dataset(facts, data, beside)
        else:
            data = mutated(rng, facts, TOKENS)
            yield data, lambda data=data: dataset(data, whole, whole_beside)


def with_correct_digest(data):
    """Corrects the digest in the header of an index, if the header is found."""
    import hashlib
    import re

    end = 16 + struct.unpack("<Q", data[8:16].ljust(8, b"\0"))[0]
    if end > len(data):
        return data
    digest = hashlib.sha256(data[end:]).hexdigest().encode()
    return data[:16] + re.sub(rb'"sha256": "[^"]{64}"', b'"sha256": "' + digest + b'"', data[16:end]) + data[end:]


@pytest.mark.parametrize("seed", [0])
def test_damaged_shards_are_read_or_refused(seed):
    result = fuzz(__file__, seed, INPUTS)
    assert result["failures"] == []
    assert result["ran"] == INPUTS
    assert result["accepted"] > 100
    assert len(result["refused"]) > 20  # the mutations reach different checks


def test_the_unmutated_inputs_are_read(tmp_path):
    for number, data in enumerate(seeds()):
        shard = tmp_path / f"{number}.tar"
        shard.write_bytes(data)
        assert with_correct_checksums(data) == data
        read(shard)
    assert json.loads(encode_sample(next(samples()))["json"])["frames"] == 1


if __name__ == "__main__":  # python test_fuzz_shards.py SEED COUNT: a longer run by hand
    import sys

    found = fuzz(__file__, int(sys.argv[1]), int(sys.argv[2]), timeout=3600)
    for failure in found["failures"][:10]:
        text, _, data = failure.rpartition("input ")
        sys.stdout.write(f"{text}\n{base64.b64decode(data)[:300]!r}\n\n")
    sys.stdout.write(f"{found['ran']} inputs, {found['accepted']} accepted, {len(found['failures'])} failures\n")
    sys.stdout.write(f"{json.dumps(found['refused'], indent=1)}\n")
