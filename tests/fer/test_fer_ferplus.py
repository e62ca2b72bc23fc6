import logging

import numpy as np
import pytest

from blear.contracts import BuildContext, Dataset
from blear.errors import DataError
from blear_fer.datasets.fer2013 import Fer2013
from blear_fer.datasets.ferplus import Ferplus
from blear_fer.datasets.params import Fer2013Params, FerplusParams
from blear_fer.datasets.votes import majority, read_votes

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def dataset(source, votes=None):
    return Ferplus(FerplusParams(source=source, votes=votes), BuildContext())


def read(data, split):
    return [sample for part in data.parts(split) for sample in data.samples(split, part)]


def test_majority_class_of_votes(rows, tmp_path):
    votes = read_votes(rows.write_votes(tmp_path / "fer2013new.csv"))
    assert votes.counts_NV.tolist() == rows.votes
    assert majority(votes.counts_NV).tolist() == [4, 5, -1, -1, -1, -1, 0, 1, -1, 7, 6, 3]


def test_votes_are_joined_by_row_and_not_by_the_number_in_the_name(rows, tmp_path):
    rows.write_csv(tmp_path / "fer2013.csv")
    rows.write_votes(tmp_path / "fer2013new.csv")
    data = dataset(tmp_path)
    assert isinstance(data, Dataset)
    assert data.targets[0].classes == CLASSES
    found = {split: {s.meta["row"]: s.targets["emotion"] for s in read(data, split)} for split in data.splits}
    assert found == {"train": {0: 4, 1: 5, 6: 0}, "dev": {7: 1, 9: 7}, "test": {10: 6, 11: 3}}
    samples = {sample.meta["row"]: sample for sample in read(data, "train")}
    assert all(np.array_equal(sample.frames[0, :, :, 0], rows.faces[row]) for row, sample in samples.items())


def test_the_zip_mirror_carries_its_votes(rows, tmp_path):
    data = dataset(rows.write_zip(tmp_path))
    assert {s.meta["row"]: s.targets["emotion"] for s in read(data, "train")} == {0: 4, 1: 5, 6: 0}


def test_votes_in_another_folder(rows, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    votes = rows.write_votes(tmp_path / "elsewhere/votes.csv")
    data = dataset(rows.write_icml(tmp_path / "icml_face_data.csv"), votes)
    assert [sample.targets["emotion"] for sample in read(data, "dev")] == [1, 7]


def test_left_out_rows_are_counted_in_the_log(rows, tmp_path, logged):
    rows.write_csv(tmp_path / "fer2013.csv")
    rows.write_votes(tmp_path / "fer2013new.csv")
    read(dataset(tmp_path), "train")
    assert "4 of 7 rows have no clear majority and are left out" in "\n".join(logged(logging.INFO))


def test_different_row_counts_are_rejected(rows, tmp_path):
    rows.write_csv(tmp_path / "fer2013.csv")
    path = rows.write_votes(tmp_path / "fer2013new.csv")
    path.write_text("\n".join(path.read_text().split("\n")[:-2]) + "\n")
    with pytest.raises(DataError, match="11 rows of votes for 12 pictures"):
        dataset(tmp_path).parts("train")
    part = dataset(tmp_path)._pictures.parts("test")[0]
    with pytest.raises(DataError, match="11 rows of votes, but the pictures have a row 11"):
        list(dataset(tmp_path).samples("test", part))


def test_disagreeing_usages_are_rejected_in_the_scan_and_in_a_part_read_alone(rows, tmp_path):
    rows.write_csv(tmp_path / "fer2013.csv")
    part = dataset(tmp_path)._pictures.parts("train")[0]
    rows.usages[6] = "PublicTest"
    path = rows.write_votes(tmp_path / "fer2013new.csv")
    words = "row 6: Usage is PublicTest for the votes and Training for the picture"
    with pytest.raises(DataError, match=words) as caught:
        dataset(tmp_path).parts("train")
    assert caught.value.where == f"{path}, row 6"
    with pytest.raises(DataError, match=words):
        list(dataset(tmp_path).samples("train", part))


def test_class_folders_cannot_be_joined(rows, tmp_path):
    rows.write_folders(tmp_path)
    rows.write_votes(tmp_path / "fer2013new.csv")
    with pytest.raises(DataError, match="lost the official row order"):
        dataset(tmp_path).parts("train")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(b"fer\xff\xfe", r"line 3: is no text in UTF-8"), (b"\0" * 140_000, r"line 3: is no csv file: field larger")],
)
def test_damaged_votes_are_named_by_their_line(rows, tmp_path, damage, words):
    """Bytes that are no text, and a hole of zeros as an interrupted copy leaves it."""
    rows.write_csv(tmp_path / "fer2013.csv")
    path = rows.write_votes(tmp_path / "fer2013new.csv")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
    with pytest.raises(DataError, match=words):
        dataset(tmp_path).parts("train")


def test_votes_that_cannot_be_used_are_rejected(rows, tmp_path):
    rows.write_csv(tmp_path / "fer2013.csv")
    with pytest.raises(DataError, match=r"fer2013new\.csv: cannot be read"):
        dataset(tmp_path).parts("train")
    path = rows.write_votes(tmp_path / "fer2013new.csv")
    text = path.read_text()
    path.write_text(text.replace("contempt", "scorn"))
    with pytest.raises(DataError, match="the header lacks Usage or one of the vote columns"):
        dataset(tmp_path).parts("train")
    path.write_text(text.replace("0,10,0,0,0,0,0,0,0,0", "0,ten,0,0,0,0,0,0,0,0"))
    with pytest.raises(DataError, match=r"row 7: votes .*'ten'.* are not all whole numbers"):
        dataset(tmp_path).parts("train")
    path.write_text(text.replace("0,10,0,0,0,0,0,0,0,0", "0,10,0"))
    with pytest.raises(DataError, match="row 7: 5 columns instead of 12"):
        dataset(tmp_path).parts("train")


def by_the_authors_rule(votes):
    """Majority class of one row, step by step as in the authors' `majority` mode."""
    votes = [0 if vote < 2 else vote for vote in votes]
    if max(votes) <= 0.5 * sum(votes) or votes.index(max(votes)) >= 8:
        return -1
    return votes.index(max(votes))


def test_labels_of_real_votes_follow_the_authors_rule(real_fer2013):
    votes = read_votes(real_fer2013 / "labels.csv")
    labels = majority(votes.counts_NV)
    assert labels.tolist() == [by_the_authors_rule(row) for row in votes.counts_NV.tolist()]
    kept = labels >= 0
    assert [int(kept[votes.usages_N == usage].sum()) for usage in (0, 1)] == [25060, 3199]


def test_real_votes_agree_with_the_old_labels_of_the_same_rows_only(real_fer2013):
    # FERPlus's class of each FER2013 class. The taggers disagree with the old labels in a third of the rows, so the
    # yardstick is a join that lags by one row, which agrees by chance alone.
    same = [CLASSES.index(name) for name in ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")]
    pictures = Fer2013(Fer2013Params(source=real_fer2013), BuildContext())
    old = {sample.meta["row"]: same[sample.targets["emotion"]] for sample in read(pictures, "dev")}
    new = {sample.meta["row"]: sample.targets["emotion"] for sample in read(dataset(real_fer2013), "dev")}
    assert len(new) == 3199
    aligned = np.mean([old[row] == emotion for row, emotion in new.items()])
    lagging = np.mean([old.get(row - 1) == emotion for row, emotion in new.items()])
    assert aligned > 3 * lagging


def test_the_description_counts_rows_without_a_majority(rows, tmp_path):
    rows.write_csv(tmp_path / "fer2013.csv")
    rows.write_votes(tmp_path / "fer2013new.csv")
    lines = dataset(tmp_path).describe()
    assert lines["rows without a clear majority"] == "5 of 12"
    assert lines["Training"] == "7 of the published 28,709"


def test_fer2013_with_votes_has_the_shares_of_the_same_rows(rows, tmp_path):
    params = Fer2013Params(source=rows.write_csv(tmp_path / "fer2013.csv"), votes=rows.write_votes(tmp_path / "v.csv"))
    data = Fer2013(params, BuildContext())
    assert isinstance(data, Dataset)
    emotion, votes = data.targets
    assert (emotion.classes, votes.kind, votes.classes[:8]) == (data.targets[0].classes, "distribution", CLASSES)
    samples = read(data, "dev")
    assert [sample.targets["emotion"] for sample in samples] == rows.labels[7:10]
    expected = np.array(rows.votes[7:10]) / np.sum(rows.votes[7:10], axis=1, keepdims=True)
    np.testing.assert_allclose([sample.targets["votes"] for sample in samples], expected)
    rows.usages[8] = "Training"
    other = Fer2013(params.model_copy(update={"votes": rows.write_votes(tmp_path / "other.csv")}), BuildContext())
    with pytest.raises(DataError, match="Usage is Training for the votes and PublicTest for the picture"):
        read(other, "dev")
