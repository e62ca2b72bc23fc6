"""Broken samples in shards of other writers: left out, counted by cause, named by shard and key, limited in number."""

import hashlib
import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
from data_toy import prepare_toy, toy_samples

from blear.contracts import Sample
from blear.data.decoded.store import Store
from blear.data.prepared import Prepared
from blear.data.shard.sample_codec import encode_sample
from blear.data.shard.tar_index import build_index
from blear.errors import DataError

KEYS = [f"part0/{n:03d}" for n in range(6)]


@pytest.fixture
def toy(tmp_path):
    """One shard of six samples in each split."""
    return prepare_toy(tmp_path, samples=6, parts=1)


def members(prepared, split="train"):
    """(name, data) of all members of a split's only shard."""
    with tarfile.open(prepared.shards(split)[0]) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive]


def tar(members, kind=tarfile.PAX_FORMAT):
    """A tar of (name, data) pairs, or of ready TarInfos with data, as tarfile writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def put(prepared, data, split="train", samples=6):
    """The dataset with `data` as the only shard of the split, without an index, as if it had been written so."""
    info = prepared.split(split).shards[0]
    shard = prepared.folder / info.name
    shard.write_bytes(data)
    shard.with_name(f"{shard.name}.idx").unlink(missing_ok=True)
    facts = json.loads((prepared.folder / "dataset.json").read_text())
    new = {"name": info.name, "samples": samples, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    facts["splits"][split]["shards"] = [new]
    (prepared.folder / "dataset.json").write_text(json.dumps(facts))
    return Prepared.open(prepared.folder)


def replaced(found, **changes):
    """The members with `suffix=data` of sample 2 changed; None leaves a member out."""
    new = [(name, changes.get(name.removeprefix(f"{KEYS[2]}."), data)) for name, data in found]
    return [(name, data) for name, data in new if data is not None]


def picture_bomb():
    """A PNG of a few bytes, right in every checksum, that claims 30,000 x 30,000 pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def jpeg_bomb():
    """The same as a JPEG: start, frame header, scan header."""
    frame = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 30_000, 30_000) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(50) + b"\xff\xd9"


def npy(shape, kind="'|u1'"):
    """An npy header that claims a shape, and no data."""
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def facts(text):
    """A json member with `text` as the value of the target valence."""
    return f'{{"targets": {{"emotion": 0, "valence": {text}}}, "frames": 1}}'.encode()


CAUSES = {
    "no picture": ({"png": b""}, "png"),
    "picture cut off": ({"png": b"\x89PNG\r\n\x1a\n\x00\x00"}, "the png member does not decode"),
    "picture bomb": ({"png": picture_bomb()}, "30000"),
    "no json": ({"json": None}, "there is no json member"),
    "no clip": ({"png": None}, "there is no png"),
    "nested json": ({"json": b"[" * 100_000}, "the json member is not JSON"),
    "json of nothing": ({"json": b""}, "the json member is not JSON"),
    "nan": ({"json": facts("NaN")}, "target valence is nan"),
    "infinite": ({"json": facts("1e999")}, "target valence is inf"),
    "huge integer": ({"json": facts("9" * 400)}, "target valence is an integer that is too large"),
    "huger integer": ({"json": facts("9" * 5000)}, "the json member is not JSON"),
    "out of bounds": ({"json": facts("1.5")}, "target valence is 1.5"),
    "a text": ({"json": facts('"high"')}, "target valence is 'high'"),
}


def check(prepared, broken, truth):
    """Reading leaves exactly `broken` (key -> cause) out, gives all else bit for bit, and stops over the budget."""
    shard = prepared.split("train").shards[0].name
    store = Store.open(prepared, "train", max_broken=len(broken))
    every = np.arange(len(truth))
    taken = store.take(every)
    keys = store.keys(every)
    assert [key for key, good in zip(keys, taken.good_B, strict=True) if not good] == list(broken)
    good = [sample for key, sample in zip(keys, truth, strict=True) if key not in broken]
    expected = np.stack([sample.frames.transpose(0, 3, 1, 2) for sample in good])
    assert np.array_equal(taken.frames.numpy(), expected)
    assert taken.targets["emotion"].tolist() == [sample.targets["emotion"] for sample in good]
    found = {key: (place, cause) for place, key, cause in store.broken}
    assert found.keys() == broken.keys()
    for key, (place, cause) in found.items():
        assert place.endswith(shard)
        assert broken[key] in cause
    if not broken:
        return
    with pytest.raises(DataError) as caught:
        Store.open(prepared, "train", prepared.folder / "other", max_broken=len(broken) - 1).take(every)
    text = str(caught.value)
    assert f"more than {len(broken) - 1} broken samples" in text
    for key, cause in broken.items():
        assert key in text
        assert cause in text


@pytest.mark.parametrize("kind", CAUSES)
def test_a_bad_member_is_counted_by_its_cause(toy, tmp_path, kind):
    changes, cause = CAUSES[kind]
    prepared = put(toy, tar(replaced(members(toy), **changes)))
    check(prepared, {KEYS[2]: cause}, toy_samples(tmp_path, "train", samples=6, parts=1))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (npy((1 << 20, 1 << 20, 1, 1)), "shape (1048576, 1048576, 1, 1)"),
        (npy((1 << 32, 1 << 32, 1, 1)), "shape (4294967296, 4294967296, 1, 1)"),
        (npy((1, 6, 5, 1)), "does not decode"),
        (npy((1, 6, 5, -1)), "not uint8 or float32 [T, H, W, C]"),
        (npy("(" * 200 + ")" * 200), "does not decode"),
        (npy((1, 6, 5, 1), "'|O'"), "does not decode"),
        (b"", "does not decode"),
    ],
    ids=range(7),
)
def test_an_array_with_a_wrong_header_is_broken(toy, tmp_path, data, cause):
    found = [(name, body) for name, body in members(toy) if name != f"{KEYS[2]}.png"]
    prepared = put(toy, tar([*found[:5], (f"{KEYS[2]}.npy", data), *found[5:]]))
    check(prepared, {KEYS[2]: cause}, toy_samples(tmp_path, "train", samples=6, parts=1))


def test_a_jpeg_bomb(toy, tmp_path):
    found = [
        (f"{KEYS[2]}.jpg", jpeg_bomb()) if name == f"{KEYS[2]}.png" else (name, data) for name, data in members(toy)
    ]
    check(put(toy, tar(found)), {KEYS[2]: "30000"}, toy_samples(tmp_path, "train", samples=6, parts=1))


def test_broken_samples_are_counted_by_cause(toy, tmp_path):
    found = replaced(members(toy), png=b"")
    found = [(name, facts("NaN") if name in (f"{KEYS[0]}.json", f"{KEYS[4]}.json") else data) for name, data in found]
    prepared = put(toy, tar(found))
    broken = {KEYS[0]: "target valence is nan", KEYS[2]: "png", KEYS[4]: "target valence is nan"}
    check(prepared, broken, toy_samples(tmp_path, "train", samples=6, parts=1))
    with pytest.raises(DataError, match="2 x target valence is nan"):
        Store.open(prepared, "train", tmp_path / "another", max_broken=2).take(np.arange(6))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_of_one_sample_may_lie_apart(toy, tmp_path, kind):
    found = members(toy)
    pictures = [one for one in found if one[0].endswith(".png")]
    rest = [one for one in found if not one[0].endswith(".png")]
    prepared = put(toy, tar([*pictures, *rest[::-1]], kind))
    check(prepared, {}, toy_samples(tmp_path, "train", samples=6, parts=1))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_read_whole(tmp_path, kind):
    frames = np.arange(30, dtype=np.uint8).reshape(1, 6, 5, 1)
    keys = ["long/" * 60 + "ä", "folder/" + "x" * 180]
    data = [(f"{key}.{s}", d) for key in keys for s, d in encode_sample(Sample(key, frames, {"valence": 0.5})).items()]
    (tmp_path / "a.tar").write_bytes(tar(data, kind))
    index = build_index(tmp_path / "a.tar")
    assert index.keys == tuple(keys)
    assert index.problems == {}


@pytest.mark.parametrize("key", ["../../outside", "/abs/outside", "a/../../outside"])
def test_keys_that_lead_out_of_the_folder_are_broken_and_never_written(toy, tmp_path, key):
    before = set(tmp_path.parent.parent.rglob("outside*"))
    found = members(toy)
    renamed = [(name.replace(KEYS[2], key), data) for name, data in found]
    prepared = put(toy, tar(renamed))
    index = build_index(prepared.shards("train")[0])
    assert [index.keys[row] for row in index.problems] == [key]
    check(prepared, {key: "leads out of its folder"}, toy_samples(tmp_path, "train", samples=6, parts=1))
    assert set(tmp_path.parent.parent.rglob("outside*")) == before


def test_two_members_of_one_suffix(toy, tmp_path):
    found = members(toy)
    prepared = put(toy, tar([*found, (f"{KEYS[3]}.png", b"other")]))
    check(prepared, {KEYS[3]: "there are two png members"}, toy_samples(tmp_path, "train", samples=6, parts=1))


def test_links_and_sparse_files_are_not_members(toy, tmp_path):
    found = members(toy)
    link, sparse = tarfile.TarInfo(f"{KEYS[1]}.png"), tarfile.TarInfo(f"{KEYS[4]}.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    sparse.type = tarfile.GNUTYPE_SPARSE
    swap = {f"{KEYS[1]}.png": (link, b""), f"{KEYS[4]}.png": (sparse, b"")}
    prepared = put(toy, tar([swap.get(name, (name, data)) for name, data in found], tarfile.GNU_FORMAT))
    broken = {KEYS[1]: "there is no png", KEYS[4]: "the png member is a sparse file"}
    check(prepared, broken, toy_samples(tmp_path, "train", samples=6, parts=1))


def test_names_that_cannot_be_printed_are_escaped(tmp_path):
    picture = encode_sample(Sample("k", np.zeros((1, 2, 2, 1), np.uint8), {}))
    names = ["a\nb", "tab\tc", "\udcff"]
    (tmp_path / "a.tar").write_bytes(tar([(f"{name}.{s}", d) for name in names for s, d in picture.items()]))
    index = build_index(tmp_path / "a.tar")
    assert index.keys == ("a\\x0ab", "tab\\x09c", "\\udcff")
    index.save(tmp_path / "a.idx")
    assert type(index).load(tmp_path / "a.idx").keys == index.keys


@pytest.mark.parametrize("kind", [b"x", b"L", b"K", b"g", b"0", b"S"])
@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\0" * 3 + b"\xff" * 8, b"\xff" * 10 + b"\xf0\x00"])
def test_a_header_with_an_absurd_size_is_refused_without_reading_it(tmp_path, kind, size):
    """8 GiB in octal, 2^64 - 1 and -4096 in base 256; tarfile itself would try to read that much for a long name."""
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[124:136], header[148:156] = kind, size, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(tar([("b.png", b"x")])[:1024] + header + bytes(10_240))
    with pytest.raises(DataError, match=r"not a whole plain tar: .*in or after sample [ab]"):
        build_index(tmp_path / "a.tar")


def test_thousands_of_nested_long_name_headers_are_refused(tmp_path):
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[148:156] = b"L", b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) * 5000 + bytes(1024))
    with pytest.raises(DataError, match="not a whole plain tar"):
        build_index(tmp_path / "a.tar")
