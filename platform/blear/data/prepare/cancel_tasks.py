"""Cancellation of Ray tasks; imported only where Ray is initialised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ray

_GRACE_S = 1.0
_CANCEL_TIMEOUT_S = 30.0


def cancel_tasks(references: Iterable[Any]) -> None:
    """Cancels the tasks that have not ended, and waits until they have: they delete their unfinished files first.

    Ray 2.60 aborts the driver ("Tried to complete task that was not pending", ray-project/ray#54260) if a task ends in
    the fraction of a millisecond in which it is cancelled. Tasks often fail together, so they first have a second to
    end, and tasks that have ended are not cancelled.
    """
    left = list(references)
    if left:
        _, left = ray.wait(left, num_returns=len(left), timeout=_GRACE_S)
    for reference in reversed(left):  # queued tasks first: none of them starts then
        ray.cancel(reference)
    if left:
        ray.wait(left, num_returns=len(left), timeout=_CANCEL_TIMEOUT_S)
