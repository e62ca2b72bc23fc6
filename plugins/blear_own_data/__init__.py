"""Datasets of your own: pictures and videos in class folders, listed in a table, or in WebDataset shards of others."""

from __future__ import annotations

from blear.contracts import Component
from blear.hooks import hookimpl
from blear_own_data.params import FoldersParams
from blear_own_data.table_params import TableParams
from blear_own_data.webdataset_params import WebdatasetParams

PLUGIN_API = 1


@hookimpl
def register_datasets() -> list[Component]:
    """`own_data/folders`, `own_data/table` and `own_data/webdataset`."""
    return [
        Component(
            "folders",
            "Pictures or videos in class folders, with or without train and test folders",
            FoldersParams,
            "blear_own_data.folders:Folders",
            examples=({"source": "pictures"}, {"source": "pictures", "classes": {0: "sad", 1: "happy"}, "folds": 5}),
        ),
        Component(
            "table",
            "Pictures or videos that a csv, tsv, JSON Lines or Parquet file lists, with their labels",
            TableParams,
            "blear_own_data.table:Table",
            examples=(
                {"source": "faces.csv", "targets": {"emotion": "label"}},
                {"source": "faces.parquet", "targets": {"votes": {"columns": ["neutral", "happy"]}}},
            ),
        ),
        Component(
            "webdataset",
            "WebDataset shards that others wrote, read in place: a folder, braces or URLs",
            WebdatasetParams,
            "blear_own_data.webdataset:Webdataset",
            examples=(
                {"source": "shards", "targets": {"emotion": "cls"}},
                {
                    "source": "train-{0000..0146}.tar",
                    "size": 64,
                    "contents": "pictures",
                    "targets": {"emotion": {"field": "json.label", "classes": ["sad", "happy"]}},
                },
            ),
        ),
    ]
