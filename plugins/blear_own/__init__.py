"""Datasets of your own: pictures and videos in class folders, listed in a table, or in WebDataset shards of others."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_own.params import FoldersParams
from blear_own.table_params import TableParams

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """`own/folders` and `own/table`."""
    return [
        Component(
            "folders",
            "Pictures or videos in class folders, with or without train and test folders",
            FoldersParams,
            "blear_own.folders:Folders",
            examples=({"source": "pictures"}, {"source": "pictures", "classes": {0: "sad", 1: "happy"}, "folds": 5}),
        ),
        Component(
            "table",
            "Pictures or videos that a csv, tsv, JSON Lines or Parquet file lists, with their labels",
            TableParams,
            "blear_own.table:Table",
            examples=(
                {"source": "faces.csv", "targets": {"emotion": "label"}},
                {"source": "faces.parquet", "targets": {"votes": {"columns": ["neutral", "happy"]}}},
            ),
        ),
    ]
