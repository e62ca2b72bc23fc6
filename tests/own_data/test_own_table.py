"""`table`: tables in every form, compared with pandas and Pillow."""

from __future__ import annotations

import json
from unicodedata import normalize

import numpy as np
import pandas
import pytest
from own_files import picture, read_all, reference, video
from PIL import Image, ImageOps
from pydantic import ValidationError

from blear.contracts import BuildContext, ClipSpec
from blear.errors import DataError
from blear_own_data.table import Table
from blear_own_data.table_params import TableParams

ROWS = pandas.DataFrame(
    {
        "path": [f"p/{n}.png" for n in range(8)],
        "mood": ["sad", "happy", "angry", "sad", "happy", "happy", "sad", "angry"],
        "code": [2, 1, 0, 2, 1, 1, 2, 0],
        "valence": [-0.5, 0.75, -1.0, 0.0, 0.25, 1.0, -0.125, -0.5],
        "who": ["x", "x", "y", "y", "z", "z", "w", "w"],
        "set": ["train", "train", "train", "train", "val", "val", "test", "test"],
        "sec": [0.0, 0.5, 1.0, 1.5, 0.0, 0.5, 1.0, 1.5],
        "v_sad": [3, 0, 1, 4, 0, 1, 2, 1],
        "v_happy": [1, 5, 0, 4, 3, 3, 0, 1],
        "left": [1, 2, 3, 4, 1, 2, 3, 4],
        "top": [0, 1, 2, 3, 0, 1, 2, 3],
        "width": [10, 11, 12, 13, 10, 11, 12, 13],
        "height": [9, 8, 7, 6, 9, 8, 7, 6],
    }
)


def build(source, **params):
    return Table(TableParams(source=source, **{"size": 12, **params}), BuildContext())


@pytest.fixture
def folder(tmp_path):
    for path in ROWS["path"]:
        picture(tmp_path / path)
    return tmp_path


def csv(folder, name="faces.csv", rows=ROWS, **options):
    rows.to_csv(folder / name, **{"index": False, **options})
    return folder / name


def written(folder, text, name="faces.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def semicolons(folder):
    return csv(folder, sep=";")


def tabs(folder):
    return csv(folder, "faces.tsv", sep="\t")


def parquet(folder):
    ROWS.to_parquet(folder / "faces.parquet")
    return folder / "faces.parquet"


def json_lines(folder):
    ROWS.to_json(folder / "faces.jsonl", orient="records", lines=True)
    return folder / "faces.jsonl"


def gzipped(folder):
    return csv(folder, "faces.csv.gz")


def byte_order_mark(folder):
    return csv(folder, encoding="utf-8-sig")


def utf16(folder):
    return csv(folder, encoding="utf-16")


def windows_paths(folder):
    return csv(folder, rows=ROWS.assign(path=ROWS["path"].str.replace("/", "\\")), lineterminator="\r\n")


def absolute_paths(folder):
    return csv(folder, rows=ROWS.assign(path=[str(folder / path) for path in ROWS["path"]]))


def other_order(folder):
    return csv(folder, rows=ROWS[list(reversed(ROWS.columns))])


def quoted(folder):
    return csv(folder, quoting=1)


def empty_lines(folder):
    text = ROWS.to_csv(index=False).replace("\n", "\n\n")
    return written(folder, f"\n{text}")


def upper_case_header(folder):
    return csv(folder, rows=ROWS.rename(columns=str.upper))


MOOD = {"emotion": "mood"}
ALL = {"targets": MOOD | {"valence": "valence"}, "subject": "who", "split": "set", "time": "sec"}
# name -> (writer of the table, parameters)
TABLES = {
    "csv": (csv, ALL),
    "semicolons": (semicolons, ALL),
    "tsv": (tabs, ALL),
    "parquet": (parquet, ALL),
    "JSON Lines": (json_lines, ALL),
    "gzip": (gzipped, ALL),
    "byte order mark": (byte_order_mark, ALL),
    "UTF-16": (utf16, ALL),
    "Windows paths": (windows_paths, ALL),
    "absolute paths": (absolute_paths, ALL),
    "other order of columns": (other_order, ALL),
    "quoted": (quoted, ALL),
    "empty lines": (empty_lines, ALL),
    "header in upper case": (upper_case_header, ALL),
    "class numbers": (csv, {"targets": {"emotion": "code"}}),
    "names of class numbers": (csv, {"targets": {"emotion": {"column": "code", "classes": ["angry", "happy", "sad"]}}}),
    "a list of names": (csv, {"targets": {"emotion": {"column": "mood", "classes": ["sad", "happy", "angry"]}}}),
    "numbers as values": (csv, {"targets": {"code": {"kind": "value", "bounds": [0, 2]}}}),
    "votes": (csv, {"targets": {"votes": {"columns": {"sad": "v_sad", "happy": "v_happy"}}}}),
    "several kinds": (
        json_lines,
        {"targets": MOOD | {"valence": "valence", "votes": {"columns": ["v_sad", "v_happy"]}}},
    ),
    "boxes": (csv, ALL | {"box": {"top": "top", "left": "left", "width": "width", "height": "height"}}),
    "split by name": (csv, ALL | {"splits": {"train": "train", "val": "test", "test": None}}),
    "drawn by subject": (csv, {"targets": MOOD, "subject": "who", "test": 0.25}),
}


def expected_label(target, spec, row):
    """The label of a row by pandas: class name, value, or shares."""
    if isinstance(spec, dict) and "columns" in spec:
        votes = row[list(spec["columns"].values()) if isinstance(spec["columns"], dict) else spec["columns"]]
        return tuple((votes / votes.sum()).tolist())
    column = spec if isinstance(spec, str) else spec.get("column", target)
    classes = spec.get("classes") if isinstance(spec, dict) else None
    if isinstance(classes, list) and column == "code":
        return classes[row[column]]
    return float(row[column]) if column == "valence" or "kind" in spec else str(row[column])


@pytest.mark.parametrize("name", TABLES)
def test_tables(name, folder):
    writer, params = TABLES[name]
    dataset = build(writer(folder), **params)
    targets = {target.name: target for target in dataset.targets}
    found = {}
    for split, samples in read_all(dataset).items():
        for sample in samples:
            labels = {
                key: targets[key].classes[value] if targets[key].kind == "class" else value
                for key, value in sample.targets.items()
            }
            found[sample.frames.tobytes()] = (split, labels, sample.subject, sample.time)
    expected = {}
    for _, row in ROWS.iterrows():
        names = params.get("splits", {"train": "train", "val": "dev", "test": "test"})
        split = names[row["set"]] if "split" in params else None
        if "split" in params and split is None:
            continue
        if split is None:
            split = "test" if row["who"] == "w" and "subject" in params else None
        labels = {key: expected_label(key, spec, row) for key, spec in params["targets"].items()}
        frames = reference(folder / row["path"])
        if "box" in params:
            with Image.open(folder / row["path"]) as image:
                edges = (row["left"], row["top"], row["left"] + row["width"], row["top"] + row["height"])
                face = ImageOps.fit(image.convert("RGB").crop(edges), (12, 12), Image.Resampling.BICUBIC)
                frames = np.array(face)[None]
        subject, time = row["who"] if "subject" in params else "", row["sec"] if "time" in params else None
        expected[frames.tobytes()] = (split, labels, subject, time)
    if "split" not in params:
        drawn = [split for split, *_ in found.values()]
        assert drawn.count("test") == 2
        if "subject" in params:
            (tested,) = {subject for split, _, subject, _ in found.values() if split == "test"}
            expected = {k: ("test" if v[2] == tested else "train", *v[1:]) for k, v in expected.items()}
        else:
            found = {k: (None, *v[1:]) for k, v in found.items()}
    assert found == expected
    orders = {"a list of names": ("sad", "happy", "angry"), "class numbers": ("0", "1", "2")}
    assert targets.get("emotion") is None or targets["emotion"].classes == orders.get(name, ("angry", "happy", "sad"))
    if name == "numbers as values":
        assert targets["code"].bounds == (0, 2)


def test_boxes_in_shares_edges_and_margins(folder):
    shares = ROWS.assign(left=ROWS["left"] / 20, right=(ROWS["left"] + ROWS["width"]) / 20)
    shares = shares.assign(top=ROWS["top"] / 16, bottom=(ROWS["top"] + ROWS["height"]) / 16)
    edges = {"left": "left", "top": "top", "right": "right", "bottom": "bottom"}
    sides = {"left": "left", "top": "top", "width": "width", "height": "height"}
    one = build(csv(folder, "a.csv", shares), targets=MOOD, box=edges, box_unit="shares", margin=0.1, square=True)
    other = build(csv(folder), targets=MOOD, box=sides, margin=0.1, square=True)
    for split, samples in read_all(other).items():
        for sample, again in zip(samples, read_all(one)[split], strict=True):
            np.testing.assert_array_equal(sample.frames, again.frames)


def test_rows_of_one_file_are_samples_of_their_own_in_one_split(folder):
    rows = ROWS.assign(path=["p/0.png", "p/1.png"] * 4)
    dataset = build(csv(folder, rows=rows), targets=MOOD, box={s: s for s in ("left", "top", "width", "height")})
    keys = {split: sorted(sample.key for sample in samples) for split, samples in read_all(dataset).items()}
    assert sorted(keys.values()) == [["p/0", "p/0_2", "p/0_3", "p/0_4"], ["p/1", "p/1_2", "p/1_3", "p/1_4"]]


def test_videos_and_a_root(folder):
    for name, greys in (("a b.mp4", range(0, 200, 20)), ("c.mov", [50] * 5)):
        video(folder / "clips" / name, greys)
    (folder / "lists").mkdir()
    source = written(folder / "lists", "video,arousal\na b.mp4,0.5\nc.mov,-1e-1\n")
    dataset = build(source, root=folder / "clips", targets={"arousal": "arousal"}, length=2, size=16)
    assert dataset.clip == ClipSpec(2, 3, 16, 16)
    means = {s.targets["arousal"]: s.frames.mean(axis=(1, 2, 3)) for v in read_all(dataset).values() for s in v}
    np.testing.assert_allclose(means[0.5], [0, 180], atol=3)
    np.testing.assert_allclose(means[-0.1], [50, 50], atol=3)


def test_missing_files_are_counted_and_named_within_max_broken(folder):
    rows = pandas.concat([ROWS, ROWS.assign(path=["p/8.png", *ROWS["path"][1:]])], ignore_index=True)
    (folder / "p" / "3.png").write_bytes(b"x")
    source = csv(folder, rows=rows)
    with pytest.raises(DataError, match=r"faces\.csv, line 10: there is no file .*p/8\.png\n  -> check the path"):
        build(source, targets=MOOD)
    dataset = build(source, targets=MOOD, split="set", max_broken=2)
    assert dataset.describe() == {"unusable rows": "1, left out by `max_broken`"}
    assert len(read_all(dataset)["train"]) == 5  # 3.png is damaged, and listed twice
    with pytest.raises(DataError, match=r"more than 1 files or rows cannot be used:\n.*line 5: .*\n.*line 13: the pic"):
        read_all(build(source, targets=MOOD, split="set", max_broken=1))


BROKEN = {
    "no such column": ("path,mood\np/0.png,sad\n", {}, r"no column 'label' for `targets.emotion`\n  -> .* path, mood"),
    "no path": ("name,label\np/0.png,sad\n", {}, r"no column path, .* or video\n  -> set `path`; .* name, label"),
    "fields": ("path,label\np/0.png,sad\np/1.png,sad,3\n", {}, r"faces\.csv, line 3: 3 fields, the header has 2"),
    "no label": (
        "path,label\np/0.png,sad\np/1.png,\n",
        {},
        r"faces\.csv, line 3: target emotion \(column label\) is mis",
    ),
    "other class": (
        "path,label\np/0.png,7\n",
        {"targets": {"emotion": {"column": "label", "classes": ["a", "b"]}}},
        r"line 2: target emotion .* is '7', and the classes are a, b",
    ),
    "no number": (
        "path,label\np/0.png,0.5\np/1.png,high\n",
        {"targets": {"x": {"column": "label", "kind": "value"}}},
        r"line 3: target x .* is 'high', expected a number",
    ),
    "bounds": (
        "path,label\np/0.png,1.5\n",
        {"targets": {"x": {"column": "label", "bounds": [-1, 1]}}},
        r"line 2: target x .* is 1.5, outside \[-1.0, 1.0\]",
    ),
    "no votes": (
        "path,a,b\np/0.png,1,2\np/1.png,0,0\n",
        {"targets": {"x": {"columns": ["a", "b"]}}},
        r"line 3: target x \(column a, b\) is \['0', '0'\], expected votes from 0",
    ),
    "box": (
        "path,label,l,t,w,h\np/0.png,a,0,0,5,5\np/1.png,b,0,0,0,5\n",
        {"box": {"left": "l", "top": "t", "width": "w", "height": "h"}},
        r"line 3: the box is 0 wide and 5 high",
    ),
    "box outside": (
        "path,label,l,t,w,h\np/0.png,a,0,0,5,5\np/1.png,b,90,0,5,5\n",
        {"box": {"left": "l", "top": "t", "width": "w", "height": "h"}},
        r"line 3: box .* does not overlap the image of 20x16 pixels",
    ),
    "shares": (
        "path,label,l,t,w,h\np/0.png,a,0,0,0.5,0.5\n",
        {"box": {"left": "l", "top": "t", "width": "w", "height": "h"}},
        r"line 2: the box .* has less than one pixel\n  -> set `box_unit: shares`",
    ),
    "time": ("path,label,t\np/0.png,a,x\n", {"time": "t"}, r"line 2: time is 'x', expected a number"),
    "split": ("path,label,s\np/0.png,a,7\n", {"split": "s", "splits": {1: "train"}}, "line 2: `splits` does not name"),
    "one class": ("path,label\np/0.png,a\n", {}, "the only class of 'emotion' is a"),
    "empty": ("path,label\n", {}, "the table has no rows"),
    "latin": ("path,label\np/0.png,fâché\n", {}, r"faces\.csv, line 2: not text in UTF-8"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_mistakes_name_file_and_row(name, folder):
    text, params, message = BROKEN[name]
    source = written(folder, text, encoding="latin-1" if name == "latin" else "utf-8")
    with pytest.raises(DataError, match=message):
        read_all(build(source, **{"targets": {"emotion": "label"}, "test": 0.5, **params}))


def test_a_damaged_compressed_table_is_rejected(folder):
    source = gzipped(folder)
    data = bytearray(source.read_bytes())
    data[20:24] = b"\xff" * 4
    source.write_bytes(data)
    with pytest.raises(DataError, match=r"faces\.csv\.gz: the table cannot be read"):
        build(source, targets={"emotion": "label"})


def test_other_formats_name_the_row(folder):
    source = folder / "faces.jsonl"
    source.write_text(json.dumps({"path": "p/0.png", "label": "a"}) + "\n{broken\n")
    with pytest.raises(DataError, match=r"faces\.jsonl, line 2: not JSON"):
        build(source, targets={"emotion": "label"})
    ROWS.assign(mood=[None, *ROWS["mood"][1:]]).to_parquet(folder / "faces.parquet")
    with pytest.raises(DataError, match=r"faces\.parquet, row 1: target emotion \(column mood\) is missing"):
        build(folder / "faces.parquet", targets=MOOD)
    (folder / "b.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"b\.parquet: not a Parquet file"):
        build(folder / "b.parquet", targets=MOOD)
    with pytest.raises(DataError, match=r"cannot end with \.xlsx"):
        build(written(folder, "x", "a.xlsx"), targets=MOOD)
    for params, message in (
        ({"box": {"left": "l", "top": "t", "width": "w"}}, "`box` needs a column for height or bottom"),
        ({"targets": {"x": {"kind": "distribution"}}}, "a distribution needs `columns`"),
        ({"splits": {"a": "b"}}, "column `split`, which is not given"),
    ):
        with pytest.raises(ValidationError, match=message):
            TableParams(source=source, **{"targets": MOOD, **params})


def test_shards_are_written_again_when_a_listed_file_changes(folder):
    source = csv(folder)
    files = TableParams(source=source, targets=MOOD).raw_files()
    assert files == [source, *(folder / path for path in ROWS["path"])]


def test_a_list_of_numbers_are_names_and_no_positions(folder):
    source = csv(folder)
    with pytest.raises(DataError, match=r"line 4: target e \(column code\) is '0', and the classes are 1, 2"):
        build(source, targets={"e": {"column": "code", "classes": [1, 2]}})
    both = build(source, targets={"e": {"column": "code", "classes": ["x", "y", "z"]}})
    assert [labels["e"] for labels in both._rows.values()] == list(ROWS["code"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0.5", "NaN", "1"], r"line 3: target v \(column v\) is missing"),
        (["2", "nan", "1"], r"line 3: target v \(column v\) is 'nan', and the classes are 1, 2"),
        (["0.5", "0.25", "low"], r"labels such as '0.5' are numbers, 'low' is none\n  -> fix these labels"),
        (["0,5", "0,25", "1,0"], r"labels such as '0,5' are numbers with a decimal comma\n  -> write decimal points"),
    ],
)
def test_numbers_do_not_become_classes(folder, labels, message):
    source = csv(folder, rows=pandas.DataFrame({"path": ROWS["path"][:3], "v": labels}), sep=";")
    with pytest.raises(DataError, match=message):
        build(source, targets={"v": "v"}, test=0.4)


def test_rows_of_one_picture_stay_in_one_split_whatever_their_subjects(folder):
    rows = pandas.DataFrame(
        {
            "path": [f"p/{n // 2}.png" for n in range(12)],
            "mood": ["a", "b"] * 6,
            "who": ["u", "v", "v", "w", *(f"s{n}" for n in range(8))],
        }
    )
    splits_of = set()
    for seed in range(5):  # other names are drawn into other splits
        named = rows.assign(who=[f"{name}{seed}" for name in rows["who"]])
        table = build(csv(folder, rows=named), targets={"e": "mood"}, subject="who", test=0.4)
        split_of = list(table._split_of.values())
        assert split_of[::2] == split_of[1::2]
        assert len(set(split_of[:4])) == 1  # v is in two pictures
        splits_of |= set(split_of[:4])
    assert splits_of == {"train", "test"}


def test_numbered_keys_do_not_meet_other_files(folder):
    for name in ("a.png", "a_2.png"):
        picture(folder / name)
    rows = pandas.DataFrame({"path": ["a.png", "a.png", "a_2.png", "a_2.png"], "mood": ["x", "y", "x", "y"]})
    table = build(csv(folder, rows=rows), targets={"e": "mood"}, test=0.5)
    assert list(table._keys.values()) == ["a", "a_3", "a_2", "a_2_2"]


def test_accents_are_found_in_both_normal_forms(folder):
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        picture(folder / normalize(form, f"{form}-é.png"))
        rows = pandas.DataFrame({"path": [normalize(other, f"{form}-é.png"), "p/0.png"], "mood": ["x", "y"]})
        samples = read_all(build(csv(folder, rows=rows), targets={"e": "mood"}, test=0.5))
        assert sum(map(len, samples.values())) == 2
