"""Near-duplicates: hashes against their definition, pairs against a search of all pairs, groups in shards, FER2013."""

import csv
import os
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.fft

from blear.cli import main
from blear.data.audit.hamming_pairs import hamming_pairs
from blear.data.audit.near_duplicates import find_near_duplicates, group_neighbours
from blear.data.audit.perceptual_hash import has_content, perceptual_hashes
from blear.data.prepared import Prepared

PLUGIN = '''
import numpy as np

from blear.contracts import ClipSpec

from blear.contracts import Component

from blear.contracts import Params

from blear.contracts import Sample

from blear.contracts import Target
from blear.hooks import hookimpl

PLUGIN_API = 1


def face(number):
    rng = np.random.default_rng(number)
    layers = [np.kron(rng.normal(size=(n, n)), np.ones((48 // n, 48 // n))) for n in (3, 6, 12, 24)]
    return np.clip(128 + 25 * sum(layers), 0, 255).astype(np.uint8)[None, :, :, None]


class Copies:
    """12 faces in train, 6 in dev; dev 0 is train 3, dev 1 nearly train 4, train 8 is train 7 with another label."""

    terms = "Random blocks."
    targets = (Target("emotion", "class", ("sad", "happy")),)
    splits = ("train", "dev")
    clip = ClipSpec(1, 1, 48, 48)

    def __init__(self, params, context):
        pass

    def parts(self, split):
        return ["all"]

    def samples(self, split, part):
        for number in range(12 if split == "train" else 6):
            frames = face(number if split == "train" else number + 100)
            if (split, number) == ("dev", 0):
                frames = face(3)
            if (split, number) == ("dev", 1):
                frames = np.clip(face(4).astype(int) + np.random.default_rng(0).integers(-3, 4, (1, 48, 48, 1)), 0, 255)
            if (split, number) == ("train", 8):
                frames = face(7)
            yield Sample(f"{number:03}", frames.astype(np.uint8), {"emotion": int(number in (4, 8))})


@hookimpl
def register_datasets():
    return [Component("copies", "Some faces twice", Params, Copies)]
'''


def test_a_hash_is_the_low_dct_coefficients_above_their_median():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 1, 48, 40), dtype=np.uint8)
    for picture, found in zip(pictures, perceptual_hashes(pictures), strict=True):
        small = cv2.resize(picture[0].astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
        low = scipy.fft.dctn(small.astype(np.float64))[:8, :8].ravel()
        assert int(found) == int("".join("1" if value > np.median(low) else "0" for value in low), 2)


def test_a_hash_is_robust_to_brightness_scale_and_compression_and_separates_faces():
    rng = np.random.default_rng(1)
    layers = [[cv2.resize(rng.normal(size=(n, n)), (96, 96)) for n in (3, 6, 12, 24)] for _ in range(20)]
    rough = np.clip([128 + 30 * sum(one) for one in layers], 0, 255).astype(np.uint8)
    own = perceptual_hashes(rough[:, None])
    brighter = perceptual_hashes((rough * 0.6 + 40).astype(np.uint8)[:, None])
    half = perceptual_hashes(np.stack([cv2.resize(p, (48, 48), interpolation=cv2.INTER_AREA) for p in rough])[:, None])
    coded = np.stack([cv2.imdecode(cv2.imencode(".jpg", p, [1, 40])[1], 0) for p in rough])
    for other in (brighter, half, perceptual_hashes(coded[:, None])):
        assert np.bitwise_count(own ^ other).max() <= 3
    apart = np.bitwise_count(own[:, None] ^ own)[~np.eye(20, dtype=bool)]
    assert apart.min() > 10
    rgb = perceptual_hashes(np.repeat(rough[:, None], 3, axis=1))
    assert np.bitwise_count(own ^ rgb).max() <= 1
    assert perceptual_hashes(np.full((1, 1, 48, 48), 77, np.uint8))[0] in (0, 1 << 63)


@pytest.mark.parametrize("radius", [0, 1, 3, 6])
def test_pairs_equal_those_of_comparing_all_with_all(radius):
    rng = np.random.default_rng(radius)
    base = rng.integers(2**64, size=300, dtype=np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << rng.integers(64, size=(900, 5)).astype(np.uint64), axis=1)
    values = np.unique(np.concatenate([base, np.repeat(base, 3) ^ flips]))
    rng.shuffle(values)
    far = np.bitwise_count(values[:, None] ^ values)
    expected = np.argwhere(np.triu(far <= radius, 1))
    np.testing.assert_array_equal(hamming_pairs(values, radius), expected)


def test_a_large_band_is_compared_in_blocks_and_equal_hashes_pair_with_the_first():
    values = np.arange(4000, dtype=np.uint64) << np.uint64(40)  # every lower band is the same: 8 million candidates
    found = hamming_pairs(values, 1)
    assert len(found) == sum(
        len(np.unique([n ^ (1 << b) for b in range(12) if n ^ (1 << b) > n and n ^ (1 << b) < 4000]))
        for n in range(4000)
    )
    assert hamming_pairs(np.array([5, 9, 5, 5], dtype=np.uint64), 0).tolist() == [[0, 2], [0, 3]]
    assert hamming_pairs(np.empty(0, dtype=np.uint64), 3).shape == (0, 2)
    with pytest.raises(ValueError, match="0 to 7"):
        hamming_pairs(values, 8)


@pytest.fixture
def shards(storage, tmp_path):
    """Folder of the prepared dataset of the plugin above."""
    from blear.data.prepare.run import prepare_dataset
    from blear.plugin.component_ref import ComponentRef

    (tmp_path / "audited.py").write_text(PLUGIN)
    ref = ComponentRef("dataset", "audited/copies", {}, (str(tmp_path / "audited.py"),))
    return prepare_dataset(ref, storage / "shards", version="1", seed=0, workers=1, use_ray=False).folder


def test_copies_are_found_across_splits_and_with_conflicting_labels(shards, tmp_path, monkeypatch, capsys):
    out = tmp_path / "copies.csv"
    monkeypatch.setattr(sys, "argv", ["blear", "data", "audit", str(shards), "--out", str(out)])
    main()
    text = capsys.readouterr().out
    for row in ("| all | 3 | 6 |", "| across splits | 2 | 4 |", "| conflicting labels | 2 | 4 |", "| dev | 6 | 2 |"):
        assert row in text
    with out.open() as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [
        ("0", "train", "003", "sad", "2", "0", "1"),
        ("0", "dev", "000", "sad", "2", "0", "1"),
        ("1", "train", "004", "happy", "2", "1", "1"),
        ("1", "dev", "001", "sad", "2", "1", "1"),
        ("2", "train", "007", "sad", "2", "1", "0"),
        ("2", "train", "008", "happy", "2", "1", "0"),
    ]
    twice = find_near_duplicates({"one": Prepared.open(shards), "two": Prepared.open(shards)}, 0)
    assert set(twice.splits_N) == {"one/train", "one/dev", "two/train", "two/dev"}
    assert all(twice.crosses_splits(group) for group in twice.groups)


def test_frames_stored_as_floats_are_compared_too(storage, tmp_path):
    from blear.data.prepare.run import prepare_dataset
    from blear.plugin.component_ref import ComponentRef

    assert PLUGIN.count("frames.astype(np.uint8)") == 1
    (tmp_path / "floats.py").write_text(PLUGIN.replace("frames.astype(np.uint8)", "np.float32(frames / 255)"))
    ref = ComponentRef("dataset", "floats/copies", {}, (str(tmp_path / "floats.py"),))
    prepared = prepare_dataset(ref, storage / "shards", version="1", seed=0, workers=1, use_ray=False)
    found = find_near_duplicates({"one": prepared}, 3)
    assert [found.keys_N[group].tolist() for group in found.groups] == [["003", "000"], ["004", "001"], ["007", "008"]]


def _without_content():
    y, x = np.mgrid[:48, :48]
    flat = [np.full((48, 48), level) for level in (0, 255, 128)]
    ramps = [5 * x, 255 - 5 * y, 2.6 * (x + y)]
    return [*flat, *ramps, 255 * ((x // 8 + y // 8) % 2), 255 * (x // 4 % 2)]


def test_pictures_without_content_are_known_by_their_few_frequencies():
    blank = np.stack([picture.astype(np.uint8) for picture in _without_content()])
    assert not has_content(blank[:, None]).any()
    assert not has_content(np.repeat(blank[:, None], 3, axis=1)).any()
    rng = np.random.default_rng(0)
    faces = np.stack([sum(cv2.resize(rng.normal(size=(n, n)), (48, 48)) for n in (3, 6, 12, 24)) for _ in range(20)])
    faces = 128 + 25 * faces
    dim, mirrored = 20 + 0.06 * faces, np.concatenate([faces[:, :, :24], faces[:, :, 23::-1]], axis=2)
    for pictures in (faces, dim, mirrored):
        assert has_content(np.clip(pictures, 0, 255).astype(np.uint8)[:, None]).all()


def test_pictures_without_content_are_counted_apart(storage, tmp_path, monkeypatch, capsys):
    """Black, white, grey, ramps, a checkerboard and stripes with labels in turns, beside two copies of one face."""
    from blear.data.prepare.run import prepare_dataset
    from blear.plugin.component_ref import ComponentRef

    np.save(tmp_path / "blank.npy", np.stack([picture.astype(np.uint8) for picture in _without_content()]))
    old = "            yield Sample("
    assert PLUGIN.count(old) == 1
    new = f"            if 0 < number < 9 and split == 'train':\n                frames = blank[number - 1]\n{old}"
    load = f"blank = [frames[None, :, :, None] for frames in np.load({str(tmp_path / 'blank.npy')!r})]\n"
    plugin = PLUGIN.replace(old, new).replace("PLUGIN_API", load + "PLUGIN_API").replace("face(3)", "face(0)")
    (tmp_path / "blanks.py").write_text(plugin)
    ref = ComponentRef("dataset", "blanks/copies", {}, (str(tmp_path / "blanks.py"),))
    folder = prepare_dataset(ref, storage / "shards", version="1", seed=0, workers=1, use_ray=False).folder
    monkeypatch.setattr(sys, "argv", ["blear", "data", "audit", str(folder)])
    main()
    text = capsys.readouterr().out
    for row in ("| all | 1 | 2 |", "| across splits | 1 | 2 |", "| conflicting labels | 0 | 0 |"):
        assert row in text
    assert "| without content (one colour, stripes) | - | 8 |" in text
    assert "Without content:\n- train:001 (sad)\n- train:002 (sad)\n" in text


def test_the_known_groups_of_fer2013_are_found(repository):
    """Every group of identical pictures in the list is found among them and 3,000 other faces."""
    data = Path(os.environ.get("BLEAR_DATA", repository.parent / "shared" / "data")) / "fer2013"
    if not (data / "duplicates.csv").is_file():
        pytest.skip("needs FER2013 and its list of duplicates in BLEAR_DATA")
    known: dict[str, list[int]] = {}
    with (data / "duplicates.csv").open() as file:
        for row in csv.DictReader(file):
            known.setdefault(row["group"], []).append(int(row["row"]))
    known = {name: group for name, group in known.items() if len(group) > 1}  # others are copies of rows kept elsewhere
    with (data / "labels.csv").open() as file:
        names = {int(row["row"]): row["file"] for row in csv.DictReader(file)}
    wanted = sorted({row for group in known.values() for row in group} | set(range(3000)))
    with zipfile.ZipFile(data / "faces.zip") as archive:
        inside = {name.split("faces/")[-1]: name for name in archive.namelist()}
        coded = [np.frombuffer(archive.read(inside[names[row]]), np.uint8) for row in wanted]
    found = perceptual_hashes(np.stack([cv2.imdecode(one, cv2.IMREAD_GRAYSCALE) for one in coded])[:, None])
    place = {row: i for i, row in enumerate(wanted)}
    parts = group_neighbours(found, 0)
    assert all(len({parts[place[row]] for row in group}) == 1 for group in known.values())
    assert (parts[[place[row] for group in known.values() for row in group]] >= 0).all()
    listed = sum(map(len, known.values()))
    assert (parts >= 0).sum() - listed < 0.05 * listed  # equal hashes that are not listed: pictures nearly the same
