"""Data of the step benchmarks: procedural faces, prepared as shards in a temporary folder."""

from __future__ import annotations

from pathlib import Path

from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.plugin.component_ref import ComponentRef


def prepared_faces(folder: Path, size: int, count: int) -> Prepared:
    """Prepares `count` grey stills with valence in the split "train"."""
    params = {
        "size": size,
        "color": "luma",
        "targets": ["valence"],
        "subjects": {"train": 8, "dev": 1},
        "per_subject": count // 8,
    }
    return prepare_dataset(ComponentRef("dataset", "faces/procedural", params), folder, version="bench", workers=1)
