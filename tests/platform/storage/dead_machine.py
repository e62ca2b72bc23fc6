"""A machine that is switched off while it mirrors a run."""

from __future__ import annotations

from blear.storage.run_mirror import RunMirror


def kill(mirror: RunMirror) -> None:
    """Ends the thread without a last upload and without releasing the lock."""
    mirror._done.set()
    mirror._wake.set()
    mirror._thread.join()
