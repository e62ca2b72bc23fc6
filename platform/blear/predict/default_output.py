"""The output of a command that names none: predictions of other inputs are kept."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from blear.predict.journal import journal_inputs
from blear.storage.numbered_output import numbered_output

DEFAULT = Path("predictions.jsonl")


def default_output(inputs: Collection[str]) -> Path:
    """Returns `predictions.jsonl`, or the first of `predictions-2.jsonl`, ... without predictions of other inputs.

    A file that holds the same inputs is used again, and an interrupted prediction of some of the inputs is continued.

    Args:
        inputs: names of the inputs.
    """
    return numbered_output(DEFAULT, lambda out: _is_free(out, set(inputs)))


def _is_free(out: Path, inputs: set[str]) -> bool:
    started = journal_inputs(out)
    if started is not None and not started <= inputs:
        return False
    if not out.exists():
        return True
    try:
        facts = json.loads(out.with_name(f"{out.name}.meta.json").read_bytes())
        return set(facts["inputs"]) == inputs
    except (OSError, ValueError, KeyError, TypeError):
        return False  # somebody else's file
