"""The card as a page of HTML, made of the sections of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from blear.card.markdown import LIMITS
from blear.card.predictions import CardFaces
from blear.evaluate.summary import Summary
from blear.report.page import card_page
from blear.report.run_files import Faces, RunFiles
from blear.report.run_info import RunInfo
from blear.report.section import Section


def write_page(out: Path, info: Mapping[str, Any], summary: Summary, table: pa.Table, faces: CardFaces) -> Path:
    """Writes card.html, one file without external resources.

    Args:
        faces: sample faces; none: the page has no pictures of the data.
    """
    shown = Faces(
        faces.frames_NLHWC,
        faces.samples,
        [level.severity for level in faces.levels],
        [level.condition for level in faces.levels],
        {},
    )
    files = RunFiles(out, RunInfo.model_validate(info), "", [], summary, table, shown)
    facts = Section("card", "Models, data and suite", context={"info": info, "limits": LIMITS})
    return card_page(files, facts, out / "card.html")
