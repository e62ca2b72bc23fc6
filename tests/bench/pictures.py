"""Procedural faces, prepared as shards in a throw-away folder: the data of the step benchmarks."""

from __future__ import annotations

from pathlib import Path

from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.plugin.component_ref import ComponentRef


def prepared_faces(folder: Path, size: int, count: int) -> Prepared:
    """`count` grey stills with valence, in the split "train"."""
    params = {
        "size": size,
        "color": "luma",
        "targets": ["valence"],
        "subjects": {"train": 8, "dev": 1},
        "per_subject": count // 8,
    }
    return prepare_dataset(ComponentRef("dataset", "faces/procedural", params), folder, version="bench", workers=1)
