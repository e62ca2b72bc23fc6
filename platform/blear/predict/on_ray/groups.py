"""Divides inputs into groups: a task of Ray Data takes 0.1 to 0.2 seconds more than its work."""

from __future__ import annotations

from collections.abc import Sequence

from blear.predict.inputs import Input
from blear.storage.remote import is_url

_MOST = 32  # inputs of a group
_BYTES = 4 << 20  # of its videos
_ROUNDS = 4  # groups for each worker


def group_inputs(inputs: Sequence[Input], workers: int) -> list[list[Input]]:
    """Consecutive inputs as groups, in their order; each group is the work of one task.

    A group has at most 32 pictures, or videos of 4 MB together. A larger video, one in object storage (whose size is
    not known) and a folder are groups of their own. There are at least four groups for each worker, if there are so
    many inputs.
    """
    most = max(1, min(_MOST, len(inputs) // (_ROUNDS * max(1, workers))))
    groups: list[list[Input]] = []
    free = 0.0
    for source in inputs:
        share = max(1 / most, _share(source))
        if share > free + 1e-9:
            groups.append([])
            free = 1.0
        groups[-1].append(source)
        free -= share
    return groups


def _share(source: Input) -> float:
    """The share of a group that an input takes."""
    if source.is_picture and not source.is_folder:
        return 1 / _MOST
    if is_url(source.name):  # its path is only a name, which a file here may have too
        return 1.0
    try:
        return source.path.stat().st_size / _BYTES if source.path.is_file() else 1.0
    except OSError:
        return 1.0
