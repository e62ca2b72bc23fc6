"""What was found of a dataset beside what its authors count, for `blear prepare --describe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def compared_with_published(counts: Mapping[str, tuple[int, int]], missing: Sequence[str] = ()) -> dict[str, str]:
    """Lines for a person: what -> how many of the published number, and what is missing of the raw data.

    Args:
        counts: what -> (found, published).
        missing: names of files or folders that are not there.
    """
    lines = {what: f"{found:,} of the published {published:,}" for what, (found, published) in counts.items()}
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        lines["missing"] = shown
    return lines
