import hashlib
import io
import json
import tarfile

import cv2
import numpy as np
import pytest
import webdataset

from blear.contracts import Sample
from blear.data.shard.archive import Shard, index_path, load_index
from blear.data.shard.index import ShardIndex
from blear.data.shard.sample_codec import decode_sample, encode_sample
from blear.data.shard.tar_index import build_index
from blear.data.shard.writer import ShardWriter
from blear.errors import DataError

RNG = np.random.default_rng(0)


def sample(key, shape=(1, 6, 5, 1), dtype=np.uint8, clean=None, **columns):
    frames = RNG.integers(0, 256, shape, dtype=np.uint8)
    if dtype == np.float32:
        frames = RNG.standard_normal(shape, dtype=np.float32)
    return Sample(key, frames, {"emotion": 1, "valence": -0.1234567890123}, clean, **columns)


def write(path, samples):
    with ShardWriter(path) as shard:
        for one in samples:
            shard.add(one.key, encode_sample(one))
        return shard.close(path.name)


def read(path):
    with Shard.open(path) as shard:
        return [decode_sample(key, shard.read(n), str(path)) for n, key in enumerate(shard.index.keys)]


def assert_same(stored, truth):
    assert stored.key == truth.key
    assert stored.frames.dtype == truth.frames.dtype
    assert np.array_equal(stored.frames, truth.frames)
    assert (stored.clean is None) == (truth.clean is None)
    if truth.clean is not None:
        assert stored.clean.dtype == truth.clean.dtype
        assert np.array_equal(stored.clean, truth.clean)
    for column in ("targets", "subject", "video", "time", "meta"):
        assert getattr(stored, column) == getattr(truth, column)


@pytest.fixture
def samples():
    clean = RNG.random((3, 4, 7, 1), dtype=np.float32)
    return [
        sample("a"),
        sample("b/0", shape=(4, 6, 5, 3), subject="s", video="v é", time=0.04, meta={"face_px": 31, "who": "x"}),
        sample("b/1", shape=(2, 6, 5, 1), dtype=np.float32, clean=clean),
        sample("c", shape=(2, 6, 5, 2), clean=RNG.integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)),
        sample("long/" + "x" * 150),  # longer than a tar header holds
    ]


def test_decoded_samples_equal_the_encoded_ones(tmp_path, samples):
    info = write(tmp_path / "a.tar", samples)
    assert info.samples == len(samples)
    for stored, truth in zip(read(tmp_path / "a.tar"), samples, strict=True):
        assert_same(stored, truth)


def test_a_clip_is_one_image_with_frames_below_each_other():
    truth = sample("b", shape=(4, 6, 5, 3))
    members = encode_sample(truth)
    assert sorted(members) == ["json", "png"]
    picture = cv2.imdecode(np.frombuffer(members["png"], np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert np.array_equal(picture, np.concatenate(list(truth.frames)))
    assert json.loads(members["json"])["frames"] == 4


def test_numpy_scalars_become_python_numbers():
    given = Sample("a", np.zeros((1, 2, 2, 1), np.uint8), {"emotion": np.int64(3)}, meta={"x": np.float32(0.5)})
    content = json.loads(encode_sample(given)["json"])
    assert content["targets"] == {"emotion": 3}
    assert content["meta"] == {"x": 0.5}


def test_bytes_are_deterministic_and_digested(tmp_path, samples):
    first, second = (write(tmp_path / name, samples) for name in ("a.tar", "b.tar"))
    data = (tmp_path / "a.tar").read_bytes()
    assert data == (tmp_path / "b.tar").read_bytes()
    assert first.sha256 == second.sha256 == hashlib.sha256(data).hexdigest()
    assert first.bytes == len(data)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar", "a.tar.idx", "b.tar", "b.tar.idx"]


def test_the_written_index_equals_that_of_the_tar_headers(tmp_path, samples):
    shard = tmp_path / "a.tar"
    write(shard, samples)
    ours, headers = load_index(shard), build_index(shard)
    assert ours.keys == headers.keys == tuple(one.key for one in samples)
    assert ours.suffixes == headers.suffixes == ("clean.npy", "clean.png", "json", "npy", "png")
    assert np.array_equal(ours.places_NS2, headers.places_NS2)
    assert ours.bytes == headers.bytes == shard.stat().st_size


def test_an_error_leaves_no_file(tmp_path):
    members = {**encode_sample(sample("a")), "cls": 1}
    with pytest.raises(ValueError, match="cls doesn't map to a bytes"), ShardWriter(tmp_path / "a.tar") as shard:
        shard.add("a", members)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # WebDataset leaves its file to the garbage collector
def test_webdataset_decodes_our_shards(tmp_path, samples):
    rgb, floats = samples[1], samples[2]
    write(tmp_path / "a.tar", [rgb, floats])
    url = str(tmp_path / "a.tar")
    first, second = webdataset.WebDataset(url, shardshuffle=False).decode("rgb8")
    assert first["__key__"] == "b/0"
    assert np.array_equal(first["png"].reshape(4, 6, 5, 3), rgb.frames)
    assert first["json"]["targets"] == rgb.targets
    assert second["__key__"] == "b/1"
    assert np.array_equal(second["npy"], floats.frames)
    assert np.array_equal(second["clean.npy"], floats.clean)


def foreign(tmp_path, count=3):
    """A shard of `webdataset.ShardWriter`, which encodes the arrays and dicts."""
    pictures = RNG.integers(0, 256, (count, 8, 6, 3), dtype=np.uint8)
    with webdataset.ShardWriter(str(tmp_path / "f-%03d.tar"), verbose=0) as writer:
        for n, picture in enumerate(pictures):
            facts = {"targets": {"emotion": n}, "frames": 2}
            writer.write({"__key__": f"dir.v1/k{n}", "png": picture, "json": facts, "cls": n})
    return tmp_path / "f-000.tar", pictures


def test_shards_of_webdatasets_writer_are_read(tmp_path):
    shard, pictures = foreign(tmp_path)
    for _ in range(2):  # from the headers, then from the index that was kept
        stored = read(shard)
        assert [one.key for one in stored] == ["dir.v1/k0", "dir.v1/k1", "dir.v1/k2"]
        assert np.array_equal([one.frames.reshape(8, 6, 3) for one in stored], pictures)
        assert [one.targets for one in stored] == [{"emotion": n} for n in range(3)]
        assert index_path(shard).is_file()
    with tarfile.open(shard) as archive, Shard.open(shard) as ours:
        assert ours.read(1)["cls"] == archive.extractfile("dir.v1/k1.cls").read()


def test_a_jpeg_member_is_decoded():
    picture = cv2.imencode(".jpg", np.full((8, 8), 77, np.uint8))[1].tobytes()
    stored = decode_sample("a", {"jpg": picture, "json": b'{"targets": {}}'}, "x.tar")
    assert np.array_equal(stored.frames, np.full((1, 8, 8, 1), 77, np.uint8))


def test_a_truncated_shard_is_an_error_with_shard_and_sample(tmp_path, samples):
    shard = tmp_path / "a.tar"
    write(shard, samples)
    offset, size = load_index(shard).members(2)["npy"]
    shard.write_bytes(shard.read_bytes()[: offset + size - 1])
    with pytest.raises(DataError, match=rf"a\.tar: .*sample b/1, whose npy lies at byte {offset}\n.*`blear prepare`"):
        Shard.open(shard)


def test_a_shard_truncated_while_open_is_an_error_with_key_and_byte(tmp_path, samples):
    shard = tmp_path / "a.tar"
    write(shard, samples)
    with Shard.open(shard) as opened:
        offset, _ = opened.index.members(1)["json"]
        shard.write_bytes(shard.read_bytes()[: offset + 3])
        with pytest.raises(DataError, match=rf"a\.tar, sample b/0, byte {offset}: the shard ends inside the json"):
            opened.read(1)


@pytest.mark.parametrize("cut", ["in a member", "between members", "in a header"])
def test_a_truncated_tar_without_index_is_an_error(tmp_path, cut):
    shard, _ = foreign(tmp_path)
    whole = build_index(shard)
    offset, _ = whole.members(2)["cls"]
    end = {"in a member": offset - 512 - 600, "between members": offset - 512, "in a header": offset - 100}[cut]
    shard.write_bytes(shard.read_bytes()[:end])
    with pytest.raises(
        DataError, match=r"f-000\.tar: not a whole plain tar: .* \(after byte \d+, .*dir\.v1/k[12]\)\n.*delete"
    ):
        load_index(shard)
    assert not index_path(shard).exists()


def test_a_damaged_header_without_index_is_an_error(tmp_path):
    shard, _ = foreign(tmp_path)
    offset, _ = build_index(shard).members(1)["cls"]
    data = bytearray(shard.read_bytes())
    data[offset - 512 : offset - 412] = b"\xff" * 100
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"bad checksum \(after byte \d+, in or after sample dir\.v1/k0\)"):
        load_index(shard)


def test_a_file_that_is_no_tar_and_a_missing_file_are_errors(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar" * 500)
    with pytest.raises(DataError, match="not a whole plain tar"):
        load_index(tmp_path / "a.tar")
    with pytest.raises(DataError, match=r"b\.tar: the shard is missing"):
        load_index(tmp_path / "b.tar")


def test_two_members_of_one_name_make_only_that_sample_unusable(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as shard:
        for key in ("j", "k", "k"):
            shard.add(key, {"json": b'{"targets": {}}'})
        shard.close("a.tar")
    index = build_index(tmp_path / "a.tar")
    assert index.keys == ("j", "k")
    assert index.problems == {1: "there are two json members"}


@pytest.mark.parametrize("where", [0, 10, 30, -1])
def test_a_damaged_index_is_found_and_can_be_rebuilt(tmp_path, samples, where):
    shard = tmp_path / "a.tar"
    write(shard, samples)
    data = bytearray(index_path(shard).read_bytes())
    data[where] ^= 0xFF
    index_path(shard).write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tar\.idx: .*\n.*delete the \.idx"):
        load_index(shard)
    index_path(shard).unlink()
    assert_same(read(shard)[1], samples[1])


def test_an_empty_index_is_saved_and_loaded(tmp_path):
    ShardIndex.build({}, [], 10240).save(tmp_path / "x.idx")
    again = ShardIndex.load(tmp_path / "x.idx")
    assert (again.keys, again.suffixes, again.bytes) == ((), (), 10240)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


GOOD = encode_sample(sample("a", shape=(2, 6, 5, 1)))


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ({"png": GOOD["png"]}, "there is no json member"),
        ({**GOOD, "json": b"{"}, "the json member is not JSON"),
        ({**GOOD, "json": b"[]"}, "the json member has no `targets`"),
        ({"json": GOOD["json"]}, "there is no png, jpg or npy member"),
        ({**GOOD, "png": GOOD["png"][:-20]}, "the png member does not decode"),
        ({**GOOD, "png": b""}, "the png member does not decode"),
        ({**GOOD, "json": b'{"targets": {}, "frames": 5}'}, "the rows of the png member do not divide into its frames"),
        (
            {**GOOD, "json": b'{"targets": {}, "frames": "2"}'},
            "the rows of the png member do not divide into its frames",
        ),
        (
            {**GOOD, "png": cv2.imencode(".png", np.zeros((6, 5), np.uint16))[1].tobytes()},
            "the png member is neither grey nor RGB of 8 bits",
        ),
        ({"json": GOOD["json"], "npy": npy(np.zeros((1, 2, 2, 1), np.float32))[:-1]}, "the npy member does not decode"),
        ({"json": GOOD["json"], "npy": b"\x93NUMPY"}, "the npy member does not decode"),
        ({"json": GOOD["json"], "npy": npy(np.zeros((2, 2)))}, "the npy member is not uint8 or float32 [T, H, W, C]"),
        ({**GOOD, "clean.png": b"x"}, "the clean.png member does not decode"),
    ],
)
def test_a_sample_that_does_not_decode_is_an_error_with_cause_and_place(members, cause):
    with pytest.raises(DataError) as caught:
        decode_sample("k7", members, "train/00000-000.tar")
    assert caught.value.what == cause
    assert caught.value.where == "train/00000-000.tar, sample k7"
    assert "blear prepare" in caught.value.do


def test_a_pickled_array_is_never_loaded():
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="npy member does not decode"):
        decode_sample("a", {"json": GOOD["json"], "npy": stream.getvalue()}, "x.tar")
