"""The rows of the predictions table, and the file."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from evaluated import rows

from blear.contracts import Categories, Values
from blear.errors import RunError
from blear.evaluate.predictions import SCHEMA, class_names, read_predictions, write_predictions


def _values(**columns):
    return rows(
        **{
            "arm": "a",
            "stage": "joint",
            "condition": "corruptions/downscale",
            "severity": 4,
            "target": "valence",
            "samples": ["x", "y"],
            "truth_B": np.array([0.25, -0.5]),
            "decoded": Values(torch.tensor([[0.1, 0.2], [0.3, 0.4]])),
        }
        | columns
    )


def test_a_clip_gives_one_row_for_each_frame():
    table = _values(subjects=["s", "t"], times=[1.5, None], face_px=24, found=[True, False])
    assert table["sample"].to_pylist() == ["x", "x", "y", "y"]
    assert table["subject"].to_pylist() == ["s", "s", "t", "t"]
    assert table["video"].to_pylist() == [""] * 4
    assert table["time"].to_pylist() == [1.5, 1.5, None, None]
    assert table["face_px"].to_pylist() == [24.0] * 4
    assert table["kbps"].to_pylist() == [None] * 4
    assert table["found"].to_pylist() == [True, True, False, False]
    assert table["truth"].to_pylist() == [0.25, 0.25, -0.5, -0.5]
    np.testing.assert_allclose(table["prediction"].to_numpy(), [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert table["probabilities"].to_pylist() == [None] * 4


def test_nan_becomes_null_and_classes_become_the_most_probable_index(tmp_path):
    decoded = Categories(("sad", "happy", "angry"), torch.tensor([[[0.25, 0.5, 0.25]], [[0.75, 0.25, 0.0]]]))
    table = _values(decoded=decoded, truth_B=np.array([1, 2]), times=[float("nan"), 2.0])
    assert table["prediction"].to_pylist() == [1.0, 0.0]
    assert table["probabilities"].to_pylist() == [[0.25, 0.5, 0.25], [0.75, 0.25, 0.0]]
    assert table["time"].to_pylist() == [None, 2.0]
    write_predictions(tmp_path / "p.parquet", [table])
    assert class_names(read_predictions(tmp_path / "p.parquet")) == ("sad", "happy", "angry")


def test_columns_of_another_length_are_an_error():
    with pytest.raises(ValueError, match=r"2 samples, but columns of \{'subject': 3\}"):
        _values(subjects=["s", "t", "u"])
    with pytest.raises(ValueError, match="'prediction': 1"):
        _values(decoded=Values(torch.zeros(1, 1)))


def test_written_predictions_are_read_back(tmp_path):
    first, second = _values(), _values(arm="b", severity=8)
    assert write_predictions(tmp_path / "new" / "p.parquet", iter([first, second])) == 8
    table = read_predictions(tmp_path / "new" / "p.parquet")
    assert table.equals(pa.concat_tables([first, second]))
    assert class_names(table) == ()


def test_a_failed_write_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "p.parquet"
    write_predictions(path, [_values()])

    def fails():
        yield _values(arm="b")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_predictions(path, fails())
    assert [p.name for p in tmp_path.iterdir()] == ["p.parquet"]
    assert read_predictions(path)["arm"].to_pylist() == ["a"] * 4


def test_errors_of_invalid_files_have_a_remedy(tmp_path):
    path = tmp_path / "p.parquet"
    with pytest.raises(RunError, match="no predictions yet") as caught:
        read_predictions(path)
    assert f"run `blear evaluate {tmp_path}` first" in str(caught.value)
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(RunError, match="cannot be read"):
        read_predictions(path)
    pq.write_table(_values().drop_columns(["truth", "found"]), path)
    with pytest.raises(RunError, match="columns missing: found, truth"):
        read_predictions(path)
    wrong = _values().set_column(SCHEMA.get_field_index("truth"), "truth", pa.array(["often"] * 4))
    pq.write_table(wrong, path)
    with pytest.raises(RunError, match="another type"):
        read_predictions(path)
