"""Compares the size of a dataset on disk with the published size, for `blear prepare --describe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def compared_with_published(counts: Mapping[str, tuple[int, int]], missing: Sequence[str] = ()) -> dict[str, str]:
    """Returns lines of a description: name -> "<found> of the published <published>", and `missing` files.

    Args:
        counts: name -> (found, published).
        missing: names of missing files or folders.
    """
    lines = {what: f"{found:,} of the published {published:,}" for what, (found, published) in counts.items()}
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        lines["missing"] = shown
    return lines
