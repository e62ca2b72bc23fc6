"""WebDataset is the writer and the reference reader: the indexed reader returns the same samples."""

import hashlib
import json
import shutil
import tarfile
import warnings

import numpy as np
import pytest
import webdataset
from click.testing import CliRunner
from data_server import serve
from data_toy import prepare_toy

from blear.cli import cli
from blear.data.prepared import Prepared
from blear.data.shard.archive import Shard, index_path
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_codec import decode_sample
from blear.data.shard.webdataset_check import compare_with_webdataset
from blear.data.shard.writer import ShardWriter
from blear.errors import DataError

KINDS = ("stills", "clips", "floats", "varied")


def sequential(shard):
    """[(key, suffix -> content)] as webdataset reads a shard; WebDataset leaves the file to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return [
            (one["__key__"], {suffix: data for suffix, data in one.items() if not suffix.startswith("__")})
            for one in webdataset.WebDataset([str(shard)], shardshuffle=False)
        ]


def indexed(shard):
    with Shard.open(shard) as opened:
        return [(key, opened.read(number)) for number, key in enumerate(opened.index.keys)]


def rewrite_with_webdataset(prepared):
    """Replaces every shard of a folder by one of `webdataset.ShardWriter`, with its defaults; dataset.json follows."""
    text = (prepared.folder / "dataset.json").read_text()
    for split in prepared.splits:
        for info in prepared.split(split).shards:
            shard = prepared.folder / info.name
            samples = sequential(shard)
            index_path(shard).unlink()
            with webdataset.ShardWriter(str(shard.parent / "other-%06d.tar"), encoder=False, verbose=0) as writer:
                for key, members in samples:
                    writer.write({"__key__": key, "txt": b"a member that blear does not read", **members})
            (shard.parent / "other-000000.tar").rename(shard)
            data = shard.read_bytes()
            text = text.replace(info.index_sha256, "")  # the other writer has none
            text = text.replace(info.sha256, hashlib.sha256(data).hexdigest())
            text = text.replace(f'"bytes": {info.bytes}', f'"bytes": {len(data)}')
    (prepared.folder / "dataset.json").write_text(text)
    return Prepared.open(prepared.folder)


@pytest.fixture(params=["ours", "webdataset's ShardWriter"])
def origin(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_the_indexed_reader_equals_webdataset(tmp_path, kind, origin):
    prepared = prepare_toy(tmp_path, kind=kind, samples=5)
    truth = {split: [read for shard in prepared.shards(split) for read in indexed(shard)] for split in prepared.splits}
    if origin != "ours":
        prepared = rewrite_with_webdataset(prepared)
    for split in prepared.splits:
        samples = [read for shard in prepared.shards(split) for read in indexed(shard)]
        assert samples == [read for shard in prepared.shards(split) for read in sequential(shard)]
        assert len(samples) == prepared.count(split) == len(truth[split])
        for (key, members), (true_key, true_members) in zip(samples, truth[split], strict=True):
            assert key == true_key
            assert {suffix: data for suffix, data in members.items() if suffix != "txt"} == true_members
            assert np.array_equal(decode_sample(key, members, "").frames, decode_sample(key, true_members, "").frames)
    assert prepared.verify(with_webdataset=True) == 4


def test_shards_have_the_bytes_of_earlier_versions(tmp_path):
    """Prepared datasets of earlier versions stay valid: headers with no time and no owner, members in their order."""
    samples = {
        "b/0": {"png": b"p" * 700, "clean.png": b"", "json": b'{"targets": {}}'},
        "l/" + "ä" * 150: {"json": b"{}"},
    }
    with ShardWriter(tmp_path / "a.tar") as writer:
        for key, members in samples.items():
            writer.add(key, members)
        size = writer.size
        info = writer.close("train/a.tar")
    with (
        (tmp_path / "b.tar").open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for key, members in samples.items():
            for suffix, data in members.items():
                header = tarfile.TarInfo(f"{key}.{suffix}")
                header.size = len(data)
                (tmp_path / "member").write_bytes(data)
                with (tmp_path / "member").open("rb") as member:
                    tar.addfile(header, member)
        assert size == tar.offset
    written = (tmp_path / "a.tar").read_bytes()
    assert written == (tmp_path / "b.tar").read_bytes()
    assert (info.name, info.samples, info.bytes) == ("train/a.tar", 2, len(written))
    assert info.sha256 == hashlib.sha256(written).hexdigest()
    assert indexed(tmp_path / "a.tar") == list(samples.items())


@pytest.fixture
def toy(tmp_path):
    return prepare_toy(tmp_path)


def swap_places(index):
    index.places_NS2[[0, 1]] = index.places_NS2[[1, 0]]


def shift_label(index):
    index.values_NK[1] += 1


def change_frames(index):
    index.frames_N2[2, 0] = 7


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap_places, r"sample part0/000: the (json|png) member differs"),
        (shift_label, r"sample part0/001: the labels are .* in the index, .* in the json member"),
        (change_frames, r"sample part0/002: the numbers of frames are \(7, 1\) in the index"),
    ],
)
def test_a_wrong_index_is_named_with_shard_and_key(toy, damage, message):
    shard = toy.shards("train")[0]
    index = ShardIndex.load(index_path(shard))
    for name in ("places_NS2", "values_NK", "frames_N2"):
        object.__setattr__(index, name, getattr(index, name).copy())
    damage(index)
    index.save(index_path(shard))
    with pytest.raises(DataError, match=rf"train/00000-000\.tar, {message}"):
        compare_with_webdataset(shard)
    with pytest.raises(DataError, match=r"00000-000\.tar\.idx: the index is damaged or belongs to another shard"):
        toy.verify()


def test_a_wrong_subject_or_key_in_the_index_is_named(toy):
    shard = toy.shards("train")[0]
    data = ShardIndex.load(index_path(shard))
    for name, old, new in (("column_block", b'"s1"', b'"s9"'), ("key_block", b"part0/001", b"part0/009")):
        block = getattr(data, name).replace(old, new)
        changed = ShardIndex(**{**vars_of(data), name: block})
        changed.save(index_path(shard))
        with pytest.raises(DataError, match=r"sample part0/00[19]: (subject is 's9'|webdataset reads 'part0/001')"):
            compare_with_webdataset(shard)


def vars_of(index):
    return {name: getattr(index, name) for name in index.__dataclass_fields__}


def test_a_sample_that_only_one_reader_finds_is_an_error(tmp_path, toy):
    shard = toy.shards("train")[0]
    whole = ShardIndex.load(index_path(shard))
    for rows, message in (
        ([0, 1], "sample part0/002: webdataset reads this sample, the index lacks it"),
        ([0, 1, 2, 2], "sample part0/002: webdataset does not read this sample"),
    ):
        changes = {name: getattr(whole, name)[rows] for name in ("places_NS2", "values_NK", "given_NK", "frames_N2")}
        columns = {name: [values[row] for row in rows] for name, values in whole.columns().items()}
        changes |= {"key_block": "\n".join(whole.keys[row] for row in rows).encode()}
        changes |= {"column_block": json.dumps(columns).encode()}
        ShardIndex(**{**vars_of(whole), **changes}).save(index_path(shard))
        with pytest.raises(DataError, match=message):
            compare_with_webdataset(shard)


def test_a_shard_that_webdataset_refuses_is_an_error(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as shard:
        for key in ("j", "k", "k"):
            shard.add(key, {"json": b'{"targets": {}}'})
        shard.close("a.tar")
    index_path(tmp_path / "a.tar").unlink()
    with pytest.raises(
        DataError, match=r"a\.tar, after sample j: webdataset cannot read the shard: k\.json: duplicate"
    ):
        compare_with_webdataset(tmp_path / "a.tar")


def test_an_empty_shard(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as shard:
        shard.close("a.tar")
    assert compare_with_webdataset(tmp_path / "a.tar") == 0


def test_the_command_compares_a_folder_and_a_url(tmp_path, toy, monkeypatch):
    monkeypatch.setenv("BLEAR_CACHE", str(tmp_path / "cache"))
    shutil.copytree(toy.folder, tmp_path / "served")
    with serve(tmp_path / "served") as (url, _):
        for place in (str(toy.folder), url):
            result = CliRunner().invoke(cli, ["verify", "--with-webdataset", place])
            assert result.exit_code == 0, result.output
            assert f"{place}: correct; 4 shards, 12 samples; webdataset reads the same" in result.output
