"""Slices: metadata from the dataset to the table, pooled decisions, and estimates of each value."""

import numpy as np
import pytest
from evaluated import classes, make_tested, values

from blear.errors import RunError
from blear.evaluate.pool import pool_predictions
from blear.evaluate.predictions import read_predictions, write_predictions
from blear.evaluate.statistics.slices import slices

TRUTH = np.arange(90) % 3


def _table(**columns):
    right = np.where(np.arange(90) < 45, TRUTH, (TRUTH + (np.arange(90) % 2)) % 3)  # half wrong in the second half
    return classes("a", 1, TRUTH, right, **columns)


def test_each_value_is_the_metric_of_its_rows_and_small_ones_are_marked():
    light = [{"light": "day" if i < 45 else "night" if i < 85 else "dusk"} for i in range(90)]
    found = {s.group: s for s in slices(make_tested(_table(meta=light)), ["light"])}
    assert {name: (s.n, s.value, s.small) for name, s in found.items()} == {
        "day": (45, 1.0, False),
        "night": (40, 0.5, False),
        "dusk": (5, 2 / 5, True),
    }
    assert (found["day"].low, found["day"].high) == (1, 1)
    assert 0.3 < found["night"].low < 0.5 < found["night"].high < 0.7
    assert (found["day"].arm, found["day"].condition, found["day"].metric) == ("a", "blur", "accuracy")


def test_numbers_are_cut_at_quartiles_and_unknown_is_a_slice_of_its_own():
    ages = [{"age": i} if i < 80 else {} for i in range(90)]
    found = [(s.group, s.n) for s in slices(make_tested(_table(meta=ages)), ["age"])]
    assert found == [
        ("1: 0 to 19.75", 20),
        ("2: 19.75 to 39.5", 20),
        ("3: 39.5 to 59.25", 20),
        ("4: 59.25 to 79", 20),
        ("unknown", 10),
    ]


def test_columns_of_the_table_can_be_sliced():
    table = make_tested(_table(subjects=[f"p{i % 4}" for i in range(90)]))
    assert [(s.group, s.n) for s in slices(table, ["truth"])] == [("a", 30), ("b", 30), ("c", 30)]
    by_subject = list(slices(table, ["subject"]))
    assert [(s.group, s.clusters, s.low, s.small) for s in by_subject] == [(f"p{i}", 1, None, True) for i in range(4)]


def test_an_unknown_column_is_an_error_with_the_known_columns():
    with pytest.raises(RunError, match="no sample has 'lihgt'") as error:
        list(slices(make_tested(_table(meta=[{"light": "day"}] * 90)), ["lihgt"]))
    assert "light, subject, video, truth" in error.value.do
    many = [{"name": f"x{i}"} for i in range(300)]
    with pytest.raises(RunError, match="'name' has 300 values"):
        list(slices(make_tested(values("a", 1, np.arange(300), np.arange(300), meta=many)), ["name"]))


def test_metadata_survives_the_file_and_pooling(tmp_path):
    meta = [{"light": "day", "pose": str(i % 2)} for i in range(90)]
    table = _table(meta=meta, videos=[f"v{i // 30}" for i in range(90)], samples=[f"s{i}" for i in range(90)])
    table = table.set_column(table.schema.get_field_index("truth"), "truth", [np.zeros(90)])
    write_predictions(tmp_path / "p.parquet", [table])
    again = read_predictions(tmp_path / "p.parquet")
    assert again["meta"].to_pylist()[1] == [("light", "day"), ("pose", "1")]
    assert pool_predictions(again, "video")["meta"].to_pylist() == [[("light", "day")]] * 3


def test_a_table_of_an_older_run_has_no_metadata(tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(_table().drop_columns(["meta"]), tmp_path / "p.parquet")
    assert read_predictions(tmp_path / "p.parquet")["meta"].null_count == 90


def test_empty_cells_of_a_table_are_unknown_and_do_not_hide_the_quartiles():
    """An empty cell of a column of numbers is NaN, whose quartiles are NaN."""
    ages = [{"age": float(i) if i < 80 else float("nan")} for i in range(90)]
    found = {s.group: s.n for s in slices(make_tested(_table(meta=ages)), ["age"])}
    assert found == {"1: 0 to 19.75": 20, "2: 19.75 to 39.5": 20, "3: 39.5 to 59.25": 20, "4: 59.25 to 79": 20} | {
        "unknown": 10
    }
