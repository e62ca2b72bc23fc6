"""`webdataset`: shards of others, trained in place, compared with webdataset, Pillow and NumPy."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from own_files import video
from own_shards import encoded, npy, picture, read_shard, sample, write_tar, write_webdataset

from blear.clips import decode_frames, read_array
from blear.data.decoded.store import Store
from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.errors import DataError
from blear.plugin.component_ref import ComponentRef
from blear_own_data.shard_places import find_places
from blear_own_data.splitting import draw_splits
from blear_own_data.webdataset_params import WebdatasetParams

EIGHT = {f"{n:04d}": sample(n) for n in range(8)}


def prepare(folder, source, degrade_once=(), **params):
    params = {"targets": {"emotion": "cls"}, "splits": {"train": "*.tar*"}, **params}
    ref = ComponentRef("dataset", "own_data/webdataset", {"source": str(source), **params})
    return prepare_dataset(ref, folder / "prepared", version="1", workers=1, degrade_once=degrade_once)


def read(prepared, split="train"):
    """Key -> (frames [T, C, H, W], labels) of a split, in order."""
    store = Store.open(prepared, split)
    decoded = store.take(np.arange(len(store)))
    assert decoded.good_B.all()
    labels = {name: values.tolist() for name, values in decoded.targets.items()}
    return {
        key: (frames.numpy(), {name: values[n] for name, values in labels.items()})
        for n, (key, frames) in enumerate(zip(store.keys(np.arange(len(store))), decoded.frames, strict=True))
    }


def shard_writer(folder):
    return write_webdataset(folder, EIGHT)


def jpegs(folder):
    return write_webdataset(folder, {key: sample(n, "jpeg", quality=90) for n, key in enumerate(EIGHT)})


def mixed(folder):
    kinds = ("png", "jpeg", "webp", "bmp")
    options = [{"lossless": True} if kinds[n % 4] == "webp" else {} for n in range(8)]
    return write_webdataset(folder, {f"{n:04d}": sample(n, kinds[n % 4], **options[n]) for n in range(8)})


def nested(folder):
    write_tar(folder / "a" / "x.tar", dict(list(EIGHT.items())[:5]), folder="faces/train.d/")
    write_tar(folder / "b" / "x.tar", dict(list(EIGHT.items())[5:]))
    return folder


def gzipped(folder):
    write_tar(folder / "x.tar.gz", EIGHT, "w:gz")
    return folder


def other_orders(folder):
    write_tar(folder / "x.tar", dict(list(EIGHT.items())[:4]), order=("json", "cls", "png"))
    write_tar(folder / "y.tar", dict(list(EIGHT.items())[4:]), order=("cls", "png", "json"))
    return folder


def three_sizes(folder):
    sizes = ((20, 16), (16, 16), (33, 50))
    return write_webdataset(folder, {f"{n:04d}": sample(n, size=sizes[n % 3]) for n in range(8)})


def two_images(folder):
    both = {key: {"jpg": encoded(90, "jpeg"), **members} for key, members in EIGHT.items()}
    return write_webdataset(folder, both)


def upper_case(folder):
    write_tar(folder / "x.tar", {key: {s.upper(): d for s, d in m.items()} for key, m in EIGHT.items()})
    return folder


def dotted(folder):
    samples = {key: {"face.png": m["png"], "meta.json": m["json"], "cls": m["cls"]} for key, m in EIGHT.items()}
    write_tar(folder / "x.tar", samples)
    return folder


def odd_keys(folder):
    write_tar(
        folder / "x.tar", {f"très drôle {n}": sample(n) for n in range(4)} | {f"图{n}": sample(n) for n in range(4)}
    )
    return folder


def grey_and_palette(folder):
    modes = ("L", "RGB", "P", "I;16")
    return write_webdataset(folder, {f"{n:04d}": sample(n, mode=modes[n % 3]) for n in range(8)})


def text_labels(folder):
    names = ("sad", "happy", "angry")
    samples = {key: {"png": m["png"], "txt": f"{names[n % 3]}\n".encode()} for n, (key, m) in enumerate(EIGHT.items())}
    return write_webdataset(folder, samples)


def packed_labels(folder):
    write_tar(folder / "x.tar", {k: {"png": m["png"], "json.gz": gzip.compress(m["json"])} for k, m in EIGHT.items()})
    return folder


def arrays(folder):
    samples = {
        key: {
            "npy": npy(np.full((16, 20, 3), n * 20, np.uint8)),
            "label.npy": npy(np.float32([n, 1, 2])),
            "cls": m["cls"],
        }
        for n, (key, m) in enumerate(EIGHT.items())
    }
    return write_webdataset(folder, samples)


def metadata_members(folder):
    write_tar(folder / "x.tar", {"__meta": {"json": b"{}"}, **EIGHT})
    with tarfile.open(folder / "x.tar", "a") as archive:
        archive.addfile(tarfile.TarInfo("README"))
        archive.add(folder, "folder.d", recursive=False)
    return folder


def text_of(members, field):
    return members[field].decode().strip()


NAMES = ["angry", "happy", "sad"]
# name -> (writer, parameters, suffix of the picture, label from the members by the standard library)
SHARDS = {
    "ShardWriter": (shard_writer, {}, "png", lambda m: {"emotion": int(m["cls"])}),
    "JPEG": (jpegs, {}, "jpeg", lambda m: {"emotion": int(m["cls"])}),
    "mixed suffixes": (mixed, {}, "png;jpeg;webp;bmp", lambda m: {"emotion": int(m["cls"])}),
    "nested folders, equal names": (nested, {"splits": {"train": "."}}, "png", lambda m: {"emotion": int(m["cls"])}),
    "gzip": (gzipped, {}, "png", lambda m: {"emotion": int(m["cls"])}),
    "other orders": (other_orders, {}, "png", lambda m: {"emotion": int(m["cls"])}),
    "three sizes": (three_sizes, {"size": [12, 14]}, "png", lambda m: {"emotion": int(m["cls"])}),
    "three sizes, stretched grey": (
        three_sizes,
        {"size": 12, "fit": "stretch", "color": "grey"},
        "png",
        lambda m: {"emotion": int(m["cls"])},
    ),
    "two images": (two_images, {"image": "png;jpg"}, "png", lambda m: {"emotion": int(m["cls"])}),
    "upper case": (upper_case, {}, "png", lambda m: {"emotion": int(m["cls"])}),
    "dots in suffixes": (
        dotted,
        {"image": "face.png", "targets": {"v": "meta.json.valence", "k": {"field": "meta.json.deep.list.0"}}},
        "face.png",
        lambda m: {"v": json.loads(m["meta.json"])["valence"], "k": json.loads(m["meta.json"])["deep"]["list"][0]},
    ),
    "odd keys": (odd_keys, {}, "png", lambda m: {"emotion": int(m["cls"])}),
    "grey and palette": (grey_and_palette, {}, "png", lambda m: {"emotion": int(m["cls"])}),
    "text": (
        text_labels,
        {"targets": {"emotion": "label;txt"}},
        "png",
        lambda m: {"emotion": NAMES.index(text_of(m, "txt"))},
    ),
    "named numbers": (
        shard_writer,
        {"targets": {"emotion": {"field": "cls", "classes": ["sad", "happy", "angry"]}}},
        "png",
        lambda m: {"emotion": int(m["cls"])},
    ),
    "compressed JSON": (
        packed_labels,
        {"targets": {"v": {"field": "json.valence", "bounds": [-1, 1]}}},
        "png",
        lambda m: {"v": json.loads(gzip.decompress(m["json.gz"]))["valence"]},
    ),
    "votes": (
        shard_writer,
        {"targets": {"votes": {"field": "json.votes", "kind": "distribution", "classes": ["a", "b"]}}},
        "png",
        lambda m: {"votes": [v / (json.loads(m["json"])["votes"][0] + 1) for v in json.loads(m["json"])["votes"]]},
    ),
    "other members": (metadata_members, {}, "png", lambda m: {"emotion": int(m["cls"])}),
}


@pytest.mark.parametrize("name", SHARDS)
def test_shards(name, tmp_path):
    writer, params, suffixes, label = SHARDS[name]
    source = writer(tmp_path / "source")
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()}
    prepared = prepare(tmp_path, source, **params)
    found = read(prepared)
    expected = []
    for path in sorted(before):
        for key, members in read_shard(path).items():
            suffix = next((one for one in suffixes.split(";") if one in members), None)
            if suffix is not None:
                frames = picture(
                    members[suffix],
                    prepared.clip.height and (prepared.clip.height, prepared.clip.width),
                    params.get("color", "rgb"),
                    params.get("fit", "crop"),
                )
                expected.append((key, frames, label(members)))
    assert len(found) == len(expected) == 8
    for (key, (frames, labels)), (original, reference, wanted) in zip(found.items(), expected, strict=True):
        np.testing.assert_array_equal(frames[0], reference)
        assert labels == pytest.approx(wanted) if not any(isinstance(v, list) for v in wanted.values()) else True
        for target, value in wanted.items():
            np.testing.assert_allclose(labels[target], value, rtol=1e-6)
        if original.isascii() and "." not in original and " " not in original:
            assert key.endswith(f"/{original}")
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()} == before  # nothing is added
    assert prepared.info.format == 4
    assert prepared.verify() == len(prepared.split("train").shards)
    assert not list(prepared.folder.glob("train/*.tar"))


def test_arrays_and_their_labels(tmp_path):
    source = arrays(tmp_path / "source")
    spec = {"field": "label.npy", "kind": "distribution", "classes": ["a", "b", "c"]}
    found = read(prepare(tmp_path, source, targets={"votes": spec, "emotion": "cls"}, image="npy"))
    for number, (frames, labels) in enumerate(found.values()):
        assert frames.shape == (1, 3, 16, 20)
        assert np.unique(frames).tolist() == [number * 20]
        np.testing.assert_allclose(labels["votes"], np.array([number, 1, 2]) / (number + 3), rtol=1e-6)


def test_videos(tmp_path):
    samples = {}
    for number in range(4):
        path = video(tmp_path / f"{number}.mp4", range(0, 10 * (number + 2), 10))
        samples[f"{number}"] = {"mp4": path.read_bytes(), "cls": b"%d" % (number % 2)}
    source = write_webdataset(tmp_path / "source", samples)
    prepared = prepare(tmp_path, source, length=3, size=16)
    assert (prepared.clip.length, prepared.info.params["contents"]) == (3, "videos")
    for number, (frames, _) in enumerate(read(prepared).values()):
        chosen = np.linspace(0, number + 1, 3).round() * 10
        np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), chosen, atol=3)


def test_splits_come_from_names_or_are_drawn_by_subject(tmp_path):
    write_webdataset(tmp_path / "named", EIGHT, pattern="faces-train-%03d.tar")
    write_webdataset(tmp_path / "named", EIGHT, pattern="faces-val-%03d.tar")
    prepared = prepare(tmp_path, tmp_path / "named", splits=None)
    assert prepared.splits == ("train", "dev")
    many = {f"{n:04d}": sample(n) | {"json": json.dumps({"who": f"s{n % 20}"}).encode()} for n in range(60)}
    write_webdataset(tmp_path / "one", many, maxcount=20)
    prepared = prepare(tmp_path, tmp_path / "one", splits=None, subject="json.who", test=0.3)
    assert prepared.splits == ("train", "test")
    people = {}
    for split in prepared.splits:
        store = Store.open(prepared, split)
        people[split] = set(store.metadata(np.arange(len(store))).subjects)
        assert len(store) == 3 * len(people[split])
        for key, (frames, _) in read(prepared, split).items():
            np.testing.assert_array_equal(frames[0], picture(many[key.rpartition("/")[2]]["png"], (16, 20)))
    names = sorted(people["train"] | people["test"])  # the rule of `folders` and `table`
    drawn = dict(zip(names, draw_splits(names, {"test": (0.0, 0.3)}), strict=True))
    assert {name: split for split, of_split in people.items() for name in of_split} == drawn
    assert (len(people["train"]), len(people["test"])) == (14, 6)
    with pytest.raises(DataError, match="20 subjects, videos or files cannot be divided: none is left for test"):
        prepare(tmp_path, tmp_path / "one", splits=None, subject="json.who", folds=100, fold=99)


def test_a_second_run_reads_nothing_and_a_changed_shard_is_indexed_again(tmp_path):
    source = shard_writer(tmp_path / "source")
    first = prepare(tmp_path, source)
    (tmp_path / "source" / "train-0001.tar").rename(tmp_path / "aside.tar")
    write_tar(source / "train-0001.tar", {"0001": sample(5)})
    with pytest.raises(DataError, match=r"train-0001\.tar: the shard has \d+ bytes, \d+ when it was indexed\n  -> run"):
        read(first)
    second = prepare(tmp_path, source)
    assert second.folder != first.folder
    assert list(read(second))[-1] == "train-0001/0001"
    shutil.copystat(tmp_path / "aside.tar", source / "train-0001.tar")
    (tmp_path / "aside.tar").rename(source / "train-0001.tar")
    assert prepare(tmp_path, source).folder == first.folder
    (first.folder / "train" / "00001-000.tar.idx").unlink()
    with pytest.raises(DataError, match="the index of this shard is missing or damaged"):
        first.index(first.split("train").shards[1])
    assert len(read(prepare(tmp_path, source))) == 8


def test_a_decompressed_copy_is_made_again(tmp_path):
    prepared = prepare(tmp_path, gzipped(tmp_path / "source"))
    (copy,) = (prepared.folder / "unpacked").glob("*.tar")
    copy.unlink()
    assert not prepared.complete()
    assert len(read(prepare(tmp_path, tmp_path / "source"))) == 8


def test_offline_degradations_write_shards(tmp_path):
    from blear.plugin.uses import DegradationUse

    source = shard_writer(tmp_path / "source")
    once = (DegradationUse.model_validate({"use": "corruptions/downscale", "factor": 2}),)
    prepared = prepare(tmp_path, source, degrade_once=once)
    assert prepared.info.format == 3
    clean = read(prepare(tmp_path, source))
    store = Store.open(prepared, "train")
    decoded = store.take(np.arange(len(store)))
    np.testing.assert_array_equal(decoded.clean[0].numpy(), clean["train-0000/0000"][0])
    assert (decoded.frames[0] != decoded.clean[0]).any()


def broken(members, **changes):
    kept = {suffix: data for suffix, data in members.items() if suffix not in changes}
    return kept | {suffix: data for suffix, data in changes.items() if data is not None}


MISTAKES = {
    "no picture": (
        broken(sample(1), png=None),
        {},
        r"b\.tar, sample 0001: there is no file jpg, .* endings\n  .*has cls, json",
    ),
    "no label": (broken(sample(1), cls=None), {}, r"sample 0001: target emotion \(field cls\) is missing"),
    "other class": (
        broken(sample(1), cls=b"7"),
        {"targets": {"emotion": {"field": "cls", "classes": ["a", "b", "c"]}}},
        r"sample 0001: target emotion \(field cls\) is '7', and the classes are a, b, c",
    ),
    "no such key": (sample(1), {"targets": {"v": "json.valenze"}}, r"no label for 'v'"),
    "no number": (
        broken(sample(1), json=b'{"valence": "high"}'),
        {"targets": {"v": {"field": "json.valence", "kind": "value"}}},
        r"sample 0001: target v \(field json.valence\) is 'high', expected a number",
    ),
    "no JSON": (
        broken(sample(1), json=b"{"),
        {"targets": {"v": {"field": "json.valence", "kind": "value"}}},
        r"sample 0001: target v \(field json.valence\) is not JSON",
    ),
    "pickle": (
        sample(1) | {"pyd": b"x"},
        {"targets": {"v": {"field": "pyd;json.valence", "kind": "value"}}},
        r"sample 0001: target v \(field pyd;json.valence\) is a pickle",
    ),
    "damaged gzip": (
        broken(sample(1), json=None) | {"json.gz": gzip.compress(b'{"valence": 1}')[:10] + b"\xff" * 20},
        {"targets": {"v": {"field": "json.valence", "kind": "value"}}},
        r"sample 0001: target v \(field json.valence\) cannot be decompressed",
    ),
    "damaged array": (
        sample(1) | {"label.npy": npy(np.float32([1, 2])).replace(b"}", b" ", 1)},
        {"targets": {"v": {"field": "label.npy;json.valence", "kind": "value"}}},
        r"sample 0001: target v \(field label.npy;json.valence\) is not an npy file",
    ),
    "time": (sample(1), {"time": "json.who"}, r"sample 0002: time is 'p0', expected a number"),
}


def test_a_damaged_array_is_a_value_error():
    """numpy raises errors of six types, and returns an archive where the first bytes are those of a zip file."""
    whole, rng = npy(np.zeros((4, 4, 3), np.uint8)), np.random.default_rng(0)
    assert read_array(whole).shape == (4, 4, 3)
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[int(rng.integers(128))] = int(rng.integers(256))
        with contextlib.suppress(ValueError):
            read_array(bytes(damaged))
    archive = io.BytesIO()
    np.savez(archive, a=np.arange(3))
    for content in (b"", whole.replace(b"}", b" ", 1), archive.getvalue()):
        with pytest.raises(ValueError, match="no npy array"):
            read_array(content)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_name_shard_and_sample(name, tmp_path):
    bad, params, message = MISTAKES[name]
    write_tar(tmp_path / "source" / "a.tar", {"0002": sample(0), "0003": sample(2)})
    write_tar(tmp_path / "source" / "b.tar", {"0000": sample(0), "0001": bad})
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, tmp_path / "source", **params)
    if name in ("no picture", "no label"):
        assert len(read(prepare(tmp_path, tmp_path / "source", max_broken=1))) == 3


def test_damaged_shards_and_pictures(tmp_path):
    source = tmp_path / "source"
    write_tar(source / "a.tar", EIGHT)
    whole = (source / "a.tar").read_bytes()
    (source / "a.tar").write_bytes(whole[:3000])
    with pytest.raises(DataError, match=r"a\.tar: (not a whole plain tar|the shard cannot be read)"):
        prepare(tmp_path, source)
    write_tar(source / "a.tar", EIGHT | {"0003": sample(3) | {"png": b"x"}, "0004": sample(4, size=(9, 9))})
    prepared = prepare(tmp_path, source)
    with pytest.raises(DataError, match=r"1 x the png member does not decode: .*a\.tar a/0003"):
        read(prepared)
    store = Store.open(prepared, "train", max_broken=2)
    assert store.take(np.arange(8)).good_B.tolist() == [True] * 3 + [False] * 2 + [True] * 3
    assert "it has 9x9 pixels, other samples 20x16: set `size`" in store.broken[1][2]


def test_a_dataset_json_at_a_url_cannot_name_files_of_this_machine(tmp_path, monkeypatch):
    prepared = prepare(tmp_path, shard_writer(tmp_path / "source"))
    from blear.storage.remote import RemoteFolder

    data = (prepared.folder / "dataset.json").read_bytes()
    monkeypatch.setattr(RemoteFolder, "read", lambda self, name, limit: data)
    with pytest.raises(DataError, match="its shards are read in place on another machine"):
        Prepared.open("https://example.org/shards")


def test_a_mistake_in_all_samples_is_named_where_splits_are_drawn(tmp_path):
    write_webdataset(tmp_path / "source", EIGHT)
    targets = {"v": {"field": "json.valenze", "kind": "value"}}
    with pytest.raises(DataError, match=r"target v \(field json.valenze\) has no 'valenze'"):
        prepare(tmp_path, tmp_path / "source", splits=None, test=0.5, targets=targets)


def test_a_shard_in_two_splits_is_refused(tmp_path):
    write_webdataset(tmp_path / "source", EIGHT)
    with pytest.raises(DataError, match=r"train-0001.tar: this shard is in the splits 'train' and 'test'"):
        prepare(tmp_path, tmp_path / "source", splits={"train": "train-*.tar", "test": "train-0001.tar"})


def test_shards_of_one_name_in_several_folders(tmp_path):
    for camera in ("cam1", "cam2"):
        write_tar(tmp_path / "source" / camera / "0000.tar", {"0001": sample(len(camera)), "0002": sample(3)})
    found = prepare(tmp_path, tmp_path / "source", splits={"train": "**/*.tar"})
    assert sorted(read(found)) == [f"{camera}/0000/{key}" for camera in ("cam1", "cam2") for key in ("0001", "0002")]


def test_shards_in_a_linked_folder(tmp_path):
    write_webdataset(tmp_path / "disk", EIGHT)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "train").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "given")
    found = find_places(WebdatasetParams(source=str(tmp_path / "given"), targets={"emotion": "cls"}))
    shards = sorted(path.name for path in (tmp_path / "disk").glob("*.tar"))
    assert shards
    assert found == {"train": [str(tmp_path / "given" / "train" / name) for name in shards]}


def test_files_that_macos_adds_to_a_tar_are_no_samples(tmp_path):
    for folder in ("", "sub/"):
        shard = write_tar(tmp_path / (folder or "top") / "a.tar", {"0001": sample(1)}, folder=folder)
        write_tar(shard, {"._0001": {"png": b"x"}, "0002": sample(2)}, mode="a", folder=folder)
        assert len(read(prepare(tmp_path, shard.parent))) == 2


def test_messages_about_a_video_in_memory_have_its_name_and_no_temporary_file(tmp_path, capfd):
    with pytest.raises(DataError, match="no frame can be decoded") as caught:
        decode_frames(b"no video", "a.tar: 0001.mp4", (2, 32, 32, 3), "crop")
    assert caught.value.where == "a.tar: 0001.mp4"
    content = bytearray(video(tmp_path / "whole.mp4", range(0, 240, 8)).read_bytes())
    end = content.index(b"moov") - 4
    content[end - 60 : end] = bytes(60)  # the last frames
    assert decode_frames(bytes(content), "a.tar: 0002.mp4", (2, 32, 32, 3), "crop").shape == (2, 32, 32, 3)
    assert capfd.readouterr().err.startswith("a.tar: 0002.mp4: the file is damaged")
